/* One trace: its spans as a waterfall with the critical path, or its calls as a flame; the chosen span in full, with its logs and errors; beside another trace. */
import { Button, SegmentedControl, Switch, TextInput } from '@mantine/core';
import { useParams } from '@tanstack/react-router';
import { useVirtualizer } from '@tanstack/react-virtual';
import { lazy, Suspense, useMemo, useRef, useState } from 'react';
import { get, sql, withQuery } from '../api/client';
import type { IssueList } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { count, hashOf, sqlString } from '../lib/format';
import { formatClock, formatMoment, formatSeconds, zoneName } from '../lib/time';
import { fieldText, levelOf } from '../lib/search';
import { calls } from '../lib/profile';
import { criticalPath, extent, layout, pathShare, type Span } from '../lib/waterfall';
import { Answer, Copy, Empty, Facts, Go, LinkList, PageHead, Panel, StatusTag, Tag, Trouble } from '../parts/basics';
import { Flame } from '../parts/Flame';
import { useZone } from '../prefs';
import { SERIES } from '../theme';
import { millisOf } from './Logs';

export interface Full extends Span {
  nanos: string;
  message: string;
  scope: string;
  resource: Record<string, string>;
  attributes: Record<string, string>;
  events: { nanos: string; name: string; attributes: Record<string, string> }[];
  links: { trace: string; span: string }[];
}

const CompareView = lazy(async () => ({ default: (await import('./Compare')).CompareView }));
const CompareWith = lazy(async () => ({ default: (await import('./Compare')).CompareWith }));

const MOST = 20_000;

export async function load(trace: string, signal: AbortSignal): Promise<{ spans: Full[]; cut: boolean }> {
  const id = `unhex(${sqlString(trace)})`;
  const place = await sql(`SELECT toString(toUnixTimestamp64Milli(min(start))), toString(toUnixTimestamp64Milli(max(end))), count() FROM trace_index WHERE trace_id = ${id}`, signal);
  const [start, end, known] = (place.data[0] ?? []).map(Number);
  if (!known) return { spans: [], cut: false };
  const answer = await sql(`
SELECT lower(hex(span_id)), if(empty(parent_span_id), '', lower(hex(parent_span_id))), service, name, toString(kind), toString(status), toString(toUnixTimestamp64Nano(ts)), toString(duration), status_message, scope_name, resource, attributes,
  arrayMap(x -> toString(toUnixTimestamp64Nano(x)), event_ts), event_name, event_attributes, arrayMap(x -> lower(hex(x)), link_trace_id), arrayMap(x -> lower(hex(x)), link_span_id)
FROM spans WHERE trace_id = ${id} AND ts >= fromUnixTimestamp64Milli(${(start ?? 0) - 1}) AND ts <= fromUnixTimestamp64Milli(${(end ?? 0) + 1}) ORDER BY ts LIMIT ${MOST}`, signal);
  const first = answer.data.length > 0 ? BigInt(String(answer.data[0]?.[6])) : 0n;
  const spans = answer.data.map((row): Full => {
    const [id, parent, service, name, kind, status, nanos, duration, message, scope] = row.map(String);
    const [events, names, attributes, traces, ids] = [row[12] as string[], row[13] as string[], row[14] as Record<string, string>[], row[15] as string[], row[16] as string[]];
    return {
      id: id ?? '', parent: parent ?? '', service: service ?? '', name: name ?? '', kind: kind ?? '', status: status ?? '', nanos: nanos ?? '0', message: message ?? '', scope: scope ?? '',
      start: Number(BigInt(nanos ?? 0) - first), duration: Number(duration), resource: row[10] as Record<string, string>, attributes: row[11] as Record<string, string>,
      events: events.map((at, index) => ({ nanos: at, name: names[index] ?? '', attributes: attributes[index] ?? {} })),
      links: traces.map((one, index) => ({ trace: one, span: ids[index] ?? '' })),
    };
  });
  return { spans, cut: spans.length >= MOST };
}

