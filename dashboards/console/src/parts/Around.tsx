/* What else stands around an incident: who had to do with it, how its service answered, what its logs say, which other alerts fired. */
import { get, prom, sql, withQuery } from '../api/client';
import { ofService, red } from '../api/red';
import type { AlertView, Incident, LadderRun, TimelineLine } from '../api/types';
import { useAsk } from '../hooks';
import { firedIn, phrase, serviceOf } from '../lib/alerts';
import { count } from '../lib/format';
import { endOf } from '../lib/incidents';
import { respondersOf } from '../lib/responders';
import { fieldText, levelOf, parseSearch, patternLinesSql, phraseOf } from '../lib/search';
import { rateWindow, stepFor, type Range } from '../lib/time';
import { Answer, Empty, Go, LabelSet, LinkList, Panel, SeverityTag, StatusTag, Tag, When, type Tone } from './basics';
import { ExprPlot } from './ExprPlot';
import { useOnCall } from './OnDuty';
import type { Mark } from './Plot';

interface Span {
  id: string;
  resolve: () => Range;
  live: boolean;
}

export function Responders({ incident, timeline }: { incident: Incident; timeline: readonly TimelineLine[] }) {
  const onCall = useOnCall();
  const ladders = useAsk(['ladders', 'all'], (signal) => get<{ runs: LadderRun[] }>('/api/watchfire/v1/ladders', signal));
  const people = respondersOf(incident, timeline, ladders.data?.runs ?? [], onCall.data);
  return (
    <Panel title="Responders">
      {people.length === 0 ? <div className="small muted">Nobody was paged, and nobody did anything yet.</div> : (
        <ul className="list">
          {people.map((one) => (
            <li key={one.name} style={{ padding: '6px 0' }}>
              <div className="row"><b className="wrap">{one.name}</b>{one.has && <Tag tone="good">has it</Tag>}</div>
              <div className="item-sub">{one.deeds.map((deed) => <span key={deed.what}>{deed.what}{deed.times > 1 && ` ${deed.times} times, last`} <When at={deed.at} /></span>)}</div>
            </li>
          ))}
        </ul>
      )}
    </Panel>
  );
}

/** How the affected service answered: the harm as those outside see it. */
export function Impact({ service, span, marks }: { service: string; span: Span; marks: readonly Mark[] }) {
  const measured = useAsk(['service', 'measured', service, span.id], async (signal) => {
    const { from, to } = span.resolve();
    const found = await prom<unknown[]>(withQuery('/api/v1/series', { 'match[]': `traces_span_metrics_calls_total{${ofService(service)},span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"}`, start: from / 1_000, end: to / 1_000, limit: 1 }), signal);
    return { any: found.length > 0 };
  }, { live: span.live ? 6 : false });
  const of = red('service_name', rateWindow(stepFor(span.resolve(), 240)), [ofService(service)]);
  const plots = [
    { title: 'Requests', expr: of.rate, unit: 'per-second', label: `Requests of ${service} a second` },
    { title: 'Failed', expr: of.errors, unit: 'ratio', label: `Share of failed requests of ${service}` },
    { title: 'Duration, p95', expr: of.quantile(0.95), unit: 'seconds', label: `95th percentile of the duration of ${service}` },
  ] as const;
  return (
    <Panel title={`Requests of ${service}`} extra={<Go to={`/services/${encodeURIComponent(service)}`}><span className="small">Service</span></Go>}>
      <Answer of={measured} height={162}>
        {({ any }) => any ? (
          <div style={{ display: 'grid', gap: 12, gridTemplateColumns: 'repeat(auto-fit, minmax(180px, 1fr))' }}>
            {plots.map((one) => (
              <div key={one.title} style={{ minWidth: 0 }}>
                <div className="small muted">{one.title}</div>
                <ExprPlot expr={one.expr} span={span} unit={one.unit} height={140} legend={false} marks={marks} label={one.label} name={() => one.title.toLowerCase()} />
              </div>
            ))}
          </div>
        ) : <div className="small muted" style={{ minHeight: 40 }}>No request of it was measured in this time: it sends no spans of requests that it answers.</div>}
      </Answer>
    </Panel>
  );
}

const TONES: Record<string, Tone> = { fatal: 'critical', error: 'critical', warn: 'warning' };

