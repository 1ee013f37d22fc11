/* What is wrong now, how the services are, and whether data arrives. The first thing that somebody sees who was woken. */
import { get } from '../api/client';
import { services } from '../api/red';
import type { AlertView, Delivery, Incident, Ladder, LadderRun, OnCall, Severity, Status } from '../api/types';
import { useAsk, useNow } from '../hooks';
import { count, percent, short } from '../lib/format';
import { endOf } from '../lib/incidents';
import { stepName } from '../lib/oncall';
import { formatSeconds } from '../lib/time';
import { Answer, Empty, firstData, Go, LinkList, PageHead, Panel, SeverityTag, Since, StatusTag, Tag, When } from '../parts/basics';
import { MyPages, OnCallPanel, useOnCall } from '../parts/OnDuty';
import { Skeleton } from '@mantine/core';
import { IconCircleCheck } from '@tabler/icons-react';
import { useEffect, useState } from 'react';

const WORST: Severity[] = ['critical', 'high', 'warning', 'info'];
export const bySeverity = (a: { severity: Severity }, b: { severity: Severity }): number => WORST.indexOf(a.severity) - WORST.indexOf(b.severity);
const firedAt = (one: AlertView): string => one.state.fired_at ?? one.state.active_at;

/** How many are shown before it says how many more there are. */
const ALERTS = 12;
const SERVICES = 60;

function More({ of, shown, to, search, what }: { of: number; shown: number; to: string; search?: Record<string, string>; what: string }) {
  return of > shown ? <div className="panel-rest small"><Go to={to} {...(search ? { search } : {})}>and {count(of - shown)} more {what}</Go></div> : null;
}

