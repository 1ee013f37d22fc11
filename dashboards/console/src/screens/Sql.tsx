/* SQL over the telemetry, read-only: one SELECT, its rows as a table or a plot, CSV to take along. */
import { Button, SegmentedControl } from '@mantine/core';
import { useMemo, useState } from 'react';
import { sql } from '../api/client';
import type { SqlAnswer } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { bytes, count, csv } from '../lib/format';
import { Answer, Empty, PageHead, Panel } from '../parts/basics';
import { Plot, type Line } from '../parts/Plot';

/** What sampling stored has a weight in `sample_rate`: sums of it are how many there were. */
const EXAMPLES: [string, string][] = [
  ['Spans by service', "WITH greatest(sample_rate, 1) AS weight\nSELECT service, sum(weight) AS spans, sumIf(weight, status = 'ERROR') AS failed, round(quantileTDigestWeighted(0.95)(duration, weight) / 1e6, 1) AS p95_ms\nFROM spans WHERE ts > now() - INTERVAL 1 HOUR\nGROUP BY service ORDER BY spans DESC"],
  ['Logs a minute by level', 'SELECT toStartOfMinute(ts) AS minute, severity_text, sum(greatest(sample_rate, 1)) AS lines\nFROM logs WHERE ts > now() - INTERVAL 1 HOUR\nGROUP BY minute, severity_text ORDER BY minute'],
  ['Slowest operations', 'SELECT service, name, sum(greatest(sample_rate, 1)) AS calls, round(max(duration) / 1e6, 1) AS max_ms\nFROM spans WHERE ts > now() - INTERVAL 1 HOUR AND kind = \'SERVER\'\nGROUP BY service, name ORDER BY max_ms DESC LIMIT 20'],
  ['Biggest series', 'SELECT metric, uniqExact(fingerprint) AS series\nFROM series GROUP BY metric ORDER BY series DESC LIMIT 20'],
];
const TABLES = ['spans', 'logs', 'series', 'points', 'histograms', 'exp_histograms', 'summaries', 'exemplars', 'error_events', 'trace_index', 'otel_traces', 'otel_logs'];
const SHOWN = 1_000;

export function Sql() {
  const { q = '', view = 'table', run = '' } = useAddress();
  const set = useSetAddress();
  const [text, setText] = useState(q || (EXAMPLES[0]?.[1] ?? ''));
  const found = useAsk(['sql', q, run], (signal) => sql(q, signal), { live: false, enabled: q !== '', keep: false });
  const go = (statement: string): void => {
    setText(statement);
    // `run` changes, so that the same statement is asked again.
    set({ q: statement.trim(), run: String((Number(run) || 0) + 1) }, true);
  };
  const save = (answer: SqlAnswer): void => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([csv([answer.meta.map((one) => one.name), ...answer.data])], { type: 'text/csv' }));
    link.download = 'watchfire.csv';
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <>
      <PageHead title="SQL">
        <SegmentedControl size="xs" aria-label="View" value={view} onChange={(value) => set({ view: value === 'table' ? undefined : value }, true)} data={[{ value: 'table', label: 'Table' }, { value: 'plot', label: 'Plot' }]} />
      </PageHead>
      <div className="stack">
        <Panel>
          <div className="editor">
            <textarea rows={5} spellCheck={false} aria-label="SELECT statement" value={text} onChange={(event) => setText(event.currentTarget.value)} onKeyDown={(event) => { if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) { event.preventDefault(); go(text); } }} />
          </div>
          <div className="row" style={{ marginTop: 8 }}>
            <Button size="xs" loading={found.isFetching} onClick={() => go(text)} disabled={text.trim() === ''}>Run</Button><span className="kbd hide-small">Ctrl Enter</span>
            <span className="grow" />
            {EXAMPLES.map(([name, statement]) => <Button key={name} size="compact-xs" variant="default" onClick={() => go(statement)}>{name}</Button>)}
          </div>
          <div className="small muted" style={{ marginTop: 8 }}>One SELECT over {TABLES.map((name, at) => <span key={name}>{at > 0 && ', '}<button type="button" className="label" style={{ border: 0, cursor: 'pointer' }} onClick={() => go(`SELECT * FROM ${name} LIMIT 20`)}>{name}</button></span>)}; read-only, at most a minute.</div>
        </Panel>
        {q !== '' && (
          <Panel flush={view === 'table'}>
            <Answer of={found} height={260}>
              {(answer) => (
                <>
                  <div className="row small muted nums" style={{ padding: view === 'table' ? '10px 12px' : '0 0 8px' }}>
                    {count(answer.rows)} rows{answer.data.length > SHOWN && view === 'table' && `, the first ${count(SHOWN)} shown`}
                    {answer.statistics && <> · read {count(answer.statistics.rows_read)} rows, {bytes(answer.statistics.bytes_read)} · {Math.round(answer.statistics.elapsed * 1_000)} ms</>}
                    <span className="grow" /><Button size="compact-xs" variant="default" onClick={() => save(answer)}>CSV</Button>
                  </div>
                  {answer.data.length === 0 ? <Empty title="No rows" /> : view === 'plot' ? <SqlPlot answer={answer} /> : <Rows answer={answer} />}
                </>
              )}
            </Answer>
          </Panel>
        )}
      </div>
    </>
  );
}

