/* Two traces side by side: what each call took in both, the greatest change first or in the order of the tree. */
import { Button, Popover, SegmentedControl, TextInput } from '@mantine/core';
import { useMemo, useState } from 'react';
import { sql } from '../api/client';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { count, sqlString } from '../lib/format';
import { calls, compare, type Sums } from '../lib/profile';
import { formatSeconds } from '../lib/time';
import { extent } from '../lib/waterfall';
import { Answer, Empty, Facts, Go, LinkList, PageHead, Panel, Tag, When } from '../parts/basics';
import { load, type Full } from './Trace';

/** Chooses the other trace: by its id, or one of the same operation. */
export function CompareWith({ root, at, trace }: { root: Full; at: number; trace: string }) {
  const [open, setOpen] = useState(false);
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={380} trapFocus shadow="md">
      <Popover.Target><Button size="xs" variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>Compare</Button></Popover.Target>
      <Popover.Dropdown>{open && <Choice root={root} at={at} trace={trace} close={() => setOpen(false)} />}</Popover.Dropdown>
    </Popover>
  );
}

function Choice({ root, at, trace, close }: { root: Full; at: number; trace: string; close: () => void }) {
  const set = useSetAddress();
  const [typed, setTyped] = useState('');
  const wanted = /[0-9a-f]{32}/i.exec(typed)?.[0]?.toLowerCase();
  const go = (other: string): void => {
    close();
    set({ with: other, view: undefined });
  };
  const hours = 6 * 3_600_000;
  const found = useAsk(['traces', 'alike', trace], async (signal) => {
    const answer = await sql(`SELECT lower(hex(trace_id)), toString(toUnixTimestamp64Milli(ts)), toString(duration), toString(status) FROM spans WHERE ts BETWEEN fromUnixTimestamp64Milli(${Math.floor(at - hours)}) AND fromUnixTimestamp64Milli(${Math.floor(at + hours)}) AND service = ${sqlString(root.service)} AND name = ${sqlString(root.name)} AND empty(parent_span_id) = ${root.parent === '' ? 1 : 0} AND trace_id != unhex(${sqlString(trace)}) ORDER BY abs(toUnixTimestamp64Milli(ts) - ${Math.floor(at)}) LIMIT 400`, signal);
    const all = answer.data.map((row) => ({ trace: String(row[0]), at: Number(row[1]), duration: Number(row[2]), failed: row[3] === 'ERROR' }));
    const good = all.filter((one) => !one.failed).sort((a, b) => a.duration - b.duration);
    const usual = good[Math.floor(good.length / 2)];
    const picks = [...(usual ? [{ ...usual, what: 'the usual one (median of those that went well)' }] : []), ...(good[0] && good[0] !== usual ? [{ ...good[0], what: 'the fastest' }] : [])];
    const bad = all.find((one) => one.failed);
    return { picks: [...picks, ...(bad ? [{ ...bad, what: 'the nearest that failed' }] : []), ...all.slice(0, 5).map((one) => ({ ...one, what: 'near in time' }))], seen: all.length };
  }, { live: false, keep: false });
  return (
    <div className="stack" style={{ gap: 10 }}>
      <form className="row" style={{ flexWrap: 'nowrap', alignItems: 'flex-end' }} onSubmit={(event) => { event.preventDefault(); if (wanted) go(wanted); }}>
        <TextInput className="grow" size="xs" label="Trace id or link" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} error={typed !== '' && !wanted && 'A trace id has 32 hexadecimal digits'} data-autofocus />
        <Button size="xs" type="submit" disabled={!wanted || wanted === trace}>Compare</Button>
      </form>
      <div className="small muted">Of the same operation, within six hours:</div>
      <Answer of={found} height={140}>
        {({ picks }) => picks.length === 0 ? <span className="small">There is no other one.</span> : (
          <LinkList label="Traces of the same operation">
            {picks.map((one, place) => (
              <li key={`${one.trace}${place}`}>
                <Go to="." search={{ with: one.trace }} className="item" data-item>
                  <span className="item-main"><span className="small">{one.what}</span><span className="item-sub"><When at={one.at} />{one.failed && <span>failed</span>}</span></span>
                  <span className="small nums">{formatSeconds(one.duration / 1e9)}</span>
                </Go>
              </li>
            ))}
          </LinkList>
        )}
      </Answer>
    </div>
  );
}

/** What failed more or less; of a call that only one has, what failed of it. */
function failures(a: Sums | null, b: Sums | null): React.ReactNode {
  const change = (b?.failed ?? 0) - (a?.failed ?? 0);
  if (change === 0) return null;
  if (a === null || b === null) return <> <Tag tone="critical">{Math.abs(change)} failed</Tag></>;
  return <> <Tag tone={change > 0 ? 'critical' : 'good'}>{Math.abs(change)} {change > 0 ? 'more' : 'fewer'} failed</Tag></>;
}