export function Home() {
  const status = useAsk(['status'], (signal) => get<Status>('/api/watchfire/v1/status', signal));
  const incidents = useAsk(['incidents', 'open'], (signal) => get<{ incidents: Incident[] }>('/api/watchfire/v1/incidents?status=open', signal));
  const alerts = useAsk(['alerts', 'firing'], (signal) => get<{ alerts: AlertView[] }>('/api/watchfire/v1/alerts?state=firing&limit=1000', signal));
  const ladders = useAsk(['ladders', 'running'], (signal) => get<{ ladders: Ladder[]; runs: LadderRun[] }>('/api/watchfire/v1/ladders?state=running', signal));
  // What somebody took, or what told everybody in vain, is still a page of those whom it told.
  const taken = useAsk(['ladders', 'stopped'], (signal) => get<{ runs: LadderRun[] }>('/api/watchfire/v1/ladders?state=stopped&limit=50', signal));
  const vain = useAsk(['ladders', 'exhausted'], (signal) => get<{ runs: LadderRun[] }>('/api/watchfire/v1/ladders?state=exhausted&limit=50', signal));
  const onCall = useOnCall();
  const sent = useAsk(['deliveries', 'home'], (signal) => get<{ deliveries: Delivery[] }>('/api/watchfire/v1/deliveries?limit=100', signal), { live: 3 });
  const health = useAsk(['home', 'services'], (signal) => services(Date.now() / 1_000, '5m', signal));
  // The services are waited for a moment only: who was woken wants to see the incident.
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 1_200);
    return () => clearTimeout(timer);
  }, []);
  const empty = status.data?.newest_rows.every((one) => one.received === null) ?? false;
  const open = incidents.data?.incidents ?? [];
  const firing = alerts.data?.alerts ?? [];
  const quiet = incidents.data && alerts.data && open.length === 0 && firing.length === 0;
  // All that decides the order of the page comes at once, so that nothing moves under a thumb.
  const first = [status, incidents, alerts, ladders, taken, vain, onCall, sent].every((one) => one.data !== undefined || one.error !== null) && (late || health.data !== undefined || health.error !== null);
  if (!first) return <><PageHead title="What is wrong now" /><Skeleton height={420} aria-label="Loading" /></>;
  return (
    <>
      <PageHead title="What is wrong now" />
      <div className="stack">
        {quiet && !empty && (
          <div className="calm"><IconCircleCheck size={22} aria-hidden="true" /><span>No open incident, nothing fires. <LastIncident /></span></div>
        )}
        {empty && (
          <Panel><Empty title="Nothing has arrived yet" snippet={firstData.otlp}>Send spans, logs or metrics, and this page shows how the services are. Request rate, errors and duration come from spans by themselves.</Empty></Panel>
        )}
        <div className="grid">
          <div className="span-7 stack home-side">
            <Panel className="o1" flush title={`Open incidents${open.length ? ` (${open.length})` : ''}`} extra={<Go to="/incidents"><span className="small">All incidents</span></Go>}>
              <Answer of={incidents} height={96}>
                {() => open.length === 0 ? <Empty title="No open incident" /> : (
                  <LinkList label="Open incidents">
                    {[...open].sort((a, b) => bySeverity(a, b) || a.clocks.started.localeCompare(b.clocks.started)).map((one) => <IncidentItem key={one.id} incident={one} />)}
                  </LinkList>
                )}
              </Answer>
            </Panel>
            <Panel className="o4" title="Services" extra={<Go to="/services"><span className="small">Map and details</span></Go>}>
              <Answer of={health} height={150}>
                {(found) => found.length === 0 ? <Empty title="No requests in the last five minutes">Services show here as soon as they send spans of requests.</Empty> : (
                  <><div className="tiles">
                    {found.slice(0, SERVICES).map((one) => (
                      <Go key={one.service} to={`/services/${encodeURIComponent(one.service)}`} className={`tile ${one.errors > 0.05 ? 'bad' : one.errors > 0.01 ? 'warn' : one.rate === 0 ? 'idle' : ''}`}>
                        <div className="cut" style={{ fontWeight: 600 }} title={one.service}>{one.service}</div>
                        <div className="row small muted nums" style={{ gap: '0 12px' }}>
                          <span>{short(one.rate)}/s</span>
                          <span style={one.errors > 0.01 ? { color: 'var(--wf-critical)', fontWeight: 600 } : undefined}>{percent(one.errors)} fail</span>
                          <span>p95 {formatSeconds(one.p95)}</span>
                        </div>
                      </Go>
                    ))}
                  </div><More of={found.length} shown={SERVICES} to="/services" what="services" /></>
                )}
              </Answer>
            </Panel>
            {(health.data !== undefined || health.error !== null) && <Recent />}
          </div>
          <div className="span-5 stack home-side">
            <MyPages className="o1" onCall={onCall.data} runs={[ladders, taken, vain].flatMap((one) => one.data?.runs ?? [])} incidents={open} alerts={firing} />
            <Panel className="o2" flush title={`Firing alerts${firing.length ? ` (${firing.length})` : ''}`} extra={<Go to="/alerts"><span className="small">All alerts</span></Go>}>
              <Answer of={alerts} height={96}>
                {() => firing.length === 0 ? <Empty title="Nothing fires" /> : (
                  <><LinkList label="Firing alerts">
                    {[...firing].sort((a, b) => bySeverity(a, b) || firedAt(a).localeCompare(firedAt(b))).slice(0, ALERTS).map((one) => (
                      <li key={one.id}>
                        <Go to={`/alerts/${one.id}`} className="item" data-item>
                          <SeverityTag severity={one.severity} />
                          <span className="item-main"><span className="item-title">{one.summary ?? one.rule.name}</span><span className="item-sub"><span>{one.rule.name}</span>{one.muted && <span>silenced</span>}{one.acknowledged && <span>acknowledged</span>}{one.unknown && <span>its query fails</span>}</span></span>
                          <span className="small" style={{ whiteSpace: 'nowrap' }}><Since from={firedAt(one)} /></span>
                        </Go>
                      </li>
                    ))}
                  </LinkList><More of={firing.length} shown={ALERTS} to="/alerts" search={{ state: 'firing' }} what={firing.length >= 1_000 ? 'or more' : 'firing alerts'} /></>
                )}
              </Answer>
            </Panel>
            {(ladders.data?.runs.length ?? 0) > 0 && (
              <Panel className="o3" flush title="Being paged" extra={<Go to="/paging" search={{ tab: 'ladders' }}><span className="small">Ladders</span></Go>}>
                <LinkList label="Being paged">
                  {ladders.data?.runs.map((run) => (
                    <li key={run.id}>
                      <Go to={`/${run.subject.about}s/${run.subject.id}`} className="item" data-item>
                        <span className="item-main"><span className="item-title">{run.title}</span><span className="item-sub"><span>{run.subject.about}, ladder {run.ladder.name}, step {Math.min(run.step, run.ladder.steps.length)} of {run.ladder.steps.length}</span><span>told: {run.notified.join(', ') || 'nobody yet'}</span></span></span>
                        {run.next_at && <span className="small">next step <When at={run.next_at} /></span>}
                      </Go>
                    </li>
                  ))}
                </LinkList>
              </Panel>
            )}
            <OnCallPanel className="o3" of={onCall} />
            <Pages ladders={ladders.data?.ladders ?? []} onCall={onCall.data} sent={sent.data?.deliveries ?? []} />
            <Panel title="Data arriving" extra={<Go to="/system"><span className="small">System</span></Go>}>
              <Answer of={status} height={120}>{(data) => <Freshness status={data} />}</Answer>
            </Panel>
            <Panel title="Watchfire itself">
              <Answer of={status} height={120}>
                {(data) => (
                  <div className="stack" style={{ gap: 6 }}>
                    {data.parts.map((part) => <div key={part.part} className="row"><Tag tone={part.healthy ? 'good' : 'critical'}>{part.part}</Tag><span className="small muted">{part.detail}</span></div>)}
                    {data.queues.some((one) => one.dead > 0) && <div className="note">Some notifications could not be delivered: <Go to="/paging" search={{ state: 'dead' }}>look at the dead letters</Go></div>}
                  </div>
                )}
              </Answer>
            </Panel>
          </div>
        </div>
      </div>
    </>
  );
}