const cell = (value: unknown): string => (value === null ? 'NULL' : typeof value === 'object' ? JSON.stringify(value) : String(value));

function Rows({ answer }: { answer: SqlAnswer }) {
  const numeric = answer.meta.map((one) => /^(Nullable\()?(U?Int|Float|Decimal)/.test(one.type));
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Rows" style={{ maxHeight: 620, overflow: 'auto' }}>
      <table className="data">
        <thead><tr>{answer.meta.map((one, at) => <th key={at} className={numeric[at] ? 'num' : ''} title={one.type}>{one.name}</th>)}</tr></thead>
        <tbody>{answer.data.slice(0, SHOWN).map((row, at) => <tr key={at}>{row.map((value, column) => <td key={column} className={numeric[column] ? 'num' : 'mono'}><span className="cut" style={{ display: 'inline-block', maxWidth: 520 }} title={cell(value).slice(0, 2_000)}>{cell(value).slice(0, 2_000)}</span></td>)}</tr>)}</tbody>
      </table>
    </div>
  );
}

/** The first column of times against every column of numbers; columns of texts make series. */
export function linesOf(answer: SqlAnswer): Line[] {
  const time = answer.meta.findIndex((one) => /^(Nullable\()?Date/.test(one.type));
  if (time < 0) return [];
  const numbers = answer.meta.map((one, at) => ({ one, at })).filter(({ one }) => /^(Nullable\()?(U?Int|Float|Decimal)/.test(one.type));
  const names = answer.meta.map((one, at) => ({ one, at })).filter(({ one, at }) => at !== time && /String|Enum/.test(one.type) && !/Map|Array/.test(one.type));
  const lines = new Map<string, [number, number][]>();
  for (const row of answer.data) {
    const at = Date.parse(`${String(row[time]).replace(' ', 'T').slice(0, 23)}${String(row[time]).length > 10 ? 'Z' : ''}`) / 1_000;
    if (Number.isNaN(at)) continue;
    for (const { one, at: column } of numbers) {
      const name = [...names.map((named) => String(row[named.at])), ...(numbers.length > 1 || names.length === 0 ? [one.name] : [])].join(' ');
      const line = lines.get(name);
      if (line) line.push([at, Number(row[column])]);
      else lines.set(name, [[at, Number(row[column])]]);
    }
  }
  return [...lines].slice(0, 50).map(([name, points]) => ({ name, points: points.sort((a, b) => a[0] - b[0]) }));
}

function SqlPlot({ answer }: { answer: SqlAnswer }) {
  const lines = useMemo(() => linesOf(answer), [answer]);
  const times = lines.flatMap((line) => line.points.map(([at]) => at * 1_000));
  if (lines.length === 0) return <Empty title="Nothing to plot">A plot needs a column of times (toStartOfMinute(ts) AS minute) and one of numbers.</Empty>;
  const [from, to] = [times.reduce((a, b) => Math.min(a, b)), times.reduce((a, b) => Math.max(a, b))];
  return <Plot lines={lines} range={{ from, to: Math.max(to, from + 1_000) }} height={320} zoom={false} label="Rows over time" />;
}
