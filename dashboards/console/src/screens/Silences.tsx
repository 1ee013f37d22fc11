/* Silences: which alerts tell nobody, until when, and why. */
import { Button, SegmentedControl } from '@mantine/core';
import { lazy, Suspense, useState } from 'react';
import { get, send, withQuery } from '../api/client';
import type { MaintenanceList, Silence } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { actorName, promString } from '../lib/format';
import { Answer, Copy, Empty, Facts, LinkList, PageHead, Panel, StatusTag, When } from '../parts/basics';

const Silencer = lazy(() => import('../parts/Silencer').then(({ Silencer: of }) => ({ default: of })));

export function Silences() {
  const { state = 'active', open, make } = useAddress();
  const set = useSetAddress();
  const [making, setMaking] = useState(false);
  const found = useAsk(['silences', state], (signal) => get<{ silences: Silence[] }>(withQuery('/api/watchfire/v1/silences', { state }), signal));
  const closeMaking = (): void => {
    setMaking(false);
    if (make) set({ make: undefined }, true);
  };
  const end = useCommand((id: string) => send('DELETE', `/api/watchfire/v1/silences/${id}`), 'The silence is over');
  return (
    <>
      <PageHead title="Silences">
        <SegmentedControl size="xs" aria-label="State" value={state} onChange={(value) => set({ state: value === 'active' ? undefined : value })} data={[{ value: 'active', label: 'Active' }, { value: 'pending', label: 'To come' }, { value: 'expired', label: 'Over' }, { value: 'all', label: 'All' }]} />
        <Button size="xs" onClick={() => setMaking(true)}>Silence alerts…</Button>
      </PageHead>
      {(making || make === '1') && <Suspense fallback={null}><Silencer labels={{}} close={closeMaking} /></Suspense>}
      <Panel flush>
        <Answer of={found} height={200}>
          {({ silences }) => (
            <>
              {open !== undefined && !silences.some((one) => one.id === open) && <div className="note" style={{ margin: 12 }}>The silence of this link is not among these. {state !== 'all' && <button type="button" className="inline" onClick={() => set({ state: 'all' }, true)}>Show all</button>}</div>}
              {silences.length === 0
                ? <Empty title={state === 'active' ? 'Nothing is silenced' : 'There is none'} snippet={'watchfire silence add \'service_name="checkout"\' --for 2h --comment "planned work"'}>A silenced alert is still evaluated and shown; it only tells nobody.</Empty>
                : <LinkList label="Silences">{silences.map((one) => <Item key={one.id} silence={one} open={open === one.id} toggle={() => set({ open: open === one.id ? undefined : one.id }, true)} end={() => end.go(one.id)} busy={end.busy} />)}</LinkList>}
            </>
          )}
        </Answer>
      </Panel>
      <Windows />
    </>
  );
}

function Item({ silence: one, open, toggle, end, busy }: { silence: Silence; open: boolean; toggle: () => void; end: () => void; busy: boolean }) {
  const matchers = one.matchers.map((matcher) => `${matcher.name}${matcher.op}${promString(matcher.value)}`);
  return (
    <li>
      <div className="item">
        <button type="button" className="item-main opener" data-item aria-expanded={open} onClick={toggle}>
          <span className="item-title mono">{one.maintenance ? `${one.maintenance}: ` : ''}{matchers.join(', ')}</span>
          <span className="item-sub"><span>{one.comment || 'no reason given'}</span><span>{actorName(one.created_by)}</span><span>from <When at={one.starts_at} /></span></span>
        </button>
        <span className="small">{one.state === 'expired' ? 'ended' : 'ends'} <When at={one.ends_at} /></span>
        <StatusTag status={one.state} />
        {one.state !== 'expired' && <Button size="compact-xs" variant="default" loading={busy} onClick={end}>End now</Button>}
      </div>
      {open && (
        <div style={{ padding: '0 16px 12px' }}>
          <Facts of={[
            ['Alerts with', <span key="m" className="mono wrap">{matchers.join('\n')}</span>],
            ['From', <When key="f" at={one.starts_at} both />], ['To', <When key="t" at={one.ends_at} both />],
            ['By', actorName(one.created_by)], ['Why', one.comment || 'no reason given'],
            ['Id', <span key="i" className="row" style={{ gap: 4 }}><span className="mono">{one.id}</span><Copy text={one.id} label="Copy the id" /></span>],
          ]} />
        </div>
      )}
    </li>
  );
}

/** Maintenance windows of the configuration; planned ones are silences with a name and stand above. */
function Windows() {
  const found = useAsk(['silences', 'maintenance'], (signal) => get<MaintenanceList>('/api/watchfire/v1/maintenance', signal), { live: 4 });
  if ((found.data?.recurring.length ?? 0) === 0) return null;
  return (
    <div style={{ marginTop: 14 }}>
      <Panel flush title="Recurring maintenance">
        <ul className="list">
          {found.data?.recurring.map((one) => (
            <li key={one.name} className="item">
              <span className="item-main"><span className="item-title">{one.name}</span><span className="item-sub"><span className="mono">{one.matchers.join(', ')}</span><span>{one.time_intervals.join(', ')}</span></span></span>
              {one.active_until ? <><span className="small">until <When at={one.active_until} /></span><StatusTag status="active" /></> : <StatusTag status="inactive" />}
            </li>
          ))}
        </ul>
      </Panel>
    </div>
  );
}
