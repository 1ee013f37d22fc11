/* Logs: a search line, how many there were by level, the newest lines (virtualised), lines as they arrive, one line in full (the address names it) with those around it, lines that are alike. */
import { Button, Drawer, SegmentedControl, TextInput } from '@mantine/core';
import { useVirtualizer } from '@tanstack/react-virtual';
import { IconSearch } from '@tabler/icons-react';
import { useEffect, useMemo, useRef, useState } from 'react';
import { sql } from '../api/client';
import type { LogLine } from '../api/types';
import { useLiveTail } from '../api/tail';
import { useAddress, useAsk, useAskSpan, useListKeys, useSetAddress, useTimeSpan } from '../hooks';
import { count, hashOf, sqlString } from '../lib/format';
import { addTerm, fieldText, histogramSql, levelOf, logWhere, parseSearch, patternLinesSql, phraseOf } from '../lib/search';
import { formatClock, formatMoment, stepFor, zoneName, type Range } from '../lib/time';
import { Answer, Copy, Empty, Facts, firstData, Go, PageHead, Panel, Tag, When, type Tone } from '../parts/basics';
import { useZone } from '../prefs';

const COLUMNS = `toString(toUnixTimestamp64Nano(ts)), severity_number, severity_text, service, substring(body, 1, 4000), if(empty(trace_id), '', lower(hex(trace_id))), if(empty(span_id), '', lower(hex(span_id))), attributes, resource`;
const PAGE = 1_000;
const MOST = 100_000;

const lineOf = (row: unknown[]): LogLine => ({
  nanos: String(row[0]), severity: Number(row[1]), severityText: String(row[2]), service: String(row[3]), body: String(row[4]), trace: String(row[5]), span: String(row[6]),
  attributes: row[7] as Record<string, string>, resource: row[8] as Record<string, string>,
});
export const millisOf = (nanos: string): number => Number(BigInt(nanos) / 1_000n) / 1_000;
/** A line's name in the address: its nanosecond, and which of the lines of that nanosecond. */
const lineId = (line: LogLine): string => `${line.nanos}-${hashOf([line.service, line.trace, line.span, line.body.slice(0, 500), JSON.stringify(Object.entries(line.attributes).sort())].join('\0')).toString(36)}`;
const TONES: Record<string, Tone> = { fatal: 'critical', error: 'critical', warn: 'warning', info: 'info' };

