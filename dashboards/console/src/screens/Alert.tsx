/* One alert: why (its expression on a plot with the rule's conditions), what happened to it, who was told, when it fired before, and what can be done about it. */
import { Button, Menu, Skeleton } from '@mantine/core';
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { get, send, withQuery } from '../api/client';
import type { AlertView, Delivery, Remediation, RuleGroup, TimelineLine } from '../api/types';
import { useAddress, useAsk, useCommand } from '../hooks';
import { isPromql, lifeOf, questionOf, ruleOf, serviceOf } from '../lib/alerts';
import { actorName, withUnit } from '../lib/format';
import { fieldText } from '../lib/search';
import { resolveRange } from '../lib/time';
import { Answer, Copy, Empty, Facts, Go, LabelSet, LinkList, PageHead, Panel, SeverityTag, Since, StatusTag, Tag, Trouble, When } from '../parts/basics';
import { Deliveries } from '../parts/Deliveries';
import { Evidence } from '../parts/Evidence';
import { ExprPlot, unitOf } from '../parts/ExprPlot';
import { RunRemediation, Waiting } from '../parts/Remedy';
import { Silencer } from '../parts/Silencer';
import { TimelineList } from '../parts/TimelineList';

/** As many notifications as are looked at, of the alert and of its incident each. */
const TOLD = 200;