export function TracePage() {
  const { trace: raw } = useParams({ strict: false }) as { trace: string };
  const { with: other } = useAddress();
  const trace = raw.toLowerCase();
  const valid = /^[0-9a-f]{32}$/.test(trace);
  const found = useAsk(['trace', trace], (signal) => load(trace, signal), { live: false, enabled: valid, keep: false });
  if (!valid) return <Empty title="This is no trace id">A trace id has 32 hexadecimal digits.</Empty>;
  return (
    <>
      <Answer of={found} height={500}>
        {({ spans, cut }) => spans.length === 0
          ? <Empty title="There is no such trace">It may not have arrived yet, may be older than the retention, or may have been sampled away before it was sent. <Button size="xs" variant="default" onClick={() => void found.refetch()}>Look again</Button></Empty>
          : other !== undefined ? <Suspense fallback={null}><CompareView trace={trace} spans={spans} other={other.toLowerCase()} /></Suspense> : <View trace={trace} spans={spans} cut={cut} />}
      </Answer>
    </>
  );
}

function View({ trace, spans, cut }: { trace: string; spans: Full[]; cut: boolean }) {
  const { span: chosen, find = '', view = 'waterfall' } = useAddress();
  const set = useSetAddress();
  const zone = useZone();
  const [collapsed, setCollapsed] = useState<ReadonlySet<string>>(new Set());
  const [path, setPath] = useState(true);
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => layout(spans, collapsed), [spans, collapsed]);
  const bounds = useMemo(() => extent(spans), [spans]);
  const pieces = useMemo(() => criticalPath(spans), [spans]);
  const roots = useMemo(() => (view === 'flame' ? calls(spans) : []), [spans, view]);
  const shares = useMemo(() => pathShare(pieces), [pieces]);
  const piecesBy = useMemo(() => Map.groupBy(pieces, (one) => one.id), [pieces]);
  const root = useMemo(() => layout(spans)[0]?.span, [spans]);
  const services = useMemo(() => [...new Set(spans.map((span) => span.service))], [spans]);
  const color = (service: string): string => SERIES[(services.length <= SERIES.length ? services.indexOf(service) : hashOf(service)) % SERIES.length] ?? '#888888';
  const picked = spans.find((span) => span.id === chosen) ?? root;
  const virtual = useVirtualizer({ count: rows.length, getScrollElement: () => scroller.current, estimateSize: () => 28, overscan: 16, initialOffset: () => Math.max(0, (rows.findIndex((row) => row.span.id === chosen) - 6) * 28) });
  const length = bounds.end - bounds.start;
  const failed = spans.filter((span) => span.status === 'ERROR').length;
  const percentOf = (nanos: number): string => `${((nanos - bounds.start) / length) * 100}%`;
  const fits = (span: Full): boolean => find !== '' && `${span.service} ${span.name} ${Object.values(span.attributes).join(' ')}`.toLowerCase().includes(find.toLowerCase());
  const pick = (id: string): void => set({ span: id }, true);
  const fold = (id: string): void => setCollapsed((before) => {
    const after = new Set(before);
    if (!after.delete(id)) after.add(id);
    return after;
  });
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const at = rows.findIndex((row) => row.span.id === picked?.id);
    const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    const row = rows[at];
    if (to !== undefined) {
      event.preventDefault();
      const next = Math.min(Math.max(to, 0), rows.length - 1);
      virtual.scrollToIndex(next);
      pick(rows[next]?.span.id ?? '');
    } else if (row && (event.key === 'ArrowLeft' || event.key === 'ArrowRight') && row.children > 0 && collapsed.has(row.span.id) === (event.key === 'ArrowRight')) {
      event.preventDefault();
      fold(row.span.id);
    }
  };
  return (
    <>
      <PageHead title={root ? `${root.service}: ${root.name}` : 'Trace'}>
        <TextInput size="xs" aria-label="Find in the trace" placeholder="Find in the trace" value={find} onChange={(event) => set({ find: event.currentTarget.value }, true)} />
        <SegmentedControl size="xs" aria-label="View" value={view} onChange={(value) => set({ view: value === 'waterfall' ? undefined : value }, true)} data={[{ value: 'waterfall', label: 'Waterfall' }, { value: 'flame', label: 'Flame' }]} />
        {root && <Suspense fallback={null}><CompareWith root={root} at={millisOf(root.nanos)} trace={trace} /></Suspense>}
        {view !== 'flame' && <Switch size="xs" label="Critical path" checked={path} onChange={(event) => setPath(event.currentTarget.checked)} />}
      </PageHead>
      <div className="row small" style={{ marginBottom: 10, gap: '4px 14px' }}>
        <span className="nums">{formatMoment(millisOf(spans[0]?.nanos ?? '0'), zone)} {zoneName(millisOf(spans[0]?.nanos ?? '0'), zone)}</span>
        <b className="nums">{formatSeconds(length / 1e9)}</b>
        <span>{count(spans.length)} spans of {services.length} {services.length === 1 ? 'service' : 'services'}</span>
        {failed > 0 && <Tag tone="critical">{failed} failed</Tag>}
        <span className="row" style={{ gap: 4 }}><span className="mono wrap">{trace}</span><Copy text={trace} label="Copy the trace id" /></span>
        {cut && <span className="note">only the first {count(MOST)} spans are shown</span>}
      </div>
      <div className="row small" style={{ marginBottom: 8 }}>{services.slice(0, 14).map((service) => <span key={service} className="row" style={{ gap: 5 }}><span className="swatch" style={{ background: color(service) }} />{service}</span>)}{path && view !== 'flame' && <span className="row" style={{ gap: 5 }}><span className="swatch" style={{ background: 'var(--wf-critical)' }} />critical path</span>}</div>
      <div className="split">
        {view === 'flame' ? <Panel flush><Flame roots={roots} color={color} picked={picked?.id} pick={pick} /></Panel> : <Panel flush>
          <div style={{ display: 'grid', gridTemplateColumns: 'minmax(150px, 34%) 1fr', borderBottom: '1px solid var(--wf-edge)' }} className="small muted nums">
            <span style={{ padding: '6px 12px' }}>{count(rows.length)} rows</span>
            <span style={{ display: 'flex', justifyContent: 'space-between', padding: '6px 8px 6px 4px' }}>{[0, 0.25, 0.5, 0.75, 1].map((part) => <span key={part} className={part === 0.25 || part === 0.75 ? 'hide-small' : undefined}>{formatSeconds((length * part) / 1e9)}</span>)}</span>
          </div>
          <div ref={scroller} className="trace" style={{ height: Math.min(Math.max(rows.length * 28 + 4, 200), 640) }} tabIndex={0} role="listbox" aria-label="Spans. Arrows move and fold." aria-activedescendant={picked ? `span-${picked.id}` : undefined} onKeyDown={onKeyDown}>
            <div role="presentation" style={{ height: virtual.getTotalSize(), position: 'relative' }}>
              {virtual.getVirtualItems().map((item) => {
                const row = rows[item.index];
                if (!row) return null;
                const { span } = row;
                const width = (span.duration / length) * 100;
                const left = ((span.start - bounds.start) / length) * 100;
                return (
                  <div key={span.id} id={`span-${span.id}`} role="option" aria-selected={span.id === picked?.id} className={`span-row${span.id === picked?.id ? ' at' : ''}`} style={{ transform: `translateY(${item.start}px)`, ...(fits(span) ? { background: 'var(--wf-warning-soft)' } : {}) }} onClick={() => pick(span.id)}>
                    <span className="span-name" style={{ paddingLeft: 6 + Math.min(row.depth, 24) * 12 }}>
                      <span className="twist" aria-hidden="true" onClick={(event) => { event.stopPropagation(); if (row.children > 0) fold(span.id); }}>{row.children > 0 ? (collapsed.has(span.id) ? '▸' : '▾') : ''}</span>
                      <span style={{ width: 8, height: 8, borderRadius: 2, background: color(span.service), flex: 'none' }} />
                      {span.status === 'ERROR' && <b style={{ color: 'var(--wf-critical)' }} title="failed">!</b>}
                      <span className="cut" title={`${span.service}: ${span.name}`}>{span.name}<span className="muted"> {span.service}</span></span>
                      {row.orphan && <span className="muted small" title="its parent is not in the trace">…</span>}
                    </span>
                    <span className="span-lane">
                      <span className="span-bar" style={{ left: `${left}%`, width: `${width}%`, background: color(span.service), ...(span.status === 'ERROR' ? { outline: '2px solid var(--wf-critical)' } : {}) }} />
                      {path && (piecesBy.get(span.id) ?? []).map((piece) => <span key={piece.start} className="span-path" style={{ left: percentOf(piece.start), width: `${((piece.end - piece.start) / length) * 100}%` }} />)}
                      <span className="span-time" style={left + width < 82 ? { left: `calc(${left + width}% + 5px)` } : left > 12 ? { right: `calc(${100 - left}% + 5px)` } : { right: 6, color: 'var(--mantine-color-text)' }}>{formatSeconds(span.duration / 1e9)}</span>
                    </span>
                  </div>
                );
              })}
            </div>
          </div>
        </Panel>}
        {picked && <Detail key={picked.id} trace={trace} span={picked} share={(shares.get(picked.id) ?? 0) / length} />}
      </div>
    </>
  );
}

