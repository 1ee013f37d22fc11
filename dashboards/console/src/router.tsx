/* Every screen with its address. A screen's code is fetched when it is first wanted. */
import { createRootRoute, createRoute, createRouter, lazyRouteComponent, type ErrorComponentProps } from '@tanstack/react-router';
import { Button } from '@mantine/core';
import { Home } from './screens/Home';
import { Shell } from './shell/Shell';
import { Empty, Go, Trouble } from './parts/basics';
import type { Search } from './hooks';

/** All parameters are texts: what a person or a link wrote, `?q=5` included. */
function texts(raw: Record<string, unknown>): Search {
  return Object.fromEntries(Object.entries(raw).filter(([, value]) => value !== null && value !== undefined && typeof value !== 'object').map(([name, value]) => [name, String(value)]));
}

function Failed({ error: thrown, reset }: ErrorComponentProps) {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const stale = /dynamically imported module|Importing a module script failed/.test(error.message);
  return (
    <div className="stack">
      <Trouble error={stale ? new Error('The server was renewed since this page was opened.') : error} />
      <div><Button onClick={() => (stale ? location.reload() : reset())}>{stale ? 'Load the new console' : 'Try again'}</Button></div>
    </div>
  );
}

const root = createRootRoute({
  component: Shell,
  validateSearch: texts,
  notFoundComponent: () => <Empty title="There is no such page"><Go to="/">Go to the start</Go></Empty>,
});

const parent = { getParentRoute: () => root };
const tree = root.addChildren([
  createRoute({ ...parent, path: '/', component: Home }),
  createRoute({ ...parent, path: '/incidents', component: lazyRouteComponent(() => import('./screens/Incidents'), 'Incidents') }),
  createRoute({ ...parent, path: '/incidents/$incident', component: lazyRouteComponent(() => import('./screens/Incident'), 'IncidentPage') }),
  createRoute({ ...parent, path: '/alerts', component: lazyRouteComponent(() => import('./screens/Alerts'), 'Alerts') }),
  createRoute({ ...parent, path: '/alerts/$alert', component: lazyRouteComponent(() => import('./screens/Alert'), 'AlertPage') }),
  createRoute({ ...parent, path: '/rules', component: lazyRouteComponent(() => import('./screens/Rules'), 'Rules') }),
  createRoute({ ...parent, path: '/rules/edit', component: lazyRouteComponent(() => import('./screens/RuleEditor'), 'RuleEditor') }),
  createRoute({ ...parent, path: '/silences', component: lazyRouteComponent(() => import('./screens/Silences'), 'Silences') }),
  createRoute({ ...parent, path: '/paging', component: lazyRouteComponent(() => import('./screens/Paging'), 'Paging') }),
  createRoute({ ...parent, path: '/on-call', component: lazyRouteComponent(() => import('./screens/OnCall'), 'OnCallPage') }),
  createRoute({ ...parent, path: '/remediations', component: lazyRouteComponent(() => import('./screens/Remediations'), 'Remediations') }),
  createRoute({ ...parent, path: '/metrics-explorer', component: lazyRouteComponent(() => import('./screens/Metrics'), 'Metrics') }),
  createRoute({ ...parent, path: '/logs', component: lazyRouteComponent(() => import('./screens/Logs'), 'Logs') }),
  createRoute({ ...parent, path: '/traces', component: lazyRouteComponent(() => import('./screens/Traces'), 'Traces') }),
  createRoute({ ...parent, path: '/traces/$trace', component: lazyRouteComponent(() => import('./screens/Trace'), 'TracePage') }),
  createRoute({ ...parent, path: '/errors', component: lazyRouteComponent(() => import('./screens/Errors'), 'Errors') }),
  createRoute({ ...parent, path: '/errors/$issue', component: lazyRouteComponent(() => import('./screens/Issue'), 'IssuePage') }),
  createRoute({ ...parent, path: '/services', component: lazyRouteComponent(() => import('./screens/Services'), 'Services') }),
  createRoute({ ...parent, path: '/services/$service', component: lazyRouteComponent(() => import('./screens/Service'), 'ServicePage') }),
  createRoute({ ...parent, path: '/dashboards', component: lazyRouteComponent(() => import('./screens/Boards'), 'Boards') }),
  createRoute({ ...parent, path: '/dashboards/$board', component: lazyRouteComponent(() => import('./screens/Board'), 'BoardPage') }),
  createRoute({ ...parent, path: '/sql', component: lazyRouteComponent(() => import('./screens/Sql'), 'Sql') }),
  createRoute({ ...parent, path: '/api-reference', component: lazyRouteComponent(() => import('./screens/Api'), 'Api') }),
  createRoute({ ...parent, path: '/system', component: lazyRouteComponent(() => import('./screens/System'), 'System') }),
]);

/** Parameters as plain texts, without the quotes that a JSON writer would put around `5` or `true`. */
function readSearch(text: string): Search {
  return Object.fromEntries(new URLSearchParams(text));
}
function writeSearch(search: Record<string, unknown>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(search)) if (typeof value === 'string' && value !== '') query.set(name, value);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

export const router = createRouter({
  routeTree: tree,
  parseSearch: readSearch,
  stringifySearch: writeSearch,
  defaultPreload: 'intent',
  defaultErrorComponent: Failed,
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