export function AlertPage() {
  const { alert: id } = useParams({ strict: false }) as { alert: string };
  const { from, to } = useAddress();
  const [silencing, setSilencing] = useState(false);
  const found = useAsk(['alert', id], (signal) => get<{ alert: AlertView }>(`/api/watchfire/v1/alerts/${encodeURIComponent(id)}`, signal), { keep: false });
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), { live: 4 });
  const runs = useAsk(['remediations', 'alert', id], (signal) => get<{ runs: Remediation[] }>(withQuery('/api/watchfire/v1/remediations', { alert: id, limit: 50 }), signal), { keep: false });
  const acknowledge = useCommand(() => send('POST', `/api/watchfire/v1/alerts/${id}/acknowledge`), 'You have it: its ladder stops');
  const snooze = useCommand((duration: string) => send('POST', `/api/watchfire/v1/alerts/${id}/snooze`, { duration }), 'Put off: if it still fires then, its ladder climbs again');
  const giveBack = useCommand(() => send('POST', `/api/watchfire/v1/alerts/${id}/unacknowledge`), 'Given back: its ladder climbs again');
  if (found.data === undefined && found.error) return <Trouble error={found.error} />;
  // What waits for a yes stands above the rest: both come at once, so that nothing moves under a thumb.
  if (found.data === undefined || (runs.data === undefined && !runs.error)) return <Skeleton height={400} aria-label="Loading" />;
  const { alert } = found.data;
  const rule = ruleOf(rules.data?.data.groups, alert.rule);
  const question = questionOf(alert, rule);
  const over = alert.state.resolved_at ? Date.parse(alert.state.resolved_at) : null;
  const start = Date.parse(alert.state.active_at);
  const margin = Math.min(Math.max((over ?? Date.now()) - start, 300_000), 3_600_000);
  const span = {
    id: `${from ?? ''}${to ?? ''}${over ?? ''}`,
    live: over === null,
    resolve: () => (from ? resolveRange(from, to, Date.now()) : { from: start - margin, to: over === null ? Date.now() : Math.min(over + margin / 2, Date.now()) }),
  };
  const service = serviceOf(alert.labels);
  const here = { from: String(span.resolve().from), to: over === null ? 'now' : String(span.resolve().to) };
  return (
    <>
      <PageHead title={alert.summary ?? alert.rule.name}>
        {alert.state.state === 'firing' && !alert.acknowledged && <Button size="sm" loading={acknowledge.busy} onClick={() => acknowledge.go(undefined)}>Acknowledge</Button>}
        {alert.state.state === 'firing' && alert.acknowledged && <Button size="sm" variant="default" loading={giveBack.busy} onClick={() => giveBack.go(undefined)}>Give it back</Button>}
        {alert.state.state === 'firing' && (
          <Menu position="bottom-end">
            <Menu.Target><Button size="sm" variant="default" loading={snooze.busy}>Snooze…</Button></Menu.Target>
            <Menu.Dropdown>{['15m', '30m', '1h', '4h'].map((one) => <Menu.Item key={one} onClick={() => snooze.go(one)}>for {one}</Menu.Item>)}</Menu.Dropdown>
          </Menu>
        )}
        {alert.state.state === 'firing' && <RunRemediation of={{ alert: alert.id }} firing />}
        <Button size="sm" variant="default" onClick={() => setSilencing(true)}>Silence…</Button>
      </PageHead>
      {silencing && <Silencer labels={alert.labels} close={() => setSilencing(false)} />}
      <div className="row" style={{ marginBottom: 12 }}>
        <SeverityTag severity={alert.severity} />
        <StatusTag status={alert.state.state} />
        {alert.muted && <Tag>silenced</Tag>}
        {alert.flapping && <Tag tone="warning">flapping: held open</Tag>}
        {alert.unknown && <Tag tone="warning">its query fails at present; the last state holds</Tag>}
        <LabelSet labels={alert.labels} without={['severity']} />
      </div>
      <Waiting runs={runs.data?.runs ?? []} />
      <div className="grid">
        <div className="span-8 stack">
          <Panel title="Why" extra={isPromql(question) && <Go to="/metrics-explorer" search={{ q: alert.expr, ...here }}><span className="small">Open in Metrics</span></Go>}>
            <ExprPlot expr={alert.expr} span={span} thresholds={rule?.thresholds} question={question} rule={alert.rule} fingerprint={alert.fingerprint} labels={alert.labels} height={260} zoom legend={false} label={`Values of ${alert.rule.name}`} marks={[{ at: Date.parse(alert.state.fired_at ?? alert.state.active_at) / 1_000, name: alert.state.fired_at ? 'fires' : 'active', color: '#e5484d' }, ...(over ? [{ at: over / 1_000, name: 'resolved', color: '#22a35f' }] : [])]} />
            <pre className="code" style={{ marginTop: 10 }} tabIndex={0}>{alert.expr}</pre>
          </Panel>
          <Told alert={alert} />
          <Journal id={alert.id} />
        </div>
        <div className="span-4 stack">
          <Panel title="Facts">
            <Facts of={[
              ['Value', withUnit(Number(alert.value), unitOf(alert.expr, question))],
              ['Active since', <When key="a" at={alert.state.active_at} both />],
              ['Fired', <When key="f" at={alert.state.fired_at} both />],
              ...(over ? [['Resolved', <When key="r" at={over} both />] as [string, React.ReactNode]] : []),
              ['Acknowledged', alert.acknowledged ? <>{actorName(alert.acknowledged.by)}, <When at={alert.acknowledged.at} /></> : 'nobody'],
              ['Incident', alert.incident ? <Go to={`/incidents/${alert.incident}`}>open it</Go> : 'none'],
              ['Rule', <Go key="u" to="/rules" search={{ q: alert.rule.name }}>{`${alert.rule.group} / ${alert.rule.name}`}</Go>],
              ['From', <span key="o" className="mono">{alert.rule.source}</span>],
              ['Ladder', alert.escalation ?? 'none'],
              ['Remediation', alert.remediation ?? 'none'],
              ['Id', <span key="i" className="row" style={{ gap: 4 }}><span className="mono">{alert.id}</span><Copy text={alert.id} label="Copy the id" /></span>],
            ]} />
          </Panel>
          {Object.keys(alert.annotations).length > 0 && (
            <Panel title="What the rule says">
              <Facts of={Object.entries(alert.annotations).map(([name, value]) => [name, <Evidence key={name} name={name} value={value} span={here} />])} />
            </Panel>
          )}
          {service && (
            <Panel title="Look closer">
              <div className="row">
                <Go to={`/services/${encodeURIComponent(service)}`}>Service {service}</Go>
                <Go to="/logs" search={{ q: `${fieldText('service', '=', service)} level>=warn`, ...here }}>Its logs</Go>
                <Go to="/traces" search={{ q: `${fieldText('service', '=', service)} status=error`, ...here }}>Failed requests</Go>
              </div>
            </Panel>
          )}
          <Episodes alert={alert} />
        </div>
      </div>
    </>
  );
}