function Detail({ trace, span, share }: { trace: string; span: Full; share: number }) {
  const zone = useZone();
  const millis = millisOf(span.nanos);
  const [lo, hi] = [Math.floor(millis) - 60_000, Math.ceil(millis + span.duration / 1e6) + 60_000];
  const logs = useAsk(['trace-logs', trace, span.id], async (signal) => {
    const answer = await sql(`SELECT toString(toUnixTimestamp64Nano(ts)), severity_number, substring(body, 1, 2000), service, lower(hex(span_id)) FROM logs WHERE trace_id = unhex(${sqlString(trace)}) AND ts BETWEEN fromUnixTimestamp64Milli(${lo}) AND fromUnixTimestamp64Milli(${hi}) ORDER BY ts LIMIT 200`, signal);
    const lines = answer.data.map((row) => ({ nanos: String(row[0]), severity: Number(row[1]), body: String(row[2]), service: String(row[3]), span: String(row[4]) }));
    return { lines, own: lines.filter((line) => line.span === span.id) };
  }, { live: false, keep: false });
  return (
    <div className="stack">
      <Panel title={<span className="wrap">{span.name}</span>} extra={<StatusTag status={span.status} />}>
        {span.message && <div className="trouble" style={{ marginBottom: 8 }}>{span.message}</div>}
        <Facts of={[
          ['Service', <Go key="s" to={`/services/${encodeURIComponent(span.service)}`}>{span.service}</Go>],
          ['Kind', span.kind.toLowerCase()],
          ['Began', <span key="b" className="nums">{formatClock(millis, zone, true)}, {formatSeconds(span.start / 1e9)} into the trace</span>],
          ['Took', <span key="t" className="nums">{formatSeconds(span.duration / 1e9)}{share > 0 && `, ${Math.max(1, Math.round(share * 100))} % of the trace on the critical path`}</span>],
          ['Span id', <span key="i" className="mono">{span.id}</span>],
          ['Alike', <Go key="a" to="/traces" search={{ q: `${fieldText('service', '=', span.service)} ${fieldText('name', '=', span.name)}` }}>other traces with this operation</Go>],
        ]} />
      </Panel>
      <Errors trace={trace} span={span} />
      {span.events.length > 0 && (
        <Panel title={`Events (${span.events.length})`}>
          {span.events.map((event, at) => (
            <details key={at} open={event.name === 'exception'} style={{ marginBottom: 6 }}>
              <summary className="small"><span className="nums muted">{formatClock(millisOf(event.nanos), zone, true)}</span> <b>{event.attributes['exception.type'] ?? event.name}</b> {event.attributes['exception.message']}</summary>
              {event.attributes['exception.stacktrace'] && <pre className="code" style={{ maxHeight: 260, overflow: 'auto' }} tabIndex={0}>{event.attributes['exception.stacktrace']}</pre>}
              <Facts of={Object.entries(event.attributes).filter(([name]) => !name.startsWith('exception.')).map(([name, value]) => [name, <span key={name} className="mono wrap">{value}</span>])} />
            </details>
          ))}
        </Panel>
      )}
      <Panel title="Logs" extra={<Go to="/logs" search={{ q: `trace=${trace}`, from: String(lo), to: String(hi) }}><span className="small">All of the trace</span></Go>}>
        <Answer of={logs} height={60}>
          {({ lines, own }) => lines.length === 0 ? <span className="small muted">No log line names this trace.</span> : (
            <>
              {own.length === 0 && <div className="small muted">None of this span; of the whole trace:</div>}
              <ul className="list mono">{(own.length > 0 ? own : lines).slice(0, 40).map((line, at) => <li key={at} style={{ padding: '4px 0' }}><span className="muted nums">{formatClock(millisOf(line.nanos), zone, true)}</span> <b style={line.severity >= 17 ? { color: 'var(--wf-critical)' } : undefined}>{levelOf(line.severity)}</b> <span className="wrap">{line.body}</span></li>)}</ul>
            </>
          )}
        </Answer>
      </Panel>
      <Panel title="Attributes">
        <Facts of={[...Object.entries(span.attributes), ...Object.entries(span.resource)].map(([name, value]) => [name, <span key={name} className="mono wrap">{value}</span>])} />
      </Panel>
      {span.links.length > 0 && <Panel title="Links"><ul className="list">{span.links.map((link, at) => <li key={at}><Go to={`/traces/${link.trace}`} search={{ span: link.span }}><span className="mono">{link.trace}</span></Go></li>)}</ul></Panel>}
    </div>
  );
}