function LastIncident() {
  const last = useAsk(['incidents', 'last'], (signal) => get<{ incidents: Incident[] }>('/api/watchfire/v1/incidents?limit=1', signal));
  const one = last.data?.incidents[0];
  return one ? <>The last incident, <Go to={`/incidents/${one.number}`} plain>#{one.number}</Go>, began <When at={one.clocks.started} />.</> : <>There was no incident yet.</>;
}

export function IncidentItem({ incident: one }: { incident: Incident }) {
  return (
    <li>
      <Go to={`/incidents/${one.number}`} className="item" data-item>
        <SeverityTag severity={one.severity} />
        <span className="item-main">
          <span className="item-title">#{one.number} {one.title}</span>
          <span className="item-sub">
            <span>began <When at={one.clocks.started} /></span>
            {Object.entries(one.group).map(([name, value]) => <span key={name}>{name}={value}</span>)}
            {one.firing.length > 0 && <span>{count(one.firing.length)} {one.firing.length === 1 ? 'alert fires' : 'alerts fire'}</span>}
          </span>
        </span>
        <StatusTag status={one.status} />
        <span className="small nums" style={{ minWidth: 64, textAlign: 'right' }} title="how long"><Since from={one.clocks.started} to={endOf(one)} /></span>
      </Go>
    </li>
  );
}

/** Seconds after which what came before is old; not of what comes only when something is new or fails. */
const STALE = 300;
const SELDOM = new Set(['series', 'error_events', 'exemplars', 'patterns']);