export function Logs() {
  const { q = '', view = 'lines' } = useAddress();
  const set = useSetAddress();
  const [typed, setTyped] = useState(q);
  const [most, setMost] = useState(PAGE);
  const { line: wanted } = useAddress();
  const [clicked, setClicked] = useState<LogLine | null>(null);
  useEffect(() => setTyped(q), [q]);
  useEffect(() => setMost(PAGE), [q]);
  const terms = useMemo(() => parseSearch(q), [q]);
  const lines = useAskSpan(['logs', q, most], async (range, signal) => {
    const answer = await sql(`SELECT ${COLUMNS} FROM logs WHERE ${logWhere(terms, range.from, range.to)} ORDER BY ts DESC LIMIT ${most}`, signal);
    return { lines: answer.data.map(lineOf), read: answer.statistics?.rows_read ?? 0, elapsed: answer.statistics?.elapsed ?? 0 };
  }, { live: most > PAGE ? false : true, enabled: view === 'lines' });
  const histogram = useAskSpan(['logs-histogram', q], async (range, signal) => {
    const step = stepFor(range, 80);
    const answer = await sql(histogramSql(terms, range.from, range.to, step), signal);
    return { step, bars: answer.data.map((row) => row.map(Number)) };
  }, { enabled: view !== 'live' });
  const submit = (text: string): void => set({ q: text.trim(), line: undefined });
  const open = (line: LogLine): void => {
    setClicked(line);
    // From one line to the next is no step for "back".
    set({ line: lineId(line) }, wanted !== undefined);
  };
  const local = wanted === undefined ? undefined : clicked && lineId(clicked) === wanted ? clicked : lines.data?.lines.find((line) => lineId(line) === wanted);
  const total = histogram.data?.bars.reduce((sum, [, a = 0, b = 0, c = 0, d = 0]) => sum + a + b + c + d, 0);
  return (
    <>
      <PageHead title="Logs">
        <SegmentedControl size="xs" aria-label="View" value={view} onChange={(value) => set({ view: value === 'lines' ? undefined : value }, true)} data={[{ value: 'lines', label: 'Lines' }, { value: 'live', label: 'Live' }, { value: 'patterns', label: 'Patterns' }]} />
      </PageHead>
      <div className="stack">
        <form onSubmit={(event) => { event.preventDefault(); submit(typed); }}>
          <TextInput
            aria-label="Search the logs" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} classNames={{ input: 'mono' }} leftSection={<IconSearch size={16} />}
            placeholder={'timeout "no answer" -retry service=checkout level>=warn http.route~/orders'} rightSectionWidth={76} rightSection={<Button type="submit" size="compact-sm" variant="light" color="gray" c="var(--mantine-color-text)">Search</Button>}
          />
          <div className="row small" style={{ marginTop: 6 }}>
            {['level>=error', 'level>=warn', 'level=info'].map((term) => <button key={term} type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => submit(addTerm(q.replace(/\blevel\S+/g, '').replace(/\s+/g, ' ').trim(), term))}>{term}</button>)}
            {q !== '' && <button type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => submit('')}>clear</button>}
            <span className="grow" />
            {view !== 'live' && total !== undefined && <span className="muted nums">{count(total)} lines{lines.data ? ` · read ${count(lines.data.read)} rows in ${Math.round(lines.data.elapsed * 1_000)} ms` : ''}</span>}
          </div>
        </form>
        {view === 'live' ? <Panel flush><LiveLines q={q} open={open} opened={wanted} /></Panel> : <>
        <Panel><div style={{ height: 96 }}>{histogram.data && <Histogram {...histogram.data} />}</div></Panel>
        {view === 'patterns' ? <Panel flush><Patterns q={q} /></Panel> : <Panel flush>
          <Answer of={lines} height={480}>
            {(data) => data.lines.length === 0
              ? <Empty title={q === '' ? 'No logs in this time' : 'No line fits'} {...(q === '' ? { snippet: firstData.logs } : {})}>{q === '' ? 'Look at a longer time span, or send some.' : 'Words are searched anywhere in a line, whatever their case. Try fewer words or a longer time span.'}</Empty>
              : <Lines lines={data.lines} open={open} opened={wanted} more={data.lines.length >= most && most < MOST ? () => setMost(most * 10) : undefined} busy={lines.isFetching} />}
          </Answer>
        </Panel>}
        </>}
      </div>
      <Drawer opened={wanted !== undefined} onClose={() => set({ line: undefined }, true)} position="right" size="lg" title="Log record" closeButtonProps={{ 'aria-label': 'Close' }}>
        {wanted !== undefined && (local ? <LogDetail key={wanted} line={local} id={wanted} open={open} add={(term) => submit(addTerm(q, term))} /> : <Linked key={wanted} id={wanted} open={open} add={(term) => submit(addTerm(q, term))} />)}
      </Drawer>
    </>
  );
}

