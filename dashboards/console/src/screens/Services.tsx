/* All services: a map of who calls whom, and rate, errors, duration of each. */
import { SegmentedControl, TextInput } from '@mantine/core';
import { useMemo } from 'react';
import { sql } from '../api/client';
import { callsSql, services, type ServiceHealth } from '../api/red';
import { useAddress, useAskSpan, useListKeys, useSetAddress } from '../hooks';
import { percent, short } from '../lib/format';
import { places } from '../lib/graph';
import { formatSeconds } from '../lib/time';
import { Answer, Empty, firstData, Go, PageHead, Panel } from '../parts/basics';
import { Slos } from '../parts/Slos';

interface Call {
  caller: string;
  callee: string;
  calls: number;
  errors: number;
  p95: number;
}

/** Calls between services are joined from spans, which is much to read: only the end of a longer time is. */
export const CALLS_OF = 3_600_000;
export const LAST_HOUR = 'the last hour of this time';

export const windowOf = (range: { from: number; to: number }): string => `${Math.max(60, Math.round((range.to - range.from) / 1_000))}s`;
const toneOf = (errors: number, rate: number): string => (errors > 0.05 ? 'bad' : errors > 0.01 ? 'warn' : rate === 0 ? 'idle' : '');

export function Services() {
  const { q = '', sort = 'errors' } = useAddress();
  const set = useSetAddress();
  const keys = useListKeys();
  const red = useAskSpan(['services', 'red'], async (range, signal) => ({ services: await services(range.to / 1_000, windowOf(range), signal) }), { live: 2 });
  const calls = useAskSpan(['services', 'calls'], async (range, signal) => ({ cut: range.to - range.from > CALLS_OF, calls: (await sql(callsSql(Math.max(range.from, range.to - CALLS_OF), range.to), signal)).data.map((row): Call => ({ caller: String(row[0]), callee: String(row[1]), calls: Number(row[2]), errors: Number(row[3]), p95: Number(row[4]) / 1e9 })) }), { live: 6 });
  const by: Record<string, (a: ServiceHealth, b: ServiceHealth) => number> = {
    errors: (a, b) => b.errors - a.errors || b.rate - a.rate, rate: (a, b) => b.rate - a.rate, p95: (a, b) => (b.p95 || 0) - (a.p95 || 0), name: (a, b) => a.service.localeCompare(b.service),
  };
  return (
    <>
      <PageHead title="Services">
        <TextInput size="xs" aria-label="Filter" placeholder="Filter by name" value={q} onChange={(event) => set({ q: event.currentTarget.value }, true)} />
        <SegmentedControl size="xs" aria-label="Order" value={sort} onChange={(value) => set({ sort: value === 'errors' ? undefined : value }, true)} data={[{ value: 'errors', label: 'Errors' }, { value: 'rate', label: 'Rate' }, { value: 'p95', label: 'Slow' }, { value: 'name', label: 'Name' }]} />
      </PageHead>
      <Answer of={red} height={400}>
        {(data) => data.services.length === 0 ? <Panel><Empty title="No service sent spans in this time" snippet={firstData.otlp}>Every span of a request counts: rate, errors and duration come from them by themselves.</Empty></Panel> : (
          <div className="stack">
            <Panel title="Who calls whom" extra={calls.data?.cut && <span className="small muted">{LAST_HOUR}</span>}><Answer of={calls} height={220}>{(found) => found.calls.length === 0 ? <span className="small muted">In the traces of this time no service called another: the parent of a span must be of the service that called it.</span> : <ServiceMap health={data.services} calls={found.calls} />}</Answer></Panel>
            <Panel flush>
              <div className="scroll-x" tabIndex={0} role="region" aria-label="Services" {...keys}>
                <table className="data">
                  <thead><tr><th>Service</th><th className="num">Requests</th><th className="num">Failed</th><th className="num">p95</th><th className="hide-small">Look at</th></tr></thead>
                  <tbody>
                    {data.services.filter((one) => one.service.toLowerCase().includes(q.toLowerCase())).sort(by[sort] ?? by.errors).map((one) => (
                      <tr key={one.service}>
                        <td className="wrap"><Go to={`/services/${encodeURIComponent(one.service)}`} plain data-item>{one.service}</Go></td>
                        <td className="num">{short(one.rate)}/s</td>
                        <td className="num" style={one.errors > 0.01 ? { color: 'var(--wf-critical)', fontWeight: 600 } : undefined}>{percent(one.errors)}</td>
                        <td className="num">{formatSeconds(one.p95)}</td>
                        <td className="hide-small"><span className="row"><Go to="/logs" search={{ q: `service="${one.service.replace(/["\\]/g, '\\$&')}"` }} plain>logs</Go><Go to="/traces" search={{ q: `service="${one.service.replace(/["\\]/g, '\\$&')}"` }} plain>traces</Go><Go to="/errors" search={{ service: one.service }} plain>errors</Go></span></td>
                      </tr>
                    ))}
                  </tbody>
                </table>
              </div>
            </Panel>
            <Slos />
          </div>
        )}
      </Answer>
    </>
  );
}

