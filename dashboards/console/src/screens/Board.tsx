/* One board: variables, panels; the address holds what was chosen. A panel asks when it comes into view. `kiosk=1` shows nothing else. */
import { Button, Select, Tooltip } from '@mantine/core';
import { useIntersection } from '@mantine/hooks';
import { useParams } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useMemo, useState } from 'react';
import { get, instant, prom, range as askRange, withQuery } from '../api/client';
import type { Board, BoardPanel, BoardVariable, QueryAnswer } from '../api/types';
import { useAddress, useAsk, useAskSpan, useSetAddress } from '../hooks';
import { ALL, fill, fromGrafana, labelValues, legendOf, opening, toYaml } from '../lib/boards';
import { labelText, parseThreshold, short, withUnit, type Unit } from '../lib/format';
import { stepFor } from '../lib/time';
import { Answer, Copy, Empty, Go, PageHead, Panel, Trouble } from '../parts/basics';
import { conditions } from '../parts/ExprPlot';
import { Plot } from '../parts/Plot';
import { paceOf } from '../prefs';

const Markdown = lazy(() => import('../parts/Markdown'));

let held: Board | null = null;
/** Keeps an imported board for a look at it. */
export function hold(board: Board): void {
  held = board;
}

const secondsOf = (text: string): number => [...text.matchAll(/(\d+)(ms|[smhdwy])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * ({ ms: 0.001, s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800, y: 31_536_000 }[unit ?? 's'] ?? 1), 0);
const UNITS: Record<BoardPanel['unit'], Unit> = { none: 'none', ratio: 'ratio', bytes: 'bytes', seconds: 'seconds', per_second: 'per-second' };

export function BoardPage() {
  const { board: name } = useParams({ strict: false }) as { board: string };
  const imported = name === 'imported' && held !== null;
  const found = useAsk(['board', name], async (signal): Promise<{ board: Board; left: string[] }> => {
    if (imported && held) return { board: held, left: [] };
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
  const [values, setValues] = useState<Record<string, readonly string[]>>({});
  const chosen = useMemo(() => Object.fromEntries(board.variables.map((one) => [one.name, address[`var-${one.name}`] ?? opening(one, values[one.name] ?? one.options)])), [board.variables, address, values]);
  // A first value that is not known yet would make every panel ask twice.
  const ready = board.variables.every((one) => one.query === null || one.query === undefined || one.all || one.default || address[`var-${one.name}`] !== undefined || values[one.name] !== undefined);
  return (
    <>
      <PageHead title={board.title}>
        {board.variables.map((one) => <Choice key={one.name} variable={one} value={chosen[one.name] ?? ''} known={(all) => setValues((before) => ({ ...before, [one.name]: all }))} />)}
        <Tooltip label="Only the board; Escape leaves"><Button size="xs" variant="default" onClick={() => set({ kiosk: kiosk === '1' ? undefined : '1' })}>{kiosk === '1' ? 'Leave kiosk' : 'Kiosk'}</Button></Tooltip>
        {kiosk !== '1' && <Copy text={toYaml(board)} label="Copy the board as YAML" />}
      </PageHead>
      {board.description && <p className="muted" style={{ margin: '-6px 0 12px' }}>{board.description}</p>}
      {left.length > 0 && <div className="note" style={{ marginBottom: 12 }}>Not taken over from Grafana: {left.join('; ')}</div>}
      <div className="board">
        {from !== undefined && ready && board.panels.map((panel, at) => <PanelView key={at} panel={panel} chosen={chosen} refresh={board.refresh ?? null} />)}
        {board.panels.length === 0 && <Panel><Empty title="This board has no panels" /></Panel>}
      </div>
    </>
  );
}

function Choice({ variable, value, known }: { variable: BoardVariable; value: string; known: (values: readonly string[]) => void }) {
  const set = useSetAddress();
  const query = variable.query ? labelValues(variable.query) : undefined;
  const found = useAsk(['values', 'board', variable.query ?? variable.options.join()], async (signal) => (query ? prom<string[]>(withQuery(`/api/v1/label/${encodeURIComponent(query.label)}/values`, { 'match[]': query.selector }), signal) : variable.options), { live: 12 });
  useEffect(() => {
    if (found.data) known(found.data);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- told once for each answer
  }, [found.data]);
  const label = variable.label || variable.name;
  const all = variable.all ? [{ value: ALL, label: `Every ${label.toLowerCase()}` }] : [];
  const options = [...new Set([...(found.data ?? []), ...(value !== ALL && value !== '' ? [value] : [])])];
  return <Select size="xs" aria-label={label} searchable={options.length > 8} allowDeselect={false} value={value} data={[...all, ...options.map((one) => ({ value: one, label: one === '' ? '(none)' : one }))]} onChange={(next) => set({ [`var-${variable.name}`]: next ?? undefined })} w={190} />;
}

function PanelView({ panel, chosen, refresh }: { panel: BoardPanel; chosen: Record<string, string>; refresh: string | null }) {
  const { ref, entry } = useIntersection<HTMLDivElement>({ rootMargin: '200px' });
  const [seen, setSeen] = useState(false);
  useEffect(() => { if (entry?.isIntersecting) setSeen(true); }, [entry?.isIntersecting]);
  return (
    <div ref={ref} className="board-panel" style={{ gridColumn: `span ${panel.width}` }}>
      <Panel {...(panel.title ? { title: panel.title } : {})} {...(panel.queries.length > 0 ? { extra: <Go to="/metrics-explorer" search={{ q: fill(panel.queries[0]?.expr ?? '', chosen, 60, 3_600) }}><span className="small">explore</span></Go> } : {})}>
        <div style={{ minHeight: panel.kind === 'text' ? undefined : panel.height - 60 }}>
          {panel.kind === 'text' ? <Suspense fallback={null}><Markdown text={panel.text} /></Suspense> : seen && <Numbers panel={panel} chosen={chosen} refresh={refresh} active={entry?.isIntersecting ?? false} />}
        </div>
      </Panel>
    </div>
  );
}

function Numbers({ panel, chosen, refresh, active }: { panel: BoardPanel; chosen: Record<string, string>; refresh: string | null; active: boolean }) {
  const now = panel.kind === 'stat' || panel.kind === 'table';
  const pace = paceOf();
  const live = !active || pace === 0 ? false : refresh ? Math.max(1, (secondsOf(refresh) * 1_000) / pace) : 3;
  const found = useAskSpan(['board', 'panel', panel.kind, panel.queries, chosen], async (range, signal) => {
    const step = stepFor(range, Math.max(60, panel.width * 24));
    const answers: QueryAnswer[] = await Promise.all(panel.queries.map(({ expr }) => {
      const filled = fill(expr, chosen, step, (range.to - range.from) / 1_000);
      return now ? instant(filled, range.to / 1_000, signal) : askRange(filled, range.from / 1_000, range.to / 1_000, step, signal);
    }));
    return { answers };
  }, { live });
  const height = panel.height - 60;
  const unit = UNITS[panel.unit];
  const lines = conditions('', panel.thresholds).lines.map((one) => ({ ...one, name: one.name.replace(/-?\d[\d.e+-]*$/, (bound) => withUnit(Number(bound), unit)) }));
  return (
    <Answer of={found} height={Math.max(height, 40)}>
      {({ answers, range }) => {
        const named = (labels: Record<string, string>, at: number): string => (panel.queries[at]?.legend ? legendOf(panel.queries[at].legend, labels) : labelText(labels));
        if (now) {
          const rows = answers.flatMap((answer, at) => (answer.data.resultType === 'vector' ? answer.data.result.map((one) => ({ labels: one.metric, name: named(one.metric, at), value: Number(one.value[1]) })) : answer.data.resultType === 'scalar' ? [{ labels: {}, name: '', value: Number(answer.data.result[1]) }] : []));
          if (rows.length === 0) return <span className="muted">no value</span>;
          return panel.kind === 'stat' ? <Stats rows={rows} panel={panel} unit={unit} /> : <Rows rows={rows} unit={unit} height={height} />;
        }
        const series = answers.flatMap((answer, at) => (answer.data.resultType === 'matrix' ? answer.data.result.map((one) => ({ name: named(one.metric, at), points: one.values.map(([moment, value]) => [moment, Number(value)] as const) })) : [])).slice(0, 60);
        return series.length === 0 ? <div style={{ height }}><Empty title="No values in this time" /></div> : <Plot lines={series} range={range} unit={unit} height={height} bars={panel.kind === 'bars'} thresholds={lines} legend={series.length > 1} label={panel.title} />;
      }}
    </Answer>
  );
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