function Histogram({ bars, step, range }: { bars: number[][]; step: number; range: Range }) {
  const set = useSetAddress();
  const zone = useZone();
  const first = Math.floor(range.from / 1_000 / step) * step;
  const slots = Math.min(Math.ceil(range.to / 1_000 / step) - Math.floor(range.from / 1_000 / step), 400);
  const at = new Map(bars.map((bar) => [bar[0], bar]));
  const top = Math.max(1, ...bars.map(([, a = 0, b = 0, c = 0, d = 0]) => a + b + c + d));
  const kinds = ['error', 'warn', 'info', 'other'];
  return (
    <>
      <div className="bars" role="group" aria-label={`Lines over time, at most ${count(top)} in ${step} s. Press a bar to look at its time.`}>
        {Array.from({ length: slots }, (_, index) => {
          const start = first + index * step;
          const values = at.get(start)?.slice(1) ?? [0, 0, 0, 0];
          const text = `${formatMoment(start * 1_000, zone)}: ${values.map((value, kind) => `${count(value)} ${kinds[kind]}`).join(', ')}`;
          return (
            <button key={start} type="button" title={text} aria-label={text} tabIndex={values.some((value) => value > 0) ? 0 : -1} onClick={() => set({ from: String(start * 1_000), to: String((start + step) * 1_000) })}>
              {values.map((value, kind) => value > 0 && <i key={kind} className={`b-${kinds[kind]}`} style={{ height: `${Math.max((value / top) * 100, 2)}%` }} />)}
            </button>
          );
        })}
      </div>
      <div className="row small muted nums" style={{ justifyContent: 'space-between', marginTop: 3 }}><span>{formatMoment(range.from, zone)}</span><span>{formatMoment(range.to, zone)} {zoneName(range.to, zone)}</span></div>
    </>
  );
}

/** Lines as the server takes them in, newest first. Who reads can hold them still; meanwhile they are counted, and kept as far as there is room. */
function LiveLines({ q, open, opened }: { q: string; open: (line: LogLine) => void; opened: string | undefined }) {
  const { lines, heldBack, leftOut, state, paused, pause, clear } = useLiveTail(q);
  return (
    <>
      <div className="row small" style={{ padding: '8px 12px', borderBottom: '1px solid var(--wf-edge)' }}>
        <span className={`live-dot${state === 'open' ? (paused ? ' off' : '') : ' bad'}`} aria-hidden="true" />
        <span role="status" className="grow" style={{ flexBasis: 140 }}>{state === 'open' ? (paused ? `Held still${heldBack > 0 ? `, ${count(heldBack)} new` : ''}` : 'Lines show as they arrive') : state === 'waiting' ? 'Connecting …' : state}</span>
        {leftOut > 0 && <span className="muted nums" title="They are stored: the Lines view finds them.">{count(leftOut)} were too many to show</span>}
        <Button size="compact-xs" variant="default" onClick={pause} aria-pressed={paused}>{paused ? 'Go on' : 'Hold still'}</Button>
        <Button size="compact-xs" variant="default" onClick={clear} disabled={lines.length === 0}>Clear</Button>
      </div>
      {lines.length === 0 ? <Empty title="No line has arrived yet" snippet={firstData.logs}>{q === '' ? 'What is sent from now on shows here at once.' : 'What is sent from now on and fits the search shows here at once.'}</Empty> : <Lines lines={lines} open={open} opened={opened} more={undefined} busy={false} />}
    </>
  );
}

