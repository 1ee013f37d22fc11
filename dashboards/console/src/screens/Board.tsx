/* One board: variables, panels; the address holds what was chosen, and how often it is asked again. A panel asks when it comes into view. `kiosk=1` shows nothing else. */
import { Button, MultiSelect, Select, Tooltip } from '@mantine/core';
import { useIntersection } from '@mantine/hooks';
import { useParams } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useMemo, useState } from 'react';
import { get, instant, prom, range as askRange, withQuery } from '../api/client';
import type { Board, BoardPanel, BoardVariable, QueryAnswer } from '../api/types';
import { useAddress, useAsk, useAskSpan, useSetAddress, type Search } from '../hooks';
import { ALL, chosenOf, dependents, fill, fromGrafana, joinValues, labelValues, legendOf, toYaml, variablesIn, type PanelKind } from '../lib/boards';
import { labelText, parseThreshold, short, withUnit, type Unit } from '../lib/format';
import { heatmap } from '../lib/heatmap';
import { stepFor, type Range } from '../lib/time';
import { Answer, Copy, Empty, Go, PageHead, Panel, Trouble } from '../parts/basics';
import { conditions } from '../parts/ExprPlot';
import { HeatmapPlot } from '../parts/HeatmapPlot';
import { Plot } from '../parts/Plot';
import { paceOf } from '../prefs';

const Markdown = lazy(() => import('../parts/Markdown'));

interface Held {
  board: Board;
  /** What could not be taken over. */
  left: string[];
}

const HELD = 'watchfire-imported-board';
let held: Held | null = null;
/** Keeps an imported board for a look at it, in this tab. */
export function hold(board: Board, left: string[]): void {
  held = { board, left };
  try {
    sessionStorage.setItem(HELD, JSON.stringify(held));
  } catch {
    // Storage is full or off: it holds until the next reload.
  }
}

function heldBoard(): Held | null {
  if (held) return held;
  try {
    const stored = JSON.parse(sessionStorage.getItem(HELD) ?? 'null') as Held | null;
    if (stored && Array.isArray(stored.board.panels) && Array.isArray(stored.board.variables)) held = stored;
  } catch {
    // What cannot be read is none.
  }
  return held;
}

