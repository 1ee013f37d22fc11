/* Silences: which alerts tell nobody, until when, and why. */
import { Button, SegmentedControl } from '@mantine/core';
import { useState } from 'react';
import { get, send, withQuery } from '../api/client';
import type { MaintenanceList, Silence } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { actorName, promString } from '../lib/format';
import { Answer, Empty, PageHead, Panel, StatusTag, When } from '../parts/basics';
import { Silencer } from '../parts/Silencer';

export function Silences() {
  const { state = 'active' } = useAddress();
  const set = useSetAddress();
  const [making, setMaking] = useState(false);
  const found = useAsk(['silences', state], (signal) => get<{ silences: Silence[] }>(withQuery('/api/watchfire/v1/silences', { state }), signal));
  const end = useCommand((id: string) => send('DELETE', `/api/watchfire/v1/silences/${id}`), 'The silence is over');
  return (
    <>
      <PageHead title="Silences">
        <SegmentedControl size="xs" aria-label="State" value={state} onChange={(value) => set({ state: value === 'active' ? undefined : value })} data={[{ value: 'active', label: 'Active' }, { value: 'pending', label: 'To come' }, { value: 'expired', label: 'Over' }, { value: 'all', label: 'All' }]} />
        <Button size="xs" onClick={() => setMaking(true)}>Silence alerts…</Button>
      </PageHead>
      {making && <Silencer labels={{}} close={() => setMaking(false)} />}
      <Panel flush>
        <Answer of={found} height={200}>
          {({ silences }) => silences.length === 0 ? <Empty title={state === 'active' ? 'Nothing is silenced' : 'There is none'} snippet={'watchfire silence add \'service_name="checkout"\' --for 2h --comment "planned work"'}>A silenced alert is still evaluated and shown; it only tells nobody.</Empty> : (
            <ul className="list">
              {silences.map((one) => (
                <li key={one.id} className="item">
                  <span className="item-main">
                    <span className="item-title mono">{one.maintenance ? `${one.maintenance}: ` : ''}{one.matchers.map((matcher) => `${matcher.name}${matcher.op}${promString(matcher.value)}`).join(', ')}</span>
                    <span className="item-sub"><span>{one.comment || 'no reason given'}</span><span>{actorName(one.created_by)}</span><span>from <When at={one.starts_at} /></span></span>
                  </span>
                  <span className="small">{one.state === 'expired' ? 'ended' : 'ends'} <When at={one.ends_at} /></span>
                  <StatusTag status={one.state} />
                  {one.state !== 'expired' && <Button size="compact-xs" variant="default" loading={end.busy} onClick={() => end.go(one.id)}>End now</Button>}
                </li>
              ))}
            </ul>
          )}
        </Answer>
      </Panel>
      <Windows />
    </>
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
