/* Traces: a search over spans, when and how long they took, the newest traces. */
import { Button, SegmentedControl, TextInput } from '@mantine/core';
import { IconSearch } from '@tabler/icons-react';
import { useEffect, useMemo, useState } from 'react';
import { sql } from '../api/client';
import { useAddress, useAskSpan, useSetAddress } from '../hooks';
import { count } from '../lib/format';
import { addTerm, parseSearch, spanWhere } from '../lib/search';
import { formatSeconds } from '../lib/time';
import { Answer, Empty, firstData, Go, LinkList, PageHead, Panel, Tag, When } from '../parts/basics';

interface Found {
  trace: string;
  at: number;
  duration: number;
  service: string;
  name: string;
  spans: number;
  errors: number;
}

const PAGE = 100;
const MOST = 1_000;

const ORDERS: Record<string, string> = { newest: 'max(ts) DESC', slowest: 'longest DESC', errors: 'countIf(status = \'ERROR\') DESC, max(ts) DESC' };

export function Traces() {
  const { q = '', sort = 'newest' } = useAddress();
  const set = useSetAddress();
  const [typed, setTyped] = useState(q);
  useEffect(() => setTyped(q), [q]);
  const [most, setMost] = useState(PAGE);
  useEffect(() => setMost(PAGE), [q, sort]);
  const terms = useMemo(() => parseSearch(q), [q]);
  // No name here may be a column's: the search's conditions would then be about the outcome.
  const found = useAskSpan(['traces', q, sort, most], async (range, signal) => {
    const where = spanWhere(terms, range.from, range.to);
    const answer = await sql(`
SELECT lower(hex(m.trace)), toString(toUnixTimestamp64Milli(i.start)), toString(toUnixTimestamp64Nano(i.end) - toUnixTimestamp64Nano(i.start)), toString(i.spans), toString(i.errors), m.top_service, m.top_name
FROM (SELECT trace_id AS trace, max(duration) AS longest, argMax(service, duration) AS top_service, argMax(name, duration) AS top_name FROM spans WHERE ${where} GROUP BY trace_id ORDER BY ${ORDERS[sort] ?? ORDERS.newest} LIMIT ${most}) AS m
INNER JOIN (SELECT trace_id, min(start) AS start, max(end) AS end, sum(spans) AS spans, sum(errors) AS errors FROM trace_index WHERE trace_id IN (SELECT trace_id FROM spans WHERE ${where} GROUP BY trace_id ORDER BY ${(ORDERS[sort] ?? ORDERS.newest ?? '').replace('longest', 'max(duration)')} LIMIT ${most}) GROUP BY trace_id) AS i ON i.trace_id = m.trace`, signal);
    const traces = answer.data.map((row): Found => ({ trace: String(row[0]), at: Number(row[1]), duration: Number(row[2]) / 1e9, spans: Number(row[3]), errors: Number(row[4]), service: String(row[5]), name: String(row[6]) }));
    traces.sort((a, b) => (sort === 'slowest' ? b.duration - a.duration : sort === 'errors' ? b.errors - a.errors || b.at - a.at : b.at - a.at));
    return { traces, elapsed: answer.statistics?.elapsed ?? 0 };
    // While somebody reads on, the list holds still.
  }, { live: most === PAGE });
  return (
    <>
      <PageHead title="Traces">
        <SegmentedControl size="xs" aria-label="Order" value={sort} onChange={(value) => set({ sort: value === 'newest' ? undefined : value })} data={[{ value: 'newest', label: 'Newest' }, { value: 'slowest', label: 'Slowest' }, { value: 'errors', label: 'Most errors' }]} />
      </PageHead>
      <div className="stack">
        <form onSubmit={(event) => { event.preventDefault(); set({ q: typed.trim() }); }}>
          <TextInput aria-label="Search the spans" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} classNames={{ input: 'mono' }} leftSection={<IconSearch size={16} />} placeholder="service=checkout name~orders duration>500ms status=error http.request.method=POST" rightSectionWidth={76} rightSection={<Button type="submit" size="compact-sm" variant="light" color="gray" c="var(--mantine-color-text)">Search</Button>} />
          <div className="row small" style={{ marginTop: 6 }}>
            {['status=error', 'duration>500ms', 'kind=server'].map((term) => <button key={term} type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => set({ q: addTerm(q, term) })}>{term}</button>)}
            {q !== '' && <button type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => set({ q: undefined })}>clear</button>}
            <span className="grow" />
            {found.data && <span className="muted nums">{found.data.traces.length >= most ? `the first ${count(found.data.traces.length)}` : count(found.data.traces.length)} traces · {Math.round(found.data.elapsed * 1_000)} ms</span>}
          </div>
        </form>
        {/* Its place is kept whatever is found: a plot that goes away would move the list under the reader's hand. */}
        <Panel title="When, and how long"><div style={{ height: 110 }}>{found.data && (found.data.traces.length > 0 ? <Dots traces={found.data.traces} /> : <span className="muted small">Nothing to draw in this time.</span>)}</div></Panel>
        <Panel flush>
          <Answer of={found} height={400}>
            {({ traces }) => traces.length === 0
              ? <Empty title={q === '' ? 'No traces in this time' : 'No span fits'} {...(q === '' ? { snippet: firstData.otlp } : {})}>{q === '' ? 'Look at a longer time span, or send some.' : 'A trace is found when one of its spans fits everything in the search.'}</Empty>
              : <List traces={traces} more={traces.length >= most && most < MOST ? () => setMost(Math.min(most + PAGE * 2, MOST)) : undefined} busy={found.isPlaceholderData} />}
          </Answer>
        </Panel>
      </div>
    </>
  );
}