const secondsOf = (text: string): number => [...text.matchAll(/(\d+)(ms|[smhdwy])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * ({ ms: 0.001, s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800, y: 31_536_000 }[unit ?? 's'] ?? 1), 0);
const UNITS: Record<BoardPanel['unit'], Unit> = { none: 'none', ratio: 'ratio', bytes: 'bytes', seconds: 'seconds', per_second: 'per-second' };

export function BoardPage() {
  const { board: name } = useParams({ strict: false }) as { board: string };
  const found = useAsk(['board', name], async (signal): Promise<Held> => {
    const own = name === 'imported' ? heldBoard() : null;
    if (own) return own;
    const answer = await get<{ dashboard?: Board; grafana?: unknown }>(`/api/watchfire/v1/dashboards/${encodeURIComponent(name)}`, signal);
    return answer.dashboard ? { board: answer.dashboard, left: [] } : fromGrafana(answer.grafana);
  }, { live: 6, keep: false });
  if (found.data === undefined) return found.error ? <><Trouble error={found.error} /><p><Go to="/dashboards">All dashboards</Go></p></> : <Answer of={found} height={500}>{() => null}</Answer>;
  return <View key={name} board={found.data.board} left={found.data.left} />;
}

function View({ board, left }: { board: Board; left: string[] }) {
  const address = useAddress();
  const set = useSetAddress();
  const { from, kiosk } = address;
  useEffect(() => {
    if (from === undefined) set({ from: `now-${board.time}` }, true);
  }, [from, board.time, set]);
  useEffect(() => {
    if (kiosk !== '1') return undefined;
    const leave = (event: KeyboardEvent): void => { if (event.key === 'Escape') set({ kiosk: undefined }); };
    addEventListener('keydown', leave);
    return () => removeEventListener('keydown', leave);
  }, [kiosk, set]);
  const [known, setKnown] = useState<Record<string, Known>>({});
  const chosen = useMemo(() => Object.fromEntries(board.variables.map((one) => [one.name, chosenOf(one, address[`var-${one.name}`], known[one.name]?.values ?? one.options)])), [board.variables, address, known]);
  // A first value that is not known yet would make every panel ask twice; so would one of a question that has changed since.
  const isKnown = (one: BoardVariable): boolean => !one.query || one.all || Boolean(one.default) || address[`var-${one.name}`] !== undefined || known[one.name]?.query === fill(one.query, chosen, 60, 3_600);
  const open = board.variables.filter((one) => !isKnown(one)).map((one) => one.name);
  const waits = (one: BoardVariable): boolean => Boolean(one.query) && variablesIn(one.query ?? '').some((name) => name !== one.name && open.includes(name));
  // Variables that wait for each other would wait for ever.
  const stuck = open.length > 0 && board.variables.every((one) => !open.includes(one.name) || waits(one));
  const ready = open.length === 0;
  const { pace, choose } = useRefresh(board);
  return (
    <>
      <PageHead title={board.title}>
        {board.variables.map((one) => <Choice key={one.name} variable={one} chosen={chosen} enabled={stuck || !waits(one)} clears={dependents(one.name, board.variables)} known={(now) => setKnown((before) => ({ ...before, [one.name]: now }))} />)}
        {choose}
        <Tooltip label="Only the board; Escape leaves"><Button size="xs" variant="default" onClick={() => set({ kiosk: kiosk === '1' ? undefined : '1' })}>{kiosk === '1' ? 'Leave kiosk' : 'Kiosk'}</Button></Tooltip>
        {kiosk !== '1' && <Copy text={toYaml(board)} label="Copy the board as YAML" />}
      </PageHead>
      {board.description && <p className="muted" style={{ margin: '-6px 0 12px' }}>{board.description}</p>}
      {left.length > 0 && <div className="note" style={{ marginBottom: 12 }}>Not taken over from Grafana: {left.join('; ')}</div>}
      <div className="board">
        {from !== undefined && ready && board.panels.map((panel, at) => <PanelView key={at} panel={panel} chosen={chosen} pace={pace} />)}
        {board.panels.length === 0 && <Panel><Empty title="This board has no panels" /></Panel>}
      </div>
    </>
  );
}

/** What a variable's question found: the question as it was asked, and the values. */
interface Known {
  query: string;
  values: readonly string[];
}

type Chosen = Record<string, string[]>;

/** How often the panels ask again: the address's word, then the board's, then the person's usual pace. Milliseconds; 0: not at all. */
type Pace = { millis: number; own: boolean } | null;

const PACES: readonly (readonly [string, string])[] = [['off', 'not refreshed'], ['5s', 'every 5 s'], ['15s', 'every 15 s'], ['1m', 'every minute'], ['5m', 'every 5 minutes']];

function useRefresh(board: Board): { pace: Pace; choose: React.ReactNode } {
  const { refresh } = useAddress();
  const set = useSetAddress();
  const own = refresh === 'off' || /^\d{1,4}[smh]$/.test(refresh ?? '') ? refresh : undefined;
  const word = own ?? board.refresh ?? undefined;
  const millis = word === undefined ? null : word === 'off' ? 0 : Math.max(secondsOf(word), 1) * 1_000;
  const pace = useMemo(() => (millis === null ? null : { millis, own: own !== undefined }), [millis, own]);
  const others = own !== undefined && !PACES.some(([value]) => value === own) ? [{ value: own, label: `every ${own}` }] : [];
  const data = [{ value: '', label: board.refresh ? `as the board: ${board.refresh}` : 'usual pace' }, ...others, ...PACES.map(([value, label]) => ({ value, label }))];
  return { pace, choose: <Select size="xs" aria-label="Refresh" w={150} allowDeselect={false} value={own ?? ''} data={data} onChange={(next) => set({ refresh: next ?? undefined }, true)} /> };
}

function Choice({ variable, chosen, enabled, clears, known }: { variable: BoardVariable; chosen: Chosen; enabled: boolean; clears: readonly string[]; known: (now: Known) => void }) {
  const set = useSetAddress();
  const filled = variable.query ? fill(variable.query, chosen, 60, 3_600) : '';
  const found = useAsk(['values', 'board', variable.name, filled, variable.options], async (signal): Promise<Known> => {
    if (!variable.query) return { query: '', values: variable.options };
    const query = labelValues(variable.query);
    if (!query) throw new Error('only label_values(metric, label) and label_values(label) are read here');
    const selector = query.selector === undefined ? undefined : fill(query.selector, chosen, 60, 3_600);
    return { query: filled, values: await prom<string[]>(withQuery(`/api/v1/label/${encodeURIComponent(query.label)}/values`, { 'match[]': selector }), signal) };
  }, { live: 12, enabled });
  useEffect(() => {
    // A failed question leaves nothing to choose from; its words stand below the choice.
    if (found.error && found.data?.query !== filled) known({ query: filled, values: [] });
    else if (found.data && !found.isPlaceholderData) known(found.data);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- told once for each answer
  }, [found.data, found.isPlaceholderData, found.error, filled]);
  const label = variable.label || variable.name;
  const values = chosen[variable.name] ?? [];
  const options = [...new Set([...(found.data?.values ?? []), ...values.filter((value) => value !== ALL && value !== '')])];
  // What is chosen by this one's value is chosen anew.
  const write = (next: string | undefined): void => set({ [`var-${variable.name}`]: next, ...Object.fromEntries(clears.map((name) => [`var-${name}`, undefined])) } as Search);
  const shared = { size: 'xs', 'aria-label': label, error: found.error?.message, styles: { error: { color: 'var(--wf-critical)' } }, searchable: options.length > 8 } as const;
  const data = [...(variable.all ? [{ value: ALL, label: `Every ${label.toLowerCase()}` }] : []), ...options.map((one) => ({ value: one, label: one === '' ? '(none)' : one }))];
  if (!variable.all) return <Select {...shared} placeholder={found.data ? 'nothing found' : ''} allowDeselect={false} value={values[0] ?? ''} data={data} onChange={(next) => write(next ?? undefined)} w={190} />;
  return (
    <MultiSelect
      {...shared} value={values} data={data} miw={190} maw="min(420px, 100%)"
      onChange={(next) => {
        // All together and some of them exclude each other; none is all.
        const picked = next.filter((one) => one !== ALL);
        write(picked.length === 0 || (next.includes(ALL) && !values.includes(ALL)) ? (variable.default ? ALL : undefined) : joinValues(picked));
      }}
    />
  );
}

function PanelView({ panel, chosen, pace }: { panel: BoardPanel; chosen: Chosen; pace: Pace }) {
  const { ref, entry } = useIntersection<HTMLDivElement>({ rootMargin: '200px' });
  const [seen, setSeen] = useState(false);
  useEffect(() => { if (entry?.isIntersecting) setSeen(true); }, [entry?.isIntersecting]);
  return (
    <div ref={ref} className="board-panel" style={{ gridColumn: `span ${panel.width}` }}>
      <Panel {...(panel.title ? { title: panel.title } : {})} {...(panel.queries.length > 0 ? { extra: <Go to="/metrics-explorer" search={{ q: fill(panel.queries[0]?.expr ?? '', chosen, 60, 3_600), view: isHeatmap(panel) ? 'heatmap' : undefined }}><span className="small">explore</span></Go> } : {})}>
        <div style={{ minHeight: panel.kind === 'text' ? undefined : panel.height - 60 }}>
          {panel.kind === 'text' ? <Suspense fallback={null}><Markdown text={panel.text} /></Suspense> : seen && <Numbers panel={panel} chosen={chosen} pace={pace} active={entry?.isIntersecting ?? false} />}
        </div>
      </Panel>
    </div>
  );
}

const isHeatmap = (panel: BoardPanel): boolean => (panel.kind as PanelKind) === 'heatmap';

function Numbers({ panel, chosen, pace: wanted, active }: { panel: BoardPanel; chosen: Chosen; pace: Pace; active: boolean }) {
  const now = panel.kind === 'stat' || panel.kind === 'table';
  const pace = paceOf();
  // A board's file does not ask more often than the person does; who chose a pace here gets it.
  const live = !active || pace === 0 || wanted?.millis === 0 ? false : wanted ? Math.max(wanted.own ? 0 : 1, wanted.millis / pace) : 3;
  const found = useAskSpan(['board', 'panel', panel.kind, panel.queries, chosen], async (range, signal) => {
    const step = stepFor(range, Math.max(60, panel.width * 24));
    const answers: QueryAnswer[] = await Promise.all(panel.queries.map(({ expr }) => {
      const filled = fill(expr, chosen, step, (range.to - range.from) / 1_000);
      return now ? instant(filled, range.to / 1_000, signal) : askRange(filled, range.from / 1_000, range.to / 1_000, step, signal);
    }));
    return { answers, step };
  }, { live });
  const height = panel.height - 60;
  const unit = UNITS[panel.unit];
  const lines = conditions('', panel.thresholds).lines.map((one) => ({ ...one, name: one.name.replace(/-?\d[\d.e+-]*$/, (bound) => withUnit(Number(bound), unit)) }));
  return (
    <Answer of={found} height={Math.max(height, 40)}>
      {({ answers, range, step }) => {
        const named = (labels: Record<string, string>, at: number): string => (panel.queries[at]?.legend ? legendOf(panel.queries[at].legend, labels) : labelText(labels));
        if (now) {
          const rows = answers.flatMap((answer, at) => (answer.data.resultType === 'vector' ? answer.data.result.map((one) => ({ labels: one.metric, name: named(one.metric, at), value: Number(one.value[1]) })) : answer.data.resultType === 'scalar' ? [{ labels: {}, name: '', value: Number(answer.data.result[1]) }] : []));
          if (rows.length === 0) return <span className="muted">no value</span>;
          return panel.kind === 'stat' ? <Stats rows={rows} panel={panel} unit={unit} /> : <Rows rows={rows} unit={unit} height={height} />;
        }
        if (isHeatmap(panel)) return <Heat series={answers.flatMap((answer) => (answer.data.resultType === 'matrix' ? answer.data.result : []))} range={range} step={step} unit={unit} height={height} label={panel.title} />;
        const series = answers.flatMap((answer, at) => (answer.data.resultType === 'matrix' ? answer.data.result.map((one) => ({ name: named(one.metric, at), points: one.values.map(([moment, value]) => [moment, Number(value)] as const) })) : [])).slice(0, 60);
        return series.length === 0 ? <div style={{ height }}><Empty title="No values in this time" /></div> : <Plot lines={series} range={range} unit={unit} height={height} bars={panel.kind === 'bars'} thresholds={lines} legend={series.length > 1} label={panel.title} />;
      }}
    </Answer>
  );
}

function Heat({ series, height, ...rest }: { series: { metric: Record<string, string>; values: (readonly [number, string])[] }[]; range: Range; step: number; unit: Unit; height: number; label: string }) {
  const map = useMemo(() => heatmap(series), [series]);
  if (map) return <HeatmapPlot map={map} height={height} {...rest} />;
  return <div style={{ height }}>{series.length === 0 ? <Empty title="No values in this time" /> : <Empty title="A heatmap needs the buckets of a histogram">The answer must have the label <code>le</code>, as <code>sum by (le) (increase(a_histogram_bucket[1m]))</code> has.</Empty>}</div>;
}

interface Value {
  labels: Record<string, string>;
  name: string;
  value: number;
}

/** Which severity a value has. */
function severityOf(value: number, thresholds: BoardPanel['thresholds']): string | undefined {
  return (['critical', 'high', 'warning', 'info'] as const).find((one) => {
    const found = thresholds[one] === undefined ? undefined : parseThreshold(thresholds[one]);
    if (!found) return false;
    return /</.test(thresholds[one] ?? '') ? value < found.bound : value > found.bound;
  });
}

function Stats({ rows, panel, unit }: { rows: Value[]; panel: BoardPanel; unit: Unit }) {
  return (
    <div className="row" style={{ gap: '8px 26px', height: '100%' }}>
      {rows.slice(0, 12).map((row, at) => {
        const severity = severityOf(row.value, panel.thresholds);
        return <span key={at}><span className="big nums" style={severity ? { color: `var(--wf-${severity})` } : undefined}>{withUnit(row.value, unit)}</span>{rows.length > 1 && <span className="small muted" style={{ display: 'block' }}>{row.name}</span>}</span>;
      })}
    </div>
  );
}

function Rows({ rows, unit, height }: { rows: Value[]; unit: Unit; height: number }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))].filter((name) => name !== '__name__').sort();
  return (
    <div tabIndex={0} role="region" aria-label="Values" style={{ maxHeight: height, overflow: 'auto' }}>
      <table className="data">
        <thead><tr>{names.map((name) => <th key={name}>{name}</th>)}<th className="num">Value</th></tr></thead>
        <tbody>{[...rows].sort((a, b) => b.value - a.value).slice(0, 500).map((row, at) => <tr key={at}>{names.map((name) => <td key={name} className="mono">{row.labels[name] ?? ''}</td>)}<td className="num" title={short(row.value)}>{withUnit(row.value, unit)}</td></tr>)}</tbody>
      </table>
    </div>
  );
}
