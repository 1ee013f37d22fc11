/* One service: rate, errors, duration over time with its deployments, its operations, whom it calls and who calls it, its objectives, its errors, whose it is. */
import { useParams } from '@tanstack/react-router';
import { get, instant, sql, withQuery } from '../api/client';
import { byLabel, callsSql, ofService, red } from '../api/red';
import type { AlertView, Deployment, IssueList } from '../api/types';
import { useAsk, useAskSpan, useListKeys, useTimeSpan } from '../hooks';
import { actorName, count, percent, promString, short, sqlString } from '../lib/format';
import { fieldText } from '../lib/search';
import { formatSeconds, rateWindow, stepFor } from '../lib/time';
import { Answer, Empty, Go, LinkList, PageHead, Panel, SeverityTag, When } from '../parts/basics';
import { ExprPlot } from '../parts/ExprPlot';
import { Ownership } from '../parts/Ownership';
import type { Mark } from '../parts/Plot';
import { Slos } from '../parts/Slos';
import { CALLS_OF, LAST_HOUR, windowOf } from './Services';

/** The time around a deployment: what was before, and what came of it. */
const around = (at: string): { from: string; to: string } => ({ from: String(Date.parse(at) - 900_000), to: String(Date.parse(at) + 2_700_000) });

export function ServicePage() {
  const { service: raw } = useParams({ strict: false }) as { service: string };
  const service = decodeURIComponent(raw);
  const time = useTimeSpan();
  const keys = useListKeys();
  const step = stepFor(time.resolve(), 240);
  const of = red('service_name', rateWindow(step), [ofService(service)]);
  const span = { id: `${time.from ?? ''}/${time.to ?? ''}`, live: time.live, resolve: time.resolve };
  const operations = useAskSpan(['service', 'operations', service], async (range, signal) => {
    const of = red('span_name', windowOf(range), [ofService(service)]);
    const at = range.to / 1_000;
    const [rate, errors, p50, p95] = await Promise.all([instant(of.rate, at, signal), instant(of.errors, at, signal), instant(of.quantile(0.5), at, signal), instant(of.quantile(0.95), at, signal)]);
    const [e, m, p] = [byLabel(errors, 'span_name'), byLabel(p50, 'span_name'), byLabel(p95, 'span_name')];
    return { rows: [...byLabel(rate, 'span_name')].map(([name, value]) => ({ name, rate: value, errors: e.get(name) ?? 0, p50: m.get(name) ?? NaN, p95: p.get(name) ?? NaN })).sort((a, b) => b.rate - a.rate) };
  }, { live: 2 });
  const calls = useAskSpan(['service', 'calls', service], async (range, signal) => {
    const from = Math.max(range.from, range.to - CALLS_OF);
    const all = await sql(`SELECT * FROM (${callsSql(from, range.to)}) WHERE caller = ${sqlString(service)} OR callee = ${sqlString(service)}`, signal);
    return { cut: from > range.from, rows: all.data.map((row) => ({ caller: String(row[0]), callee: String(row[1]), calls: Number(row[2]), errors: Number(row[3]), p95: Number(row[4]) / 1e9 })) };
  }, { live: 6 });
  const alerts = useAsk(['alerts', 'open'], (signal) => get<{ alerts: AlertView[] }>('/api/watchfire/v1/alerts?state=open&limit=500', signal));
  const errors = useAsk(['errors', 'service', service], (signal) => get<IssueList>(withQuery('/api/watchfire/v1/errors', { service, sort: 'events', window: '1d', limit: 5 }), signal), { live: 3 });
  const deployments = useAskSpan(['deployments', service], async (range, signal) => get<{ deployments: Deployment[] }>(withQuery('/api/watchfire/v1/deployments', { service, since: new Date(range.from).toISOString(), until: new Date(range.to).toISOString(), limit: 50 }), signal), { live: 4 });
  const marks: Mark[] = (deployments.data?.deployments ?? []).map((one) => ({ at: Date.parse(one.at) / 1_000, name: one.version, color: '#8b5cf6' }));
  const mine = (alerts.data?.alerts ?? []).filter((one) => one.labels.service_name === service || one.labels.service === service);
  const only = fieldText('service', '=', service);
  if (alerts.data === undefined && alerts.error === null) return <Answer of={alerts} height={420}>{() => null}</Answer>;
  return (
    <>
      <PageHead title={service}>
        <span className="row small"><Go to="/logs" search={{ q: only }}>Logs</Go><Go to="/traces" search={{ q: only }}>Traces</Go><Go to="/errors" search={{ service }}>Errors</Go><Go to="/metrics-explorer" search={{ q: `{service_name=${promString(service)}}`, view: 'table' }}>All its metrics</Go></span>
      </PageHead>
      <div className="stack">
        {mine.length > 0 && (
          <Panel flush title={`Open alerts (${mine.length})`}>
            <LinkList label="Open alerts of the service">{mine.map((one) => <li key={one.id}><Go to={`/alerts/${one.id}`} className="item" data-item><SeverityTag severity={one.severity} /><span className="item-main item-title">{one.summary ?? one.rule.name}</span><When at={one.state.fired_at ?? one.state.active_at} /></Go></li>)}</LinkList>
          </Panel>
        )}
        <div className="grid">
          <Panel className="span-4" title="Requests"><ExprPlot expr={of.rate} span={span} unit="per-second" height={180} legend={false} marks={marks} zoom label="Requests a second" name={() => 'requests'} /></Panel>
          <Panel className="span-4" title="Failed"><ExprPlot expr={of.errors} span={span} unit="ratio" height={180} legend={false} marks={marks} zoom label="Share of failed requests" name={() => 'failed'} /></Panel>
          <Panel className="span-4" title="Duration, p95"><ExprPlot expr={of.quantile(0.95)} span={span} unit="seconds" height={180} legend={false} marks={marks} zoom label="95th percentile of the duration" name={() => 'p95'} /></Panel>
        </div>
        <Slos service={service} />
        <Panel flush title="Operations">
          <Answer of={operations} height={140}>
            {({ rows }) => rows.length === 0 ? <Empty title="No requests in this time" /> : (
              <div className="scroll-x" tabIndex={0} role="region" aria-label="Operations" {...keys}>
                <table className="data">
                  <thead><tr><th>Operation</th><th className="num">Requests</th><th className="num">Failed</th><th className="num">p50</th><th className="num">p95</th></tr></thead>
                  <tbody>{rows.slice(0, 200).map((row) => (
                    <tr key={row.name}>
                      <td className="wrap" style={{ minWidth: 130 }}><Go to="/traces" search={{ q: `${only} ${fieldText('name', '=', row.name)}` }} plain data-item>{row.name}</Go></td>
                      <td className="num">{short(row.rate)}/s</td>
                      <td className="num" style={row.errors > 0.01 ? { color: 'var(--wf-critical)', fontWeight: 600 } : undefined}>{percent(row.errors)}</td>
                      <td className="num">{formatSeconds(row.p50)}</td>
                      <td className="num">{formatSeconds(row.p95)}</td>
                    </tr>
                  ))}</tbody>
                </table>
              </div>
            )}
          </Answer>
        </Panel>
        <div className="grid">
          {(['caller', 'callee'] as const).map((side) => (
            <Panel key={side} className="span-6" flush title={side === 'caller' ? 'Who calls it' : 'Whom it calls'} extra={calls.data?.cut && <span className="small muted">{LAST_HOUR}</span>}>
              <Answer of={calls} height={100}>
                {({ rows }) => {
                  const shown = rows.filter((row) => (side === 'caller' ? row.callee : row.caller) === service);
                  return shown.length === 0 ? <Empty title={side === 'caller' ? 'No other service, as far as traces tell' : 'No other service'} /> : (
                    <div className="scroll-x" {...keys}><table className="data"><thead><tr><th>Service</th><th className="num">Calls</th><th className="num">Failed</th><th className="num">p95</th></tr></thead>
                      <tbody>{shown.map((row) => <tr key={row[side]}><td className="wrap"><Go to={`/services/${encodeURIComponent(row[side])}`} plain data-item>{row[side]}</Go></td><td className="num">{count(row.calls)}</td><td className="num">{percent(row.errors / row.calls)}</td><td className="num">{formatSeconds(row.p95)}</td></tr>)}</tbody></table></div>
                  );
                }}
              </Answer>
            </Panel>
          ))}
        </div>
        <Ownership service={service} />
        <div className="grid">
          <Panel className="span-6" flush title="Errors of the last day">
            <Answer of={errors} height={100}>{({ issues }) => issues.length === 0 ? <Empty title="No open error issue" /> : <LinkList label="Error issues">{issues.map((one) => <li key={one.id}><Go to={`/errors/${one.number}`} className="item" data-item><span className="item-main item-title">{one.title}</span><span className="small nums">{one.events === null ? '-' : count(one.events)}</span></Go></li>)}</LinkList>}</Answer>
          </Panel>
          <Panel className="span-6" flush title="Deployments in this time">
            <Answer of={deployments} height={100}>{(found) => found.deployments.length === 0 ? <Empty title="None recorded" snippet={`watchfire deployments record ${service} 1.4.2 --key "$BUILD"`}>A line at the end of a pipeline records them.</Empty> : <LinkList label="Deployments">{found.deployments.map((one) => <li key={one.id}><Go to={`/services/${encodeURIComponent(service)}`} search={around(one.at)} className="item" data-item title="The time around it"><span className="item-main"><span className="item-title">{one.version}</span><span className="item-sub">{one.environment} · {actorName(one.by)}{one.description && <span>{one.description}</span>}</span></span><When at={one.at} /></Go></li>)}</LinkList>}</Answer>
          </Panel>
        </div>
      </div>
    </>
  );
}
