/* Alerts by state; the worst and oldest first. */
import { SegmentedControl, TextInput } from '@mantine/core';
import { get, withQuery } from '../api/client';
import type { AlertView } from '../api/types';
import { useAddress, useSetAddress } from '../hooks';
import { Answer, Empty, firstData, Go, LabelSet, LinkList, PageHead, Panel, SeverityTag, StatusTag, Tag, When } from '../parts/basics';
import { ShowOlder, usePages } from '../parts/Older';
import { bySeverity } from './Home';

const PAGE = 200;

export const changedAt = (alert: AlertView): string => alert.state.resolved_at ?? alert.state.fired_at ?? alert.state.active_at;

export function Alerts() {
  const { state = 'open', q = '' } = useAddress();
  const set = useSetAddress();
  const pages = usePages(['alerts', state], PAGE, async (before, signal) => (await get<{ alerts: AlertView[] }>(withQuery('/api/watchfire/v1/alerts', { state, limit: PAGE, before }), signal)).alerts);
  const fits = (alert: AlertView): boolean => `${alert.summary ?? ''} ${alert.rule.name} ${Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`).join(' ')}`.toLowerCase().includes(q.toLowerCase());
  return (
    <>
      <PageHead title="Alerts">
        <TextInput size="xs" aria-label="Filter" placeholder="Filter by name or label" value={q} onChange={(event) => set({ q: event.currentTarget.value }, true)} />
        <SegmentedControl size="xs" aria-label="State" value={state} onChange={(value) => set({ state: value === 'open' ? undefined : value })} data={[{ value: 'open', label: 'Open' }, { value: 'firing', label: 'Firing' }, { value: 'pending', label: 'Pending' }, { value: 'resolved', label: 'Resolved' }, { value: 'all', label: 'All' }]} />
      </PageHead>
      <Panel flush>
        <Answer of={pages.found} height={300}>
          {(alerts) => {
            const shown = alerts.filter(fits);
            if (shown.length === 0) return alerts.length > 0 ? <Empty title={pages.older ? `None of the newest ${alerts.length} alerts fits the filter` : 'No alert fits the filter'} /> : state === 'all' ? <Empty title="There was no alert yet" snippet={firstData.rules}>Rules decide what is an alert.</Empty> : <Empty title={state === 'open' ? 'No alert is open' : `No alert is ${state}`} />;
            if (state !== 'resolved') shown.sort((a, b) => Number(b.state.state === 'firing') - Number(a.state.state === 'firing') || bySeverity(a, b) || changedAt(b).localeCompare(changedAt(a)));
            return (
              <LinkList label="Alerts">
                {shown.map((one) => (
                  <li key={one.id}>
                    <Go to={`/alerts/${one.id}`} className="item" data-item>
                      <SeverityTag severity={one.severity} />
                      <span className="item-main">
                        <span className="item-title">{one.summary ?? one.rule.name}</span>
                        <span className="item-sub"><span>{one.rule.name}</span><LabelSet labels={one.labels} without={['alertname', 'severity']} /></span>
                      </span>
                      {one.muted && <Tag>silenced</Tag>}
                      {one.flapping && <Tag tone="warning">flapping</Tag>}
                      {one.unknown && <Tag tone="warning">query fails</Tag>}
                      {one.acknowledged && <Tag tone="info">acknowledged</Tag>}
                      <StatusTag status={one.state.state} />
                      <span className="small" style={{ minWidth: 64, textAlign: 'right' }}><When at={changedAt(one)} /></span>
                    </Go>
                  </li>
                ))}
              </LinkList>
            );
          }}
        </Answer>
        <ShowOlder of={pages} />
      </Panel>
    </>
  );
}
