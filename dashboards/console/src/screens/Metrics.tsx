/* Metrics by PromQL: several expressions, lines, bars, a heatmap or a table. The address holds all of it, so that a link shows the same. */
import { ActionIcon, Button, SegmentedControl, Tooltip } from '@mantine/core';
import { IconBellPlus, IconLink, IconPlus, IconTrash } from '@tabler/icons-react';
import { useEffect, useMemo } from 'react';
import { ApiError, instant, prom, range as askRange } from '../api/client';
import { useAddress, useAsk, useAskSpan, useSetAddress, type Search } from '../hooks';
import { guessUnit, labelText, short } from '../lib/format';
import { bucketExpr, heatmap } from '../lib/heatmap';
import { rateWindow, stepFor, type Range } from '../lib/time';
import { Empty, firstData, Go, PageHead, Panel } from '../parts/basics';
import { conditions } from '../parts/ExprPlot';
import { HeatmapPlot } from '../parts/HeatmapPlot';
import { Plot } from '../parts/Plot';
import { PromEditor } from '../parts/PromEditor';
import { toast } from '../parts/Toasts';

const NAMES = ['q', 'q2', 'q3', 'q4', 'q5'] as const;

export function Metrics() {
  const address = useAddress();
  const set = useSetAddress();
  const used = NAMES.filter((name) => address[name] !== undefined);
  const exprs = used.length === 0 ? (['q'] as const) : used;
  const view = address.view ?? 'lines';
  const free = NAMES.find((name) => address[name] === undefined && name !== exprs[0]);
  const names = useAsk(['metrics', 'names'], (signal) => prom<string[]>('/api/v1/label/__name__/values', signal), { live: 12 });
  const share = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(window.location.href);
      toast('The link to this view is copied');
    } catch {
      toast('The link could not be copied: take it from the address line', true);
    }
  };
  return (
    <>
      <PageHead title="Metrics">
        <SegmentedControl size="xs" aria-label="View" value={view} onChange={(value) => set({ view: value === 'lines' ? undefined : value }, true)} data={[{ value: 'lines', label: 'Lines' }, { value: 'bars', label: 'Bars' }, { value: 'heatmap', label: 'Heatmap' }, { value: 'table', label: 'Table' }]} />
        <Button size="xs" variant="default" leftSection={<IconLink size={14} />} onClick={() => void share()}>Copy link</Button>
      </PageHead>
      <div className="stack">
        {exprs.map((name) => (
          <QueryPanel key={name} name={name} expr={address[name] ?? ''} view={view} {...(exprs.length > 1 ? { remove: () => set({ [name]: undefined } as Search) } : {})} />
        ))}
        {free && exprs.some((name) => (address[name] ?? '') !== '') && <div><Button size="xs" variant="default" leftSection={<IconPlus size={14} />} onClick={() => set({ [free]: ' ' } as Search)}>Another expression</Button></div>}
        {(address.q ?? '').trim() === '' && exprs.length === 1 && <Start names={names.data ?? []} known={names.data !== undefined} />}
      </div>
    </>
  );
}

function Start({ names, known }: { names: string[]; known: boolean }) {
  const set = useSetAddress();
  if (known && names.length === 0) return <Panel><Empty title="No metrics have arrived yet" snippet={firstData.metrics}>Every OpenTelemetry SDK, Prometheus&apos;s remote write and scraping fill this. Spans alone give request rate, errors and duration.</Empty></Panel>;
  const examples: [string, string][] = [
    ['Requests a second by service', 'sum by (service_name) (rate(traces_span_metrics_calls_total{span_kind="SPAN_KIND_SERVER"}[1m]))'],
    ['Share of failed requests', 'sum by (service_name) (rate(traces_span_metrics_calls_total{span_kind="SPAN_KIND_SERVER",status_code="STATUS_CODE_ERROR"}[5m])) / sum by (service_name) (rate(traces_span_metrics_calls_total{span_kind="SPAN_KIND_SERVER"}[5m]))'],
    ['95th percentile of the duration', 'histogram_quantile(0.95, sum by (service_name, le) (rate(traces_span_metrics_duration_seconds_bucket{span_kind="SPAN_KIND_SERVER"}[5m])))'],
  ];
  return (
    <Panel title="To begin with">
      <div className="row" style={{ marginBottom: 12 }}>{examples.map(([title, expr]) => <Button key={title} size="xs" variant="default" onClick={() => set({ q: expr })}>{title}</Button>)}</div>
      <div className="small muted" style={{ marginBottom: 6 }}>{names.length} metrics of the last six hours</div>
      <div className="row" style={{ gap: 6, maxHeight: 260, overflow: 'auto' }} tabIndex={0} role="region" aria-label="Metrics">{names.slice(0, 400).map((name) => <button key={name} type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => set({ q: /_(total|count|sum|bucket)$/.test(name) ? `rate(${name}[${rateWindow(15)}])` : name })}>{name}</button>)}</div>
    </Panel>
  );
}