export function Freshness({ status }: { status: Status }) {
  return (
    <div style={{ display: 'grid', gridTemplateColumns: 'repeat(auto-fill, minmax(170px, 1fr))', gap: '6px 16px' }}>
      {status.newest_rows.map((one) => {
        const age = one.age_seconds;
        return (
          <div key={one.signal} className="row" style={{ justifyContent: 'space-between', flexWrap: 'nowrap' }}>
            <span className="small cut">{one.signal.replaceAll('_', ' ')}</span>
            {age !== null && age > STALE && !SELDOM.has(one.signal)
              ? <span title="nothing has come for more than five minutes"><Tag tone="warning">old: {formatSeconds(Math.floor(age))}</Tag></span>
              : <span className="small nums muted">{age === null ? 'never' : age < 10 ? 'now' : formatSeconds(Math.floor(age))}</span>}
          </div>
        );
      })}
    </div>
  );
}

/** Who is told when something pages, and whom the last pages reached. */
function Pages({ ladders, onCall, sent }: { ladders: Ladder[]; onCall: OnCall | undefined; sent: Delivery[] }) {
  const now = useNow(60_000);
  const recent = sent.filter((one) => now - Date.parse(one.queued_at) < 86_400_000);
  const byReceiver = [...Map.groupBy(recent, (one) => one.receiver)].map(([receiver, all]) => ({ receiver, all: all.length, dead: all.filter((one) => one.state === 'dead').length, last: all.reduce((newest, one) => (one.queued_at > newest ? one.queued_at : newest), '') })).sort((a, b) => (a.last < b.last ? 1 : -1));
  if (ladders.length === 0) return null;
  return (
    <Panel title="Who is told" extra={<Go to="/paging" search={{ tab: 'ladders' }}><span className="small">Paging</span></Go>}>
      <div className="stack" style={{ gap: 6 }}>
        {ladders.slice(0, 6).map((ladder) => (
          <div key={ladder.name} className="small"><b>{ladder.name}</b> <span className="muted">{ladder.steps.map((step) => `${step.after === '0s' ? 'at once' : `after ${step.after}`} ${step.notify.map((name) => stepName(name, onCall)).join(', ')}`).join(', then ')}</span></div>
        ))}
        {byReceiver.length > 0 && (
          <ul className="list small" aria-label="Messages of the last day">
            {byReceiver.slice(0, 6).map((one) => <li key={one.receiver} className="row" style={{ padding: '4px 0' }}><span>{one.receiver}</span><span className="grow" />{one.dead > 0 && <Tag tone="critical">{one.dead} not delivered</Tag>}<span className="muted nums">{count(one.all)} in a day, last <When at={one.last} /></span></li>)}
          </ul>
        )}
      </div>
    </Panel>
  );
}

/** Errors that are new within the last hour: the likeliest cause of what pages. */
function Recent() {
  const now = useNow(60_000);
  const found = useAsk(['home', 'new-errors'], (signal) => get<{ issues: { number: number; title: string; services: string[]; first_seen: string | null; events: number | null }[] }>('/api/watchfire/v1/errors?sort=first_seen&window=1h&limit=5', signal), { live: 3 });
  const fresh = (found.data?.issues ?? []).filter((one) => one.first_seen !== null && now - Date.parse(one.first_seen) < 86_400_000);
  if (fresh.length === 0) return null;
  return (
    <Panel flush title="New errors of the last day" extra={<Go to="/errors" search={{ sort: 'first_seen' }}><span className="small">All errors</span></Go>}>
      <LinkList label="New errors">
        {fresh.map((one) => (
          <li key={one.number}>
            <Go to={`/errors/${one.number}`} className="item" data-item>
              <span className="item-main"><span className="item-title">{one.title}</span><span className="item-sub"><span>{one.services.join(', ')}</span><span>first <When at={one.first_seen} /></span></span></span>
              {one.events !== null && <span className="small nums">{count(one.events)} in the last hour</span>}
            </Go>
          </li>
        ))}
      </LinkList>
    </Panel>
  );
}