/** The errors of the span that error tracking took up, each with its issue. What is one span's is asked once for the whole trace. */
function Errors({ trace, span }: { trace: string; span: Full }) {
  const zone = useZone();
  const millis = millisOf(span.nanos);
  const [lo, hi] = [Math.floor(millis / 3_600_000 - 1) * 3_600_000, Math.ceil((millis + span.duration / 1e6) / 3_600_000 + 1) * 3_600_000];
  const found = useAsk(['trace-errors', trace, lo, hi], async (signal) => {
    const answer = await sql(`SELECT lower(hex(span_id)), toString(toUnixTimestamp64Nano(ts)), type, substring(value, 1, 1000), lower(leftPad(hex(fingerprint), 16, '0')), release FROM error_events WHERE trace_id = unhex(${sqlString(trace)}) AND ts BETWEEN fromUnixTimestamp64Milli(${lo}) AND fromUnixTimestamp64Milli(${hi}) ORDER BY ts LIMIT 1 BY event_id LIMIT 500`, signal);
    return { events: answer.data.map((row) => ({ span: String(row[0]), nanos: String(row[1]), type: String(row[2]), message: String(row[3]), print: String(row[4]), release: String(row[5]) })) };
  }, { live: false, keep: false });
  const own = (found.data?.events ?? []).filter((one) => one.span === span.id);
  const types = [...new Set(own.map((one) => one.type))].sort().slice(0, 8);
  // The server finds issues by words, not by fingerprints: those with the type in their text are looked through.
  const issues = useAsk(['errors', 'of-types', types], async (signal) => {
    const lists = await Promise.all(types.map((type) => get<IssueList>(withQuery('/api/watchfire/v1/errors', { status: 'all', window: '90d', limit: 200, text: type }), signal)));
    return new Map(lists.flatMap((list) => list.issues).flatMap((issue) => issue.fingerprints.map((print) => [print, issue] as const)));
  }, { live: false, enabled: types.length > 0 });
  if (found.error) return <Trouble error={found.error} />;
  if (own.length === 0) return null;
  return (
    <Panel flush title={`Errors (${own.length})`}>
      {issues.error && <div style={{ padding: '0 16px 8px' }}><Trouble error={issues.error} /></div>}
      <LinkList label="Errors of the span">
        {own.map((one, at) => {
          const issue = issues.data?.get(one.print);
          const inside = (
            <>
              <span className="item-main"><span className="item-title">{one.type}</span><span className="item-sub"><span className="wrap">{one.message}</span><span className="nums">{formatClock(millisOf(one.nanos), zone, true)}</span>{one.release && <span>release {one.release}</span>}{issue && <span>issue {issue.number}</span>}</span></span>
              {issue ? <StatusTag status={issue.status} /> : issues.data && <span className="small muted">no issue of it is found</span>}
            </>
          );
          return <li key={at}>{issue ? <Go to={`/errors/${issue.number}`} className="item" data-item>{inside}</Go> : <div className="item">{inside}</div>}</li>;
        })}
      </LinkList>
    </Panel>
  );
}
