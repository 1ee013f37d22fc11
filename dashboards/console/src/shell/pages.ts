/* The pages by their names, for the navigation and the palette. */
import { IconActivity, IconAlertTriangle, IconApi, IconBell, IconBug, IconCalendarUser, IconChartLine, IconDatabase, IconFlame, IconHome, IconLayoutDashboard, IconListSearch, IconRoute, IconServer, IconStairsUp, IconTool, IconTopologyStar3, IconVolumeOff, type Icon } from '@tabler/icons-react';

export interface Page {
  to: string;
  name: string;
  icon: Icon;
  words: string;
}

export const PAGES: { group: string; pages: Page[] }[] = [
  { group: 'Respond', pages: [
    { to: '/', name: 'Home', icon: IconHome, words: 'overview start health' },
    { to: '/incidents', name: 'Incidents', icon: IconFlame, words: 'outage postmortem acknowledge' },
    { to: '/alerts', name: 'Alerts', icon: IconBell, words: 'firing pending' },
    { to: '/rules', name: 'Rules', icon: IconAlertTriangle, words: 'alerting recording expressions' },
    { to: '/silences', name: 'Silences', icon: IconVolumeOff, words: 'mute' },
    { to: '/paging', name: 'Paging', icon: IconStairsUp, words: 'ladders escalation deliveries dead letters replay notifications' },
    { to: '/on-call', name: 'On call', icon: IconCalendarUser, words: 'schedules turns shifts rotation override users teams who' },
    { to: '/remediations', name: 'Remediations', icon: IconTool, words: 'repair runs approve approval' },
  ] },
  { group: 'Explore', pages: [
    { to: '/services', name: 'Services', icon: IconTopologyStar3, words: 'map red requests errors latency dependencies' },
    { to: '/dashboards', name: 'Dashboards', icon: IconLayoutDashboard, words: 'boards grafana import kiosk panels' },
    { to: '/metrics-explorer', name: 'Metrics', icon: IconChartLine, words: 'promql plot query' },
    { to: '/logs', name: 'Logs', icon: IconListSearch, words: 'search lines' },
    { to: '/traces', name: 'Traces', icon: IconRoute, words: 'spans waterfall' },
    { to: '/errors', name: 'Errors', icon: IconBug, words: 'issues exceptions crashes sentry' },
    { to: '/sql', name: 'SQL', icon: IconDatabase, words: 'clickhouse select' },
  ] },
  { group: 'Watchfire', pages: [{ to: '/system', name: 'System', icon: IconServer, words: 'status ingest wal engine queues scrape targets' }, { to: '/api-reference', name: 'API', icon: IconApi, words: 'openapi http rest reference operations curl' }] },
];

export const ActivityIcon = IconActivity;