const WIDE = 176;
const HIGH = 46;

export function ServiceMap({ health, calls }: { health: ServiceHealth[]; calls: Call[] }) {
  const drawn = useMemo(() => {
    const names = [...new Set([...calls.flatMap((call) => [call.caller, call.callee]), ...health.map((one) => one.service)])].slice(0, 80);
    const all = places(names, calls.map((call) => ({ from: call.caller, to: call.callee })));
    const top = Math.min(...all.map((one) => one.row));
    return { all: all.map((one) => ({ ...one, x: 10 + one.column * (WIDE + 110), y: 10 + (one.row - top) * (HIGH + 22) })) };
  }, [health, calls]);
  const place = new Map(drawn.all.map((one) => [one.name, one]));
  const of = new Map(health.map((one) => [one.service, one]));
  const width = Math.max(...drawn.all.map((one) => one.x + WIDE)) + 10;
  const height = Math.max(...drawn.all.map((one) => one.y + HIGH)) + 10;
  const most = Math.max(...calls.map((call) => call.calls), 1);
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Map of services">
      <svg className="map" viewBox={`0 0 ${width} ${height}`} style={{ maxWidth: width, minWidth: Math.min(width, 560) }} aria-label={calls.map((call) => `${call.caller} calls ${call.callee}`).join(', ') || 'No calls between services'}>
        {calls.map((call) => {
          const [a, b] = [place.get(call.caller), place.get(call.callee)];
          if (!a || !b) return null;
          const [x1, y1, x2, y2] = [a.x + WIDE, a.y + HIGH / 2, b.x, b.y + HIGH / 2];
          const bend = Math.max(40, Math.abs(x2 - x1) / 2);
          const bad = call.errors / call.calls > 0.01;
          return (
            <g key={`${call.caller} ${call.callee}`}>
              <path className="edge" d={`M${x1} ${y1} C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`} style={{ strokeWidth: 1 + 3 * Math.sqrt(call.calls / most), ...(bad ? { stroke: 'var(--wf-critical)' } : {}) }}>
                <title>{`${call.caller} calls ${call.callee}: ${call.calls} requests, ${percent(call.errors / call.calls)} failed, p95 ${formatSeconds(call.p95)}`}</title>
              </path>
              <text className="edge-label" x={(x1 + x2) / 2} y={(y1 + y2) / 2 - 5} textAnchor="middle" style={bad ? { fill: 'var(--wf-critical)' } : undefined}>{bad ? percent(call.errors / call.calls) : formatSeconds(call.p95)}</text>
            </g>
          );
        })}
        {drawn.all.map((one) => {
          const now = of.get(one.name);
          const tone = toneOf(now?.errors ?? 0, now?.rate ?? 0);
          return (
            <Go key={one.name} to={`/services/${encodeURIComponent(one.name)}`} plain>
              <rect x={one.x} y={one.y} width={WIDE} height={HIGH} rx="9" style={tone === 'bad' ? { stroke: 'var(--wf-critical)' } : tone === 'warn' ? { stroke: '#e0a100' } : tone === 'idle' ? { stroke: 'var(--wf-muted)' } : undefined} />
              <text x={one.x + 12} y={one.y + 19} fontWeight="600">{one.name.length > 22 ? `${one.name.slice(0, 21)}…` : one.name}</text>
              <text className="edge-label" x={one.x + 12} y={one.y + 36}>{now ? `${short(now.rate)}/s · ${percent(now.errors)} fail · ${formatSeconds(now.p95)}` : 'only in traces'}</text>
            </Go>
          );
        })}
      </svg>
    </div>
  );
}