function Lines({ lines, open, opened, more, busy }: { lines: LogLine[]; open: (line: LogLine) => void; opened: string | undefined; more: (() => void) | undefined; busy: boolean }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [at, setAt] = useState(-1);
  const zone = useZone();
  const small = window.innerWidth <= 700;
  const rows = useVirtualizer({ count: lines.length, getScrollElement: () => scroller.current, estimateSize: () => (small ? 46 : 26), overscan: 14 });
  const longSpan = lines.length > 1 && millisOf(lines[0]?.nanos ?? '0') - millisOf(lines.at(-1)?.nanos ?? '0') > 43_200_000;
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, PageDown: at + 20, PageUp: at - 20, Home: 0, End: lines.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      const next = Math.min(Math.max(to, 0), lines.length - 1);
      setAt(next);
      rows.scrollToIndex(next);
    } else if (event.key === 'Enter' && lines[at]) {
      event.preventDefault();
      open(lines[at]);
    }
  };
  return (
    <>
      <div ref={scroller} className="vlist" style={{ height: 'max(340px, calc(100vh - 400px))' }} tabIndex={0} role="listbox" aria-label="Log lines, newest first. Arrows move, Enter opens." aria-activedescendant={at >= 0 ? `log-${at}` : undefined} onKeyDown={onKeyDown}>
        <div role="presentation" style={{ height: rows.getTotalSize(), position: 'relative' }}>
          {rows.getVirtualItems().map((row) => {
            const line = lines[row.index];
            if (!line) return null;
            const level = levelOf(line.severity);
            const millis = millisOf(line.nanos);
            const here = row.index === at || (opened !== undefined && opened.startsWith(line.nanos) && lineId(line) === opened);
            return (
              <div key={row.key} id={`log-${row.index}`} role="option" aria-selected={row.index === at} className={`log lv-${level}${here ? ' at' : ''}`} style={{ transform: `translateY(${row.start}px)` }} onClick={() => { setAt(row.index); open(line); }}>
                <span className="when nums">{longSpan ? formatMoment(millis, zone).slice(5) : formatClock(millis, zone, true)}</span>
                <span style={{ width: 44, flex: 'none', color: level === 'error' || level === 'fatal' ? 'var(--wf-critical)' : level === 'warn' ? 'var(--wf-warning)' : 'var(--wf-muted)' }}>{line.severityText.slice(0, 5).toUpperCase() || level}</span>
                <span className="who cut">{line.service}</span>
                <span className="body">{line.body.slice(0, 500) || Object.entries(line.attributes).map(([name, value]) => `${name}=${value}`).join(' ')}</span>
              </div>
            );
          })}
        </div>
      </div>
      <div className="row small muted nums" style={{ padding: '8px 12px', borderTop: '1px solid var(--wf-edge)' }}>
        the newest {count(lines.length)}{more && <Button size="compact-xs" variant="default" loading={busy} onClick={more}>Load ten times as many</Button>}
      </div>
    </>
  );
}

/** What the lines of the time say again and again, and what is new: every line that fits is counted, not only those that are shown. */
function Patterns({ q }: { q: string }) {
  const set = useSetAddress();
  const keys = useListKeys();
  const { order = 'most' } = useAddress();
  const terms = useMemo(() => parseSearch(q), [q]);
  const found = useAskSpan(['logs-patterns', q], async (range, signal) => {
    const middle = Math.floor(range.from + (range.to - range.from) / 2);
    const answer = await sql(`SELECT pattern, toString(sum(weight)), max(severity), groupUniqArray(4)(service), toString(toUnixTimestamp64Milli(min(ts))), toString(toUnixTimestamp64Milli(max(ts))), toString(sumIf(weight, ts >= fromUnixTimestamp64Milli(${middle}))), toString(count()) FROM ${patternLinesSql(terms, range.from, range.to)} GROUP BY pattern ORDER BY sum(weight) DESC LIMIT 300`, signal);
    return { groups: answer.data.map((row) => ({ pattern: String(row[0]), lines: Number(row[1]), worst: Number(row[2]), services: row[3] as string[], first: Number(row[4]), last: Number(row[5]), later: Number(row[6]), stored: Number(row[7]) })) };
  }, { live: 3 });
  return (
    <>
      <div className="row small muted" style={{ padding: '10px 16px 4px' }}>
        <span className="grow">Lines of the time, with numbers, ids and quoted texts as holes</span>
        <SegmentedControl size="xs" aria-label="Order" value={order} onChange={(value) => set({ order: value === 'most' ? undefined : value }, true)} data={[{ value: 'most', label: 'Most' }, { value: 'worst', label: 'Worst' }, { value: 'new', label: 'New' }]} />
      </div>
      <Answer of={found} height={300}>
        {({ groups, range }) => {
          const middle = range.from + (range.to - range.from) / 2;
          const fresh = (one: (typeof groups)[number]): boolean => one.first > middle;
          // A few lines tell no trend, however many each of them stands for.
          const growing = (one: (typeof groups)[number]): boolean => one.later > 3 * (one.lines - one.later) + (5 * one.lines) / one.stored;
          const shown = order === 'worst' ? groups.toSorted((a, b) => b.worst - a.worst || b.lines - a.lines) : order === 'new' ? groups.toSorted((a, b) => b.first - a.first) : groups;
          if (groups.length === 0) return <Empty title={q === '' ? 'No logs in this time' : 'No line fits'} {...(q === '' ? { snippet: firstData.logs } : {})} />;
          return (
            <ul className="list" aria-label="Patterns" {...keys}>
              {shown.map((one) => (
                <li key={one.pattern}>
                  <button type="button" data-item className="item" style={{ width: '100%', border: 0, background: 'none', font: 'inherit', textAlign: 'left', cursor: 'pointer' }} onClick={() => set({ q: `${q} "${phraseOf(one.pattern).replace(/\\/g, '\\\\').replace(/"/g, '\\"')}"`.trim(), view: undefined })}>
                    <span className="nums" style={{ width: 74, textAlign: 'right' }}>{count(one.lines)}</span>
                    <Tag tone={TONES[levelOf(one.worst)] ?? 'quiet'}>{levelOf(one.worst)}</Tag>
                    <span className="item-main"><span className="mono wrap">{one.pattern}</span><span className="item-sub"><span>{one.services.join(', ')}</span><span>first <When at={one.first} />, last <When at={one.last} /></span></span></span>
                    {fresh(one) ? <Tag tone="high">new in the second half</Tag> : growing(one) ? <Tag tone="warning">more and more</Tag> : null}
                  </button>
                </li>
              ))}
            </ul>
          );
        }}
      </Answer>
    </>
  );
}