function QueryPanel({ name, expr: raw, view, remove }: { name: string; expr: string; view: string; remove?: () => void }) {
  const expr = raw.trim();
  const set = useSetAddress();
  const found = useAskSpan(['explore', expr, view === 'table'], async (range, signal) => {
    const step = stepFor(range, 300);
    const started = performance.now();
    const answer = view === 'table' ? await instant(expr, range.to / 1_000, signal) : await askRange(expr, range.from / 1_000, range.to / 1_000, step, signal);
    return { answer, step, took: performance.now() - started };
  }, { enabled: expr !== '' });
  useEffect(() => {
    if (raw !== raw.trim() && raw.trim() !== '') set({ [name]: raw.trim() } as Search, true);
  }, [raw, name, set]);
  const wrong = found.error instanceof ApiError && (found.error.status === 400 || found.error.status === 422);
  const data = found.data?.answer.data;
  return (
    <Panel>
      <div className="row" style={{ flexWrap: 'nowrap', alignItems: 'flex-start' }}>
        <div className="grow"><PromEditor value={expr} run={(next) => set({ [name]: next === '' ? (remove ? ' ' : undefined) : next } as Search)} label={`PromQL expression ${name}`} invalid={wrong} describedBy={`error-${name}`} /></div>
        {expr !== '' && <Tooltip label="Make it an alerting rule"><Go to="/rules/edit" search={{ expr }} aria-label="Make it an alerting rule" className="icon-link"><IconBellPlus size={18} /></Go></Tooltip>}
        {remove && <Tooltip label="Remove"><ActionIcon variant="subtle" color="gray" size="lg" onClick={remove} aria-label="Remove this expression"><IconTrash size={16} /></ActionIcon></Tooltip>}
      </div>
      <div id={`error-${name}`} aria-live="polite">{found.error && <div className="trouble" style={{ marginTop: 8 }}>{found.error.message}</div>}</div>
      {expr !== '' && (
        <div style={{ marginTop: 12, minHeight: view === 'table' ? 80 : 330 }}>
          {data && found.data && !wrong && (
            <>
              {[...found.data.answer.warnings, ...found.data.answer.infos].map((text) => <div key={text} className="note" style={{ marginBottom: 8 }}>{text}</div>)}
              {data.resultType === 'matrix' && (data.result.length === 0
                ? <Empty title="Nothing in this time">The expression is right, and no series answers it in the chosen time span.</Empty>
                : view === 'heatmap' ? <Heat data={data.result} range={found.data.range} step={found.data.step} expr={expr} change={(next) => set({ [name]: next } as Search)} />
                : <Plot
                    lines={data.result.slice(0, 200).map((one) => ({ name: labelText(one.metric), points: one.values.map(([at, value]) => [at, Number(value)] as const) }))}
                    range={found.data.range} unit={guessUnit(expr)} height={300} bars={view === 'bars'} thresholds={conditions(expr, undefined).lines} label={expr} />)}
              {data.resultType === 'vector' && (data.result.length === 0 ? <Empty title="Nothing at this moment" /> : <ValueTable rows={data.result.map((one) => ({ labels: one.metric, value: Number(one.value[1]) }))} />)}
              {(data.resultType === 'scalar' || data.resultType === 'string') && <div className="big">{data.result[1]}</div>}
              <div className="small muted nums" style={{ marginTop: 6 }}>
                {Array.isArray(data.result) && (data.resultType === 'matrix' || data.resultType === 'vector') && `${data.result.length} series${data.result.length > 200 && data.resultType === 'matrix' ? ', 200 shown' : ''} · `}
                {view !== 'table' && `a point each ${found.data.step} s · `}{Math.round(found.data.took)} ms
              </div>
            </>
          )}
        </div>
      )}
    </Panel>
  );
}

/** How the values of a histogram are spread over time. An expression that is none about buckets is offered as one that is. */
function Heat({ data, range, step, expr, change }: { data: { metric: Record<string, string>; values: (readonly [number, string])[] }[]; range: Range; step: number; expr: string; change: (expr: string) => void }) {
  const map = useMemo(() => heatmap(data), [data]);
  if (map) return <HeatmapPlot map={map} range={range} step={step} unit={/_seconds_bucket\b/.test(expr) ? 'seconds' : /_bytes_bucket\b/.test(expr) ? 'bytes' : 'none'} label={expr} />;
  const better = bucketExpr(expr, `${Math.max(step, 60)}s`);
  return (
    <Empty title="A heatmap needs the buckets of a histogram">
      The answer must have the label <code>le</code>, as <code>sum by (le) (increase(a_histogram_bucket[1m]))</code> has.
      {better && better !== expr && <><br /><Button mt={8} size="xs" variant="default" onClick={() => change(better)}>Show its buckets</Button></>}
    </Empty>
  );
}

function ValueTable({ rows }: { rows: { labels: Record<string, string>; value: number }[] }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))].sort((a, b) => (a === '__name__' ? -1 : b === '__name__' ? 1 : a < b ? -1 : 1));
  rows.sort((a, b) => b.value - a.value);
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Values" style={{ maxHeight: 480, overflow: 'auto' }}>
      <table className="data">
        <thead><tr>{names.map((name) => <th key={name}>{name}</th>)}<th className="num">Value</th></tr></thead>
        <tbody>{rows.slice(0, 1_000).map((row, at) => <tr key={at}>{names.map((name) => <td key={name} className="mono">{row.labels[name] ?? ''}</td>)}<td className="num" title={String(row.value)}>{short(row.value)}</td></tr>)}</tbody>
      </table>
    </div>
  );
}
