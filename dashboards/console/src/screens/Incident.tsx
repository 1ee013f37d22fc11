/* One incident: what happens, what to do, how it came. Everything that somebody needs to take it, end it and learn from it. */
import { Button, Menu, Modal, SegmentedControl, Select, Skeleton, Tabs, Textarea } from '@mantine/core';
import { useParams } from '@tanstack/react-router';
import { useMemo, useState, type ReactNode } from 'react';
import { get, send, sql, withQuery } from '../api/client';
import { within } from '../api/red';
import type { AlertView, Deployment, Incident, IssueList, LadderRun, Remediation, RuleGroup, TimelineLine, UpdatePhase } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { questionOf, ruleOf, serviceOf } from '../lib/alerts';
import { actorName } from '../lib/format';
import { endOf } from '../lib/incidents';
import { stepName } from '../lib/oncall';
import { fieldText } from '../lib/search';
import { formatSeconds, type Range } from '../lib/time';
import { Answer, Copy, Empty, Facts, Go, LabelSet, LinkList, PageHead, Panel, SeverityTag, Since, StatusTag, Tag, Trouble, When } from '../parts/basics';
import { Impact, LogsThen, Related, Responders } from '../parts/Around';
import { ExprPlot } from '../parts/ExprPlot';
import { useOnCall } from '../parts/OnDuty';
import type { Mark } from '../parts/Plot';
import { RunRemediation, Waiting } from '../parts/Remedy';
import { TimelineList } from '../parts/TimelineList';
import { PostmortemView } from './Postmortem';
import { PLAN_SNIPPET, RunCard } from './Remediations';

interface Shown {
  incident: Incident;
  alerts: AlertView[];
  timeline: TimelineLine[];
}

/** As long before the start as it lasted, and half as long after the end, within bounds that show what is usual. */
function spanOf(incident: Incident): { id: string; resolve: () => Range; live: boolean } {
  const ended = endOf(incident);
  const over = ended === null ? null : Date.parse(ended);
  const start = Date.parse(incident.clocks.started);
  const margin = (now: number): number => Math.min(Math.max((over ?? now) - start, 180_000), 1_800_000);
  return {
    id: `${incident.id}${over ?? ''}`,
    live: over === null,
    resolve: () => ({ from: start - margin(Date.now()), to: over === null ? Date.now() : Math.min(over + margin(over) / 2, Date.now()) }),
  };
}