const share = (sums: Sums | null): string => (sums === null ? '-' : formatSeconds(sums.total / 1e9));

export function CompareView({ trace, spans, other }: { trace: string; spans: Full[]; other: string }) {
  const { sort = 'change' } = useAddress();
  const set = useSetAddress();
  const valid = /^[0-9a-f]{32}$/.test(other);
  const found = useAsk(['trace', other], (signal) => load(other, signal), { live: false, enabled: valid, keep: false });
  const mine = useMemo(() => calls(spans), [spans]);
  const rows = useMemo(() => {
    const all = compare(mine, calls(found.data?.spans ?? []));
    return sort === 'tree' ? all : all.toSorted((x, y) => Math.abs(y.change) - Math.abs(x.change));
  }, [mine, found.data, sort]);
  const most = Math.max(...rows.map((row) => Math.abs(row.change)), 1);
  const head = (id: string, all: Full[], name: string): [string, React.ReactNode] => {
    const bounds = extent(all);
    return [name, <span key={id} className="row" style={{ gap: '2px 12px' }}><Go to={`/traces/${id}`}><span className="mono">{id.slice(0, 16)}</span></Go><b className="nums">{formatSeconds((bounds.end - bounds.start) / 1e9)}</b><span>{count(all.length)} spans</span>{all.some((span) => span.status === 'ERROR') && <Tag tone="critical">{all.filter((span) => span.status === 'ERROR').length} failed</Tag>}<span className="muted"><When at={all[0] ? Number(BigInt(all[0].nanos) / 1_000_000n) : null} both /></span></span>];
  };
  if (!valid) return <Empty title="This is no trace id">A trace id has 32 hexadecimal digits. <Go to={`/traces/${trace}`}>Back to the trace</Go></Empty>;
  return (
    <>
      <PageHead title="Two traces compared">
        <SegmentedControl size="xs" aria-label="Order" value={sort} onChange={(value) => set({ sort: value === 'change' ? undefined : value }, true)} data={[{ value: 'change', label: 'Greatest change' }, { value: 'tree', label: 'As called' }]} />
        <Button size="xs" variant="default" onClick={() => set({ with: undefined, sort: undefined })}>Only the first</Button>
      </PageHead>
      <Answer of={found} height={400}>
        {({ spans: theirs }) => theirs.length === 0 ? <Panel><Empty title="There is no such trace to compare with">It may be older than the retention. <Go to={`/traces/${trace}`}>Back to the trace</Go></Empty></Panel> : (
          <div className="stack">
            <Panel><Facts of={[head(trace, spans, 'First'), head(other, theirs, 'Second')]} /></Panel>
            <Panel flush>
              <div className="scroll-x" tabIndex={0} role="region" aria-label="Calls of both traces">
                <table className="data">
                  <thead><tr><th>Call</th><th className="num">First</th><th className="num">Second</th><th className="num">Itself, second against first</th><th className="hide-small" style={{ width: '22%' }} aria-hidden="true" /></tr></thead>
                  <tbody>
                    {rows.slice(0, 500).map((row) => (
                      <tr key={row.key}>
                        <td className="wrap" style={{ paddingLeft: sort === 'tree' ? 12 + Math.min(row.depth, 16) * 14 : undefined, minWidth: 160 }}>
                          {row.name} <span className="muted small">{row.service}</span>{' '}
                          {row.a === null && <Tag tone="info">only second</Tag>}{row.b === null && <Tag>only first</Tag>}
                          {failures(row.a, row.b)}
                        </td>
                        <td className="num">{share(row.a)}{(row.a?.spans ?? 0) > 1 && <span className="muted small"> ×{row.a?.spans}</span>}</td>
                        <td className="num">{share(row.b)}{(row.b?.spans ?? 0) > 1 && <span className="muted small"> ×{row.b?.spans}</span>}</td>
                        <td className="num" style={{ color: Math.abs(row.change) < most / 50 ? undefined : row.change > 0 ? 'var(--wf-critical)' : 'var(--wf-good)', fontWeight: 600 }}>{row.change > 0 ? '+' : ''}{formatSeconds(row.change / 1e9)}</td>
                        <td className="hide-small" aria-hidden="true"><span className="change"><i className={row.change > 0 ? 'more' : 'less'} style={{ width: `${(Math.abs(row.change) / most) * 50}%` }} /></span></td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
              {rows.length > 500 && <div className="small muted" style={{ padding: '8px 12px' }}>{count(rows.length)} calls, the first 500 shown</div>}
            </Panel>
          </div>
        )}
      </Answer>
    </>
  );
}