/** The notifications of an alert, and those of its incident that name no alert. */
function Told({ alert }: { alert: AlertView }) {
  const found = useAsk(['deliveries', 'of', alert.id, alert.incident ?? ''], async (signal) => {
    const ask = (of: { alert: string } | { incident: string }) => get<{ deliveries: Delivery[] }>(withQuery('/api/watchfire/v1/deliveries', { ...of, limit: TOLD }), signal);
    const answers = await Promise.all([ask({ alert: alert.id }), ...(alert.incident === null ? [] : [ask({ incident: alert.incident })])]);
    const all = [...new Map(answers.flatMap((one) => one.deliveries).map((one) => [one.id, one])).values()].sort((a, b) => b.queued_at.localeCompare(a.queued_at) || b.id.localeCompare(a.id));
    return { all, more: answers.some((one) => one.deliveries.length === TOLD) };
  }, { live: 2, keep: false });
  return (
    <Panel title="Who was told" flush>
      <Answer of={found} height={120}>
        {({ all, more }) => all.length === 0 ? <Empty title="Nobody was told yet">Notifications of this alert and its incident show here.</Empty> : (
          <div style={{ maxHeight: 420, overflowY: 'auto' }}>
            <Deliveries of={all} />
            {more && <div className="panel-rest small muted">There are older ones. <Go to="/paging">All notifications</Go></div>}
          </div>
        )}
      </Answer>
    </Panel>
  );
}

function Journal({ id }: { id: string }) {
  const found = useAsk(['alert', id, 'timeline'], (signal) => get<{ timeline: TimelineLine[] }>(`/api/watchfire/v1/alerts/${encodeURIComponent(id)}/timeline`, signal), { keep: false });
  return <Panel title="Timeline"><Answer of={found} height={140}>{({ timeline }) => timeline.length === 0 ? <Empty title="The journal has nothing of it any more" /> : <TimelineList lines={timeline} />}</Answer></Panel>;
}

/** The other times that the same alert was active: whether it is new, comes back each night, or never stays away. */
function Episodes({ alert }: { alert: AlertView }) {
  const found = useAsk(['alerts', 'fingerprint', String(alert.fingerprint)], (signal) => get<{ alerts: AlertView[] }>(withQuery('/api/watchfire/v1/alerts', { state: 'all', fingerprint: String(alert.fingerprint), limit: 50 }), signal), { keep: false });
  const began = lifeOf(alert).from;
  return (
    <Panel flush title="Earlier episodes">
      <Answer of={found} height={90}>
        {({ alerts }) => {
          const others = alerts.filter((one) => one.id !== alert.id);
          if (others.length === 0) return <Empty title="It never was active before" />;
          return (
            <LinkList label="Earlier episodes">
              {others.map((one) => {
                const fired = one.state.fired_at !== undefined;
                return (
                  <li key={one.id}>
                    <Go to={`/alerts/${one.id}`} className="item roomy" data-item>
                      <span className="item-main"><span className="item-title"><When at={one.state.active_at} both /></span><span className="item-sub"><span>{one.state.resolved_at ? 'lasted' : 'lasts'} <Since from={one.state.active_at} to={one.state.resolved_at ?? null} /></span>{!fired && <span>did not fire</span>}{one.acknowledged && <span>{actorName(one.acknowledged.by)} had it</span>}</span></span>
                      <SeverityTag severity={one.severity} />
                      {lifeOf(one).from > began && <Tag tone="info">later</Tag>}
                      {!one.state.resolved_at && <StatusTag status={one.state.state} />}
                    </Go>
                  </li>
                );
              })}
            </LinkList>
          );
        }}
      </Answer>
    </Panel>
  );
}