export function IncidentPage() {
  const { incident: reference } = useParams({ strict: false }) as { incident: string };
  const { tab = 'story' } = useAddress();
  const set = useSetAddress();
  const found = useAsk(['incident', reference], (signal) => get<Shown>(`/api/watchfire/v1/incidents/${encodeURIComponent(reference)}`, signal), { keep: false });
  const id = found.data?.incident.id;
  const runs = useAsk(['remediations', 'incident', id ?? ''], (signal) => get<{ runs: Remediation[] }>(withQuery('/api/watchfire/v1/remediations', { incident: id, limit: 200 }), signal), { enabled: id !== undefined, keep: false });
  if (found.data === undefined && found.error) return <Trouble error={found.error} />;
  // What waits for a yes stands above the story: both come at once, so that nothing moves under a thumb.
  if (found.data === undefined || (runs.data === undefined && !runs.error)) return <Skeleton height={400} aria-label="Loading" />;
  const { incident, alerts, timeline } = found.data;
  const mine = runs.data?.runs ?? [];
  return (
    <>
      <PageHead title={<>#{incident.number} {incident.title}</>}>
        <Commands incident={incident} />
      </PageHead>
      {found.error && <Trouble error={found.error} />}
      <div className="row" style={{ marginBottom: 12, gap: '6px 14px' }}>
        <SeverityTag severity={incident.severity} />
        <StatusTag status={incident.status} />
        <span className="small">began <When at={incident.clocks.started} both /></span>
        <span className="small nums">{incident.status === 'open' || incident.status === 'acknowledged' ? 'lasts' : 'lasted'} <b><Since from={incident.clocks.started} to={endOf(incident)} /></b></span>
        {incident.acknowledged && <span className="small">{actorName(incident.acknowledged.by)} has it</span>}
        <LabelSet labels={incident.group} />
      </div>
      {incident.last_update && <div className="said"><b>{incident.last_update.phase}</b>: <span className="wrap">{incident.last_update.text}</span> <span className="muted small">{actorName(incident.last_update.by)}, <When at={incident.last_update.at} /></span></div>}
      <Waiting runs={mine} />
      <Tabs value={tab} onChange={(value) => set({ tab: value === 'story' || value === null ? undefined : value }, true)} keepMounted={false}>
        <Tabs.List mb={14}>
          <Tabs.Tab value="story">Story</Tabs.Tab>
          <Tabs.Tab value="repairs">Remediation{mine.length > 0 ? ` (${mine.length})` : ''}</Tabs.Tab>
          <Tabs.Tab value="postmortem">Postmortem</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="story"><Story incident={incident} alerts={alerts} timeline={timeline} runs={mine} /></Tabs.Panel>
        <Tabs.Panel value="repairs">
          {mine.length === 0
            ? runs.error ? <Trouble error={runs.error} /> : <Panel><Empty title="No remediation ran" snippet={PLAN_SNIPPET}>A rule names one with <code>remediation:</code>; plans stand in the configuration under <code>remediation.remediations</code>.</Empty></Panel>
            : <div className="stack">{mine.map((run, at) => <RunCard key={run.id} run={run} plotted={at === 0} />)}</div>}
        </Tabs.Panel>
        <Tabs.Panel value="postmortem"><PostmortemView incident={incident} /></Tabs.Panel>
      </Tabs>
    </>
  );
}

type Word = 'acknowledge' | 'unacknowledge' | 'mitigate' | 'resolve' | 'close' | 'cancel' | 'note' | 'escalate' | 'update';
interface Form {
  title: string;
  label: string;
  field: string;
  button: string;
  /** Nothing is sent without a text. */
  needed?: boolean;
}
const ASKS: Partial<Record<Word, Form>> = {
  resolve: { title: 'Resolve the incident', label: 'What ended it?', field: 'reason', button: 'Resolve' },
  mitigate: { title: 'The harm is contained', label: 'How?', field: 'how', button: 'Mark as mitigated' },
  cancel: { title: 'Cancel the incident', label: 'Why was it none?', field: 'reason', button: 'Cancel the incident' },
  note: { title: 'Write into the timeline', label: 'What did you see or do?', field: 'text', button: 'Write', needed: true },
  escalate: { title: 'Escalate', label: 'What do you need help with?', field: 'reason', button: 'Tell the next' },
  update: { title: 'Post a status update', label: 'What should those who wait know?', field: 'text', button: 'Post', needed: true },
};
const PHASES: { value: UpdatePhase; label: string }[] = [{ value: 'investigating', label: 'Investigating' }, { value: 'identified', label: 'Identified' }, { value: 'monitoring', label: 'Monitoring' }];

function Commands({ incident }: { incident: Incident }) {
  const [asked, setAsked] = useState<Word | null>(null);
  const [text, setText] = useState('');
  const open = incident.status === 'open' || incident.status === 'acknowledged';
  const last = incident.last_update?.phase;
  const [picked, setPicked] = useState<UpdatePhase>('investigating');
  const phase = open ? picked : 'resolved';
  const command = useCommand(async ({ word, body }: { word: Word; body?: Record<string, string> }) => {
    const answer = await send<{ message: string }>('POST', `/api/watchfire/v1/incidents/${incident.number}/${word}`, body);
    setAsked(null);
    setText('');
    return answer;
  }, 'Done');
  const form = asked ? ASKS[asked] : undefined;
  const tell = (): void => {
    setPicked(last && last !== 'resolved' ? last : 'investigating');
    setAsked('update');
  };
  return (
    <div className="row commands">
      {incident.status === 'open' && <Button size="sm" loading={command.busy} onClick={() => command.go({ word: 'acknowledge' })}>Acknowledge</Button>}
      {open && <Button size="sm" variant={incident.status === 'open' ? 'default' : 'filled'} onClick={() => setAsked('resolve')}>Resolve</Button>}
      {incident.status === 'resolved' && <Button size="sm" variant="default" loading={command.busy} onClick={() => command.go({ word: 'close' })}>Close</Button>}
      {open && <Button size="sm" variant="default" onClick={() => setAsked('escalate')}>Escalate…</Button>}
      {open && <RunRemediation of={{ incident: String(incident.number) }} firing={incident.firing.length > 0} />}
      {(open || incident.status === 'resolved') && <Button size="sm" variant="default" onClick={tell}>Status update…</Button>}
      <Button size="sm" variant="default" onClick={() => setAsked('note')}>Add note</Button>
      {open && (
        <Menu position="bottom-end">
          <Menu.Target><Button size="sm" variant="default" aria-label="More commands">More</Button></Menu.Target>
          <Menu.Dropdown>
            {!incident.clocks.mitigated && <Menu.Item onClick={() => setAsked('mitigate')}>Harm is contained (mitigated)</Menu.Item>}
            {incident.status === 'acknowledged' && <Menu.Item onClick={() => command.go({ word: 'unacknowledge' })}>Give it back: its ladder starts again</Menu.Item>}
            <Menu.Item onClick={() => setAsked('cancel')}>It was none (cancel)</Menu.Item>
          </Menu.Dropdown>
        </Menu>
      )}
      <Modal opened={form !== undefined} onClose={() => setAsked(null)} title={form?.title}>
        {form && asked && (
          <form className="stack" onSubmit={(event) => { event.preventDefault(); command.go({ word: asked, ...(text.trim() === '' ? {} : { body: { [form.field]: text.trim(), ...(asked === 'update' ? { phase } : {}) } }) }); }}>
            {asked === 'escalate' && <Next incident={incident} />}
            {asked === 'update' && (open
              ? <Select label="How it stands" data={PHASES} value={picked} onChange={(value) => value && setPicked(value as UpdatePhase)} allowDeselect={false} />
              : <div className="small muted">The incident is resolved: this is its last word.</div>)}
            <Textarea label={form.label} value={text} onChange={(event) => setText(event.currentTarget.value)} autosize minRows={3} data-autofocus maxLength={8_000} />
            <Button type="submit" loading={command.busy} disabled={form.needed === true && text.trim() === ''}>{form.button}</Button>
          </form>
        )}
      </Modal>
    </div>
  );
}

/** Whom an escalation tells: the step of its ladders that comes next, with who that is now. */
function Next({ incident }: { incident: Incident }) {
  const onCall = useOnCall();
  const ladders = useAsk(['ladders', 'all'], (signal) => get<{ runs: LadderRun[] }>('/api/watchfire/v1/ladders', signal));
  const subjects = [incident.id, ...incident.alerts];
  const next = (ladders.data?.runs ?? []).filter((run) => subjects.includes(run.subject.id) && run.status !== 'closed' && run.reason !== 'superseded').map((run) => run.ladder.steps[run.step % Math.max(run.ladder.steps.length, 1)]?.notify ?? []);
  const names = onCall.isPending ? [] : [...new Set(next.flat())].map((name) => stepName(name, onCall.data));
  return <div className="small muted wrap">{names.length > 0 ? `Told at once: ${names.join(', ')}.` : 'Whoever comes next on its ladders is told at once.'}{incident.acknowledged ? ` ${actorName(incident.acknowledged.by)} does not have it any more then.` : ''}</div>;
}

/** As many of its alerts are plotted. */
const PLOTTED = 3;

function Story({ incident, alerts, timeline, runs }: Shown & { runs: Remediation[] }) {
  const [all, setAll] = useState('main');
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), { live: 6 });
  const span = spanOf(incident);
  const service = serviceOf(incident.group);
  const range = span.resolve();
  const deployed = useAsk(['deployments', span.id, service ?? ''], (signal) => get<{ deployments: Deployment[] }>(withQuery('/api/watchfire/v1/deployments', { since: new Date(range.from - 7_200_000).toISOString(), until: new Date(range.to).toISOString(), limit: 50 }), signal), { live: 4 });
  const marks = useMemo((): Mark[] => [
    { at: Date.parse(incident.clocks.started) / 1_000, name: 'start', color: '#e5484d' },
    ...(incident.clocks.resolved ? [{ at: Date.parse(incident.clocks.resolved) / 1_000, name: 'resolved', color: '#22a35f' }] : []),
    ...(deployed.data?.deployments ?? []).map((one) => ({ at: Date.parse(one.at) / 1_000, name: `${one.service} ${one.version}`, color: '#8b5cf6' })),
    ...runs.flatMap((run) => run.history).filter((past) => past.event.kind === 'repair_acted' || past.event.kind === 'repair_undone').map((past) => ({ at: Date.parse(past.at) / 1_000, name: `${past.event.kind === 'repair_undone' ? 'undone: ' : ''}${String(past.event.rung ?? '')}`, color: '#f76808' })),
  ], [incident.clocks.started, incident.clocks.resolved, deployed.data, runs]);
  const lines = timeline.filter((line) => all === 'all' || !/^(notification_sent|chat_)/.test(line.kind));
  return (
    <div className="grid">
      <div className="span-7 stack">
        {alerts.slice(0, PLOTTED).map((alert) => {
          const rule = ruleOf(rules.data?.data.groups, alert.rule);
          return (
            <Panel key={alert.id} title={<Go to={`/alerts/${alert.id}`}>{alert.rule.name}</Go>} extra={<StatusTag status={alert.state.state} />}>
              <div className="small wrap" style={{ marginBottom: 8 }}>{alert.annotations.summary ?? alert.annotations.description ?? ''}</div>
              {/* An incident's alerts do not say what kind of question they are: their rules do. */}
              {rules.data === undefined && !rules.error ? <Skeleton height={200} aria-label="Loading" /> : <ExprPlot expr={alert.expr} span={span} thresholds={rule?.thresholds} question={questionOf(alert, rule)} rule={alert.rule} fingerprint={alert.fingerprint} labels={alert.labels} marks={marks} height={200} legend={false} label={`${alert.rule.name} during the incident`} />}
            </Panel>
          );
        })}
        {alerts.length > PLOTTED && <div className="small muted">and {alerts.length - PLOTTED} more {alerts.length - PLOTTED === 1 ? 'alert' : 'alerts'}: all stand in the list of its alerts</div>}
        {service && <Impact service={service} span={span} marks={marks} />}
        <Panel title="Timeline" extra={<SegmentedControl size="xs" aria-label="Which events" value={all} onChange={setAll} data={[{ value: 'main', label: 'Main events' }, { value: 'all', label: `All (${timeline.length})` }]} />}>
          <TimelineList lines={lines} />
        </Panel>
      </div>
      <div className="span-5 stack">
        <Panel title="Look closer">
          <div className="row">
            {service && <>
              <Go to={`/services/${encodeURIComponent(service)}`} search={rangeSearch(range, span.live)}>Service {service}</Go>
              <Go to="/logs" search={{ q: `${fieldText('service', '=', service)} level>=warn`, ...rangeSearch(range, span.live) }}>Warnings and errors in its logs</Go>
              <Go to="/traces" search={{ q: `${fieldText('service', '=', service)} status=error`, ...rangeSearch(range, span.live) }}>Failed requests as traces</Go>
              <Go to="/errors" search={{ service }}>Error issues</Go>
            </>}
            <Go to="/logs" search={{ q: 'level>=error', ...rangeSearch(range, span.live) }}>Errors of all services</Go>
          </div>
        </Panel>
        <Responders incident={incident} timeline={timeline} />
        <Causes incident={incident} range={range} live={span.live} />
        <LogsThen incident={incident} service={service} range={range} live={span.live} search={rangeSearch(range, span.live)} />
        <Panel title="Clocks">
          <Facts of={[
            ['Started', <When key="s" at={incident.clocks.started} both />],
            ['Detected', <When key="d" at={incident.clocks.detected} both />],
            ['Acknowledged', incident.clocks.acknowledged ? <><When at={incident.clocks.acknowledged} both /> after {formatSeconds(incident.seconds_to_acknowledge ?? NaN)}</> : 'nobody yet'],
            ['Mitigated', incident.clocks.mitigated ? <><When at={incident.clocks.mitigated} both /> after {formatSeconds(incident.seconds_to_mitigate ?? NaN)}</> : '-'],
            ['Resolved', incident.clocks.resolved ? <><When at={incident.clocks.resolved} both /> after {formatSeconds(incident.seconds_to_resolve ?? NaN)}, by {actorName(incident.resolved_by)}</> : '-'],
            ...(incident.clocks.cancelled ? [['Cancelled', <When key="c" at={incident.clocks.cancelled} both />] as [string, ReactNode]] : []),
            ...(incident.clocks.closed ? [['Closed', <When key="e" at={incident.clocks.closed} both />] as [string, ReactNode]] : []),
            ['Channel', incident.chat ? `${incident.chat.name} (${incident.chat.receiver})${incident.chat.archived ? ', archived' : ''}` : '-'],
            ['Id', <span key="i" className="row" style={{ gap: 4 }}><span className="mono">{incident.id}</span><Copy text={incident.id} label="Copy the id" /></span>],
          ]} />
        </Panel>
        <Panel title={`Alerts (${alerts.length})`} flush>
          <LinkList label="Alerts of the incident">
            {alerts.map((alert) => (
              <li key={alert.id}>
                <Go to={`/alerts/${alert.id}`} className="item" data-item>
                  <SeverityTag severity={alert.severity} />
                  <span className="item-main"><span className="item-title">{alert.rule.name}</span><span className="item-sub"><LabelSet labels={alert.labels} without={['alertname', 'severity']} /></span></span>
                  <StatusTag status={alert.state.state} />
                </Go>
              </li>
            ))}
          </LinkList>
        </Panel>
        <Related incident={incident} service={service} />
        {(deployed.data?.deployments.length ?? 0) > 0 && (
          <Panel title="Went out shortly before or meanwhile" flush>
            <ul className="list">{deployed.data?.deployments.map((one) => <li key={one.id} className="item"><span className="item-main"><span className="item-title">{one.service} {one.version}</span><span className="item-sub">{one.environment} · {actorName(one.by)}</span></span><When at={one.at} /></li>)}</ul>
          </Panel>
        )}
      </div>
    </div>
  );
}