/** What its logs say again and again at that time, from warnings up. */
export function LogsThen({ incident, service, range, live, search }: { incident: Incident; service: string | undefined; range: Range; live: boolean; search: { from: string; to?: string } }) {
  const q = `${service === undefined ? '' : `${fieldText('service', '=', service)} `}level>=warn`;
  const found = useAsk(['logs-patterns', 'incident', incident.id, incident.status, q], async (signal) => {
    const answer = await sql(`SELECT pattern, toString(sum(weight)), max(severity), groupUniqArray(3)(service), toString(toUnixTimestamp64Milli(min(ts))) FROM ${patternLinesSql(parseSearch(q), range.from, range.to)} GROUP BY pattern ORDER BY sum(weight) DESC, pattern LIMIT 5`, signal);
    return answer.data.map((row) => ({ pattern: String(row[0]), lines: Number(row[1]), worst: Number(row[2]), services: (row[3] as unknown[]).map(String), first: Number(row[4]) }));
  }, { live: live ? 6 : false });
  return (
    <Panel title="Logs of this time" flush extra={<Go to="/logs" search={{ q, view: 'patterns', ...search }}><span className="small">All patterns</span></Go>}>
      <Answer of={found} height={150}>
        {(patterns) => patterns.length === 0 ? <Empty title={service === undefined ? 'No warning and no error in the logs' : `No warning and no error in the logs of ${service}`}>{service !== undefined && <Go to="/logs" search={{ q: 'level>=warn', ...search }}>Those of all services</Go>}</Empty> : (
          <LinkList label="Logs of this time">
            {patterns.map((one) => {
              const words = phraseOf(one.pattern);
              return (
                <li key={one.pattern}>
                  <Go to="/logs" search={{ q: words === '' ? q : `${q} ${phrase(words)}`, ...search }} className="item" data-item>
                    <Tag tone={TONES[levelOf(one.worst)] ?? 'quiet'}>{levelOf(one.worst)}</Tag>
                    <span className="item-main"><span className="mono wrap">{one.pattern.length > 160 ? `${one.pattern.slice(0, 160)}…` : one.pattern}</span><span className="item-sub">{service === undefined && <span>{one.services.join(', ')}</span>}<span>first <When at={one.first} /></span></span></span>
                    <span className="small nums">{count(one.lines)} {one.lines === 1 ? 'line' : 'lines'}</span>
                  </Go>
                </li>
              );
            })}
          </LinkList>
        )}
      </Answer>
    </Panel>
  );
}

/** As many of the newest alerts are looked at, and as many shown. */
const LOOKED_AT = 500;
const SHOWN = 8;

/** Alerts of the same time that are not part of the incident: what may be its cause, or its consequence. */
export function Related({ incident, service }: { incident: Incident; service: string | undefined }) {
  const found = useAsk(['alerts', 'all'], (signal) => get<{ alerts: AlertView[] }>(withQuery('/api/watchfire/v1/alerts', { state: 'all', limit: LOOKED_AT }), signal));
  const from = Date.parse(incident.clocks.started);
  const over = endOf(incident);
  const to = over === null ? Infinity : Date.parse(over);
  return (
    <Panel title="Other alerts of this time" flush extra={<span className="small muted">not part of the incident</span>}>
      <Answer of={found} height={90}>
        {({ alerts }) => {
          const others = firedIn(alerts, incident.alerts, from, to, service);
          const foot = [others.length > SHOWN ? `and ${others.length - SHOWN} more` : '', alerts.length >= LOOKED_AT ? `among the newest ${LOOKED_AT} alerts` : ''].filter((one) => one !== '').join(', ');
          return (
            <>
              {others.length === 0 ? <Empty title="No other alert fired" /> : (
                <LinkList label="Other alerts of this time">
                  {others.slice(0, SHOWN).map((one) => (
                    <li key={one.id}>
                      <Go to={`/alerts/${one.id}`} className="item roomy" data-item>
                        <span className="item-main"><span className="item-title">{one.summary ?? one.rule.name}</span><span className="item-sub"><span>{one.rule.name}</span><span>fired <When at={one.state.fired_at} /></span><LabelSet labels={one.labels} without={['alertname', 'severity']} /></span></span>
                        <SeverityTag severity={one.severity} />
                        {service !== undefined && serviceOf(one.labels) === service && <Tag tone="info">same service</Tag>}
                        <StatusTag status={one.state.state} />
                      </Go>
                    </li>
                  ))}
                </LinkList>
              )}
              {foot !== '' && <div className="panel-rest small muted">{foot}</div>}
            </>
          );
        }}
      </Answer>
    </Panel>
  );
}