function List({ traces, more, busy }: { traces: Found[]; more: (() => void) | undefined; busy: boolean }) {
  const longest = Math.max(...traces.map((trace) => trace.duration));
  return (
    <>
      <LinkList label="Traces">{traces.map((one) => <TraceItem key={one.trace} one={one} longest={longest} />)}</LinkList>
      {more ? <div style={{ padding: '8px 12px', borderTop: '1px solid var(--wf-edge)' }}><Button size="compact-xs" variant="default" loading={busy} onClick={more}>More traces</Button></div>
        : traces.length >= MOST && <div className="small muted" style={{ padding: '8px 12px' }}>More are not listed: search for something narrower, or in a shorter time.</div>}
    </>
  );
}

function TraceItem({ one, longest }: { one: Found; longest: number }) {
  return (
    <li>
      <Go to={`/traces/${one.trace}`} search={{ at: String(one.at) }} className="item" data-item>
        <span className="item-main">
          <span className="item-title">{one.service}: {one.name}</span>
          <span className="item-sub"><span className="mono">{one.trace.slice(0, 16)}</span><span>{count(one.spans)} {one.spans === 1 ? 'span' : 'spans'}</span><span><When at={one.at} /></span></span>
        </span>
        {one.errors > 0 && <Tag tone="critical">{one.errors} failed</Tag>}
        <span style={{ width: 130 }} className="hide-small"><span className="meter" style={{ display: 'block' }}><i style={{ width: `${Math.max((one.duration / Math.max(longest, 1e-9)) * 100, 1)}%` }} /></span></span>
        <span className="nums small" style={{ minWidth: 64, textAlign: 'right' }}>{formatSeconds(one.duration)}</span>
      </Go>
    </li>
  );
}

/** Each trace as a dot: time across, duration up (logarithmic). The list says the same. */
function Dots({ traces }: { traces: Found[] }) {
  const [least, most] = [Math.min(...traces.map((one) => one.at)), Math.max(...traces.map((one) => one.at))];
  const logs = traces.map((one) => Math.log10(Math.max(one.duration, 1e-6)));
  const [low, high] = [Math.min(...logs), Math.max(...logs)];
  return (
    <svg viewBox="0 0 1000 110" width="100%" height="110" preserveAspectRatio="none" role="img" aria-label={`${traces.length} traces from ${formatSeconds(10 ** low)} to ${formatSeconds(10 ** high)}`} style={{ display: 'block' }}>
      {traces.map((one, at) => {
        const x = 8 + ((one.at - least) / Math.max(most - least, 1)) * 984;
        const y = 100 - (((logs[at] ?? low) - low) / Math.max(high - low, 1e-9)) * 90;
        return <line key={one.trace} x1={x} x2={x} y1={y} y2={y + 0.01} stroke={one.errors > 0 ? '#e5484d' : '#5b8def'} strokeWidth="8" strokeLinecap="round" vectorEffect="non-scaling-stroke" opacity="0.75" />;
      })}
    </svg>
  );
}