/** What the telemetry of that time says by itself: the commonest errors, those that are new first, and the slowest failed requests. */
function Causes({ incident, range, live }: { incident: Incident; range: Range; live: boolean }) {
  const hours = Math.ceil((Date.now() - range.from) / 3_600_000) + 1;
  const errors = useAsk(['errors', 'incident', incident.id, incident.status], (signal) => get<IssueList>(withQuery('/api/watchfire/v1/errors', { status: 'all', sort: 'events', window: `${Math.min(hours, 2_160)}h`, limit: 50 }), signal), { live: live ? 2 : false });
  const traces = useAsk(['traces', 'incident', incident.id, incident.status], async (signal) => {
    const { from, to } = range;
    const answer = await sql(`SELECT lower(hex(trace_id)), service, name, toString(toUnixTimestamp64Milli(ts)), duration, lower(hex(span_id)) FROM spans WHERE ${within(from, to)} AND status = 'ERROR' AND kind IN ('SERVER', 'CONSUMER') ORDER BY duration DESC LIMIT 1 BY service LIMIT 3`, signal);
    return answer.data.map((row) => ({ trace: String(row[0]), service: String(row[1]), name: String(row[2]), at: Number(row[3]), duration: Number(row[4]) / 1e9, span: String(row[5]) }));
  }, { live: live ? 2 : false });
  const began = Date.parse(incident.clocks.started);
  const over = endOf(incident);
  const end = over === null ? Infinity : Date.parse(over);
  const fresh = (one: IssueList['issues'][number]): boolean => one.first_seen !== null && Date.parse(one.first_seen) > began - 1_800_000;
  const shown = (errors.data?.issues ?? [])
    .filter((one) => one.last_seen !== null && Date.parse(one.last_seen) >= began - 600_000 && (one.first_seen === null || Date.parse(one.first_seen) <= end))
    .sort((a, b) => Number(fresh(b)) - Number(fresh(a)) || (b.events ?? 0) - (a.events ?? 0))
    .slice(0, 4);
  return (
    <>
      <Panel title="Errors of this time" flush extra={<Go to="/errors"><span className="small">All errors</span></Go>}>
        <Answer of={errors} height={110}>
          {() => shown.length === 0 ? <Empty title="No error event in this time" /> : (
            <LinkList label="Errors of this time">
              {shown.map((one) => (
                <li key={one.number}>
                  <Go to={`/errors/${one.number}`} className="item" data-item>
                    <span className="item-main"><span className="item-title">{one.title}</span><span className="item-sub"><span>{one.services.join(', ')}</span>{one.last_release && <span>release {one.last_release}</span>}<span>first <When at={one.first_seen} /></span></span></span>
                    {fresh(one) && <Tag tone="critical">new</Tag>}
                  </Go>
                </li>
              ))}
            </LinkList>
          )}
        </Answer>
      </Panel>
      {(traces.data === undefined || traces.data.length > 0) && (
        <Panel title="Failed requests" flush>
          <Answer of={traces} height={110}>
            {(found) => (
              <LinkList label="Failed requests">
                {found.map((one) => (
                  <li key={one.span}>
                    <Go to={`/traces/${one.trace}`} search={{ span: one.span, at: String(one.at) }} className="item" data-item>
                      <span className="item-main"><span className="item-title">{one.service}: {one.name}</span><span className="item-sub"><When at={one.at} both /></span></span>
                      <span className="small nums">{formatSeconds(one.duration)}</span>
                    </Go>
                  </li>
                ))}
              </LinkList>
            )}
          </Answer>
        </Panel>
      )}
    </>
  );
}

const rangeSearch = (range: Range, live: boolean): { from: string; to?: string } => (live ? { from: String(range.from), to: 'now' } : { from: String(range.from), to: String(range.to) });