interface DetailProps {
  id: string;
  open: (line: LogLine) => void;
  add: (term: string) => void;
}

/** The lines of one nanosecond; a statement about no time would read all of the table. */
const ofNanos = (nanos: string): string => `ts = fromUnixTimestamp64Nano(toInt64(${BigInt(nanos)}))`;

/** A line that only the address knows. */
function Linked({ id, ...rest }: DetailProps) {
  const nanos = /^(?:[1-8]\d{18}|\d{1,18})(?!\d)/.exec(id)?.[0];
  const found = useAsk(['logs', 'line', id], async (signal) => {
    const all = nanos === undefined ? [] : (await sql(`SELECT ${COLUMNS} FROM logs WHERE ${ofNanos(nanos)} LIMIT 1000`, signal)).data.map(lineOf);
    // Where no line has the whole name, the first one of its nanosecond is the nearest to what was meant.
    return { line: all.find((line) => lineId(line) === id) ?? all[0] ?? null };
  }, { live: false, keep: false });
  return <Answer of={found} height={400}>{({ line }) => (line ? <LogDetail line={line} id={lineId(line)} {...rest} /> : <Empty title="This line is not there">It may be older than the retention, or not have arrived yet.</Empty>)}</Answer>;
}

/** How far around a line is looked, in seconds, by how often more was asked for. */
const REACH = [60, 3_600, 86_400] as const;
const FEW = 5;
const MANY = 50;

