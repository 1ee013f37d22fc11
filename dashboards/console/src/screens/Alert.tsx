/* One alert: why (its expression on a plot with the rule's conditions), who was told, and what can be done about it. */
import { Button, Menu } from '@mantine/core';
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { get, send } from '../api/client';
import type { AlertView, Delivery, RuleGroup } from '../api/types';
import { useAddress, useAsk, useCommand } from '../hooks';
import { actorName, guessUnit, withUnit } from '../lib/format';
import { fieldText } from '../lib/search';
import { resolveRange } from '../lib/time';
import { Answer, Copy, Empty, Facts, Go, LabelSet, PageHead, Panel, SeverityTag, StatusTag, Tag, Trouble, When } from '../parts/basics';
import { ExprPlot } from '../parts/ExprPlot';
import { Silencer } from '../parts/Silencer';

export function AlertPage() {
  const { alert: id } = useParams({ strict: false }) as { alert: string };
  const { from, to } = useAddress();
  const [silencing, setSilencing] = useState(false);
  const found = useAsk(['alert', id], (signal) => get<{ alert: AlertView }>(`/api/watchfire/v1/alerts/${encodeURIComponent(id)}`, signal), { keep: false });
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), { live: 4 });
  const deliveries = useAsk(['deliveries', 'all'], (signal) => get<{ deliveries: Delivery[] }>('/api/watchfire/v1/deliveries?limit=500', signal), { live: 2 });
  const acknowledge = useCommand(() => send('POST', `/api/watchfire/v1/alerts/${id}/acknowledge`), 'You have it: its ladder stops');
  const snooze = useCommand((duration: string) => send('POST', `/api/watchfire/v1/alerts/${id}/snooze`, { duration }), 'Put off: if it still fires then, its ladder climbs again');
  const giveBack = useCommand(() => send('POST', `/api/watchfire/v1/alerts/${id}/unacknowledge`), 'Given back: its ladder climbs again');
  if (found.data === undefined) return found.error ? <Trouble error={found.error} /> : <Answer of={found} height={400}>{() => null}</Answer>;
  const { alert } = found.data;
  const rule = rules.data?.data.groups.find((group) => group.name === alert.rule.group)?.rules.find((one) => one.name === alert.rule.name && one.type === 'alerting');
  const over = alert.state.resolved_at ? Date.parse(alert.state.resolved_at) : null;
  const start = Date.parse(alert.state.active_at);
  const margin = Math.min(Math.max((over ?? Date.now()) - start, 300_000), 3_600_000);
  const span = {
    id: `${from ?? ''}${to ?? ''}${over ?? ''}`,
    live: over === null,
    resolve: () => (from ? resolveRange(from, to, Date.now()) : { from: start - margin, to: over === null ? Date.now() : Math.min(over + margin / 2, Date.now()) }),
  };
  const service = alert.labels.service_name ?? alert.labels.service;
  const told = (deliveries.data?.deliveries ?? []).filter((one) => one.alert === alert.id || (alert.incident !== null && one.incident === alert.incident));
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
      <div className="grid">
        <div className="span-8 stack">
          <Panel title="Why" extra={<Go to="/metrics-explorer" search={{ q: alert.expr, from: String(span.resolve().from), to: over === null ? 'now' : String(span.resolve().to) }}><span className="small">Open in Metrics</span></Go>}>
            <ExprPlot expr={alert.expr} span={span} thresholds={rule?.thresholds} labels={alert.labels} height={260} zoom legend={false} label={`Values of ${alert.rule.name}`} marks={[{ at: Date.parse(alert.state.fired_at ?? alert.state.active_at) / 1_000, name: alert.state.fired_at ? 'fires' : 'active', color: '#e5484d' }, ...(over ? [{ at: over / 1_000, name: 'resolved', color: '#22a35f' }] : [])]} />
            <pre className="code" style={{ marginTop: 10 }} tabIndex={0}>{alert.expr}</pre>
          </Panel>
          <Panel title="Who was told" flush>
            {told.length === 0 ? <Empty title="Nobody was told yet">{deliveries.error ? deliveries.error.message : 'Notifications of this alert and its incident show here.'}</Empty> : <Deliveries of={told} />}
          </Panel>
        </div>
        <div className="span-4 stack">
          <Panel title="Facts">
            <Facts of={[
              ['Value', withUnit(Number(alert.value), guessUnit(alert.expr))],
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
              <Facts of={Object.entries(alert.annotations).map(([name, value]) => [name, /^https?:\/\//.test(value) ? <a key={name} href={value} target="_blank" rel="noreferrer noopener">{value}</a> : <span key={name} className="wrap">{value}</span>])} />
            </Panel>
          )}
          {service && (
            <Panel title="Look closer">
              <div className="row">
                <Go to={`/services/${encodeURIComponent(service)}`}>Service {service}</Go>
                <Go to="/logs" search={{ q: `${fieldText('service', '=', service)} level>=warn`, from: String(span.resolve().from), to: over === null ? 'now' : String(span.resolve().to) }}>Its logs</Go>
                <Go to="/traces" search={{ q: `${fieldText('service', '=', service)} status=error`, from: String(span.resolve().from), to: over === null ? 'now' : String(span.resolve().to) }}>Failed requests</Go>
              </div>
            </Panel>
          )}
        </div>
      </div>
    </>
  );
}

export function Deliveries({ of, replay }: { of: readonly Delivery[]; replay?: (one: Delivery) => void }) {
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Deliveries">
      <table className="data">
        <thead><tr><th>Queued</th><th>Receiver</th><th>What</th><th>State</th><th className="num">Attempts</th><th>Trouble</th>{replay && <th><span className="skip">Commands</span></th>}</tr></thead>
        <tbody>
          {of.map((one) => (
            <tr key={one.id}>
              <td style={{ whiteSpace: 'nowrap' }}><When at={one.queued_at} /></td>
              <td>{one.receiver}</td>
              <td style={{ minWidth: 200 }}>{one.action}{one.title && `: ${one.title}`} {one.incident && <Go to={`/incidents/${one.incident}`} plain>incident</Go>}</td>
              <td><StatusTag status={one.state} /></td>
              <td className="num">{one.attempts}</td>
              <td className="wrap" style={{ minWidth: 160 }}>{one.unneeded ?? one.error ?? ''}{one.state === 'pending' && one.attempts > 0 && <> (next <When at={one.due_at} />)</>}</td>
              {replay && <td>{one.state === 'dead' && <Button size="compact-xs" variant="default" onClick={() => replay(one)}>Send again</Button>}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