function LogDetail({ line, id, open, add }: DetailProps & { line: LogLine }) {
  const zone = useZone();
  const span = useTimeSpan();
  const millis = millisOf(line.nanos);
  const around = { from: String(Math.floor(millis - 30_000)), to: String(Math.ceil(millis + 30_000)) };
  const level = levelOf(line.severity);
  const [back, setBack] = useState(0);
  const [forth, setForth] = useState(0);
  const keys = useListKeys();
  const nearby = useAsk(['logs-near', id, line.service, back, forth], async (signal) => {
    const reach = (times: number): number => (REACH[times] ?? 86_400) * 1_000;
    const limit = (times: number): number => FEW + times * MANY;
    const side = (condition: string, order: string, times: number): Promise<LogLine[]> =>
      sql(`SELECT ${COLUMNS} FROM logs WHERE service = ${sqlString(line.service)} AND ${condition} ORDER BY ts${order} LIMIT ${limit(times)}`, signal).then((answer) => answer.data.map(lineOf));
    const moment = `fromUnixTimestamp64Nano(toInt64(${BigInt(line.nanos)}))`;
    const [before, same, after] = await Promise.all([
      side(`ts >= fromUnixTimestamp64Milli(${Math.floor(millis) - reach(back)}) AND ts < ${moment}`, ' DESC', back),
      side(ofNanos(line.nanos), '', 2),
      side(`ts > ${moment} AND ts <= fromUnixTimestamp64Milli(${Math.ceil(millis) + reach(forth)})`, '', forth),
    ]);
    // A line that has just arrived is shown before it is stored.
    const own = same.some((one) => lineId(one) === id) ? same : [line, ...same];
    return { lines: [...before.reverse(), ...own, ...after], back: before.length >= limit(back) || back < 2, forth: after.length >= limit(forth) || forth < 2 };
  }, { live: false });
  const field = (name: string, value: string): [string, React.ReactNode] => [name, (
    <span key={name} className="row" style={{ gap: 4, flexWrap: 'nowrap', alignItems: 'flex-start' }}>
      <span className="mono wrap grow">{value}</span>
      <button type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => add(fieldText(name, '=', value))} aria-label={`Only ${name} = ${value.slice(0, 60)}`}>only</button>
      <button type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => add(fieldText(name, '!=', value))} aria-label={`Not ${name} = ${value.slice(0, 60)}`}>not</button>
    </span>
  )];
  return (
    <div className="stack">
      <div className="row"><Tag tone={TONES[level] ?? 'quiet'}>{line.severityText || level}</Tag><span className="nums small">{formatMoment(millis, zone)}.{line.nanos.slice(-9)} {zoneName(millis, zone)}</span></div>
      <div className="row" style={{ flexWrap: 'nowrap', alignItems: 'flex-start' }}><pre className="code grow" tabIndex={0}>{line.body}</pre><Copy text={line.body} label="Copy the text" /></div>
      <div className="row">
        <Copy text={window.location.href} label="Copy a link to this line" />
        {line.trace && <Go to={`/traces/${line.trace}`} search={{ span: line.span || undefined, at: String(Math.floor(millis)) }}>Its trace</Go>}
        {line.trace && <Go to="/logs" search={{ q: `trace=${line.trace}`, ...(span.live ? {} : around) }}>All lines of the trace</Go>}
        <Go to="/logs" search={{ q: fieldText('service', '=', line.service), ...around }}>A minute around it</Go>
        <Go to={`/services/${encodeURIComponent(line.service)}`}>Service</Go>
      </div>
      <Facts of={[field('service', line.service), ...(line.trace ? [field('trace', line.trace)] : []), ...Object.entries(line.attributes).map(([name, value]) => field(name, value)), ...Object.entries(line.resource).filter(([name]) => name !== 'service.name').map(([name, value]) => field(name, value))]} />
      <Panel title="Around it, same service" flush>
        <Answer of={nearby} height={180}>
          {(near) => (
            <>
              {near.back && <div style={{ padding: '6px 12px' }}><Button size="compact-xs" variant="default" loading={nearby.isPlaceholderData} onClick={() => setBack(back + 1)}>More before</Button></div>}
              <ul className="list" aria-label="Lines around it, oldest first" {...keys}>
                {near.lines.map((one, at) => {
                  const here = lineId(one) === id;
                  return (
                    <li key={at}>
                      <button type="button" data-item aria-current={here ? 'true' : undefined} className="mono" onClick={() => { if (!here) open(one); }} style={{ display: 'block', width: '100%', border: 0, background: here ? 'var(--wf-high-soft)' : 'none', color: 'inherit', textAlign: 'left', cursor: 'pointer', padding: '4px 12px' }}>
                        <span className="muted nums">{formatClock(millisOf(one.nanos), zone, true)}</span> <span className="wrap">{one.body.slice(0, 300)}</span>
                      </button>
                    </li>
                  );
                })}
              </ul>
              {near.forth && <div style={{ padding: '6px 12px' }}><Button size="compact-xs" variant="default" loading={nearby.isPlaceholderData} onClick={() => setForth(forth + 1)}>More after</Button></div>}
            </>
          )}
        </Answer>
      </Panel>
    </div>
  );
}

