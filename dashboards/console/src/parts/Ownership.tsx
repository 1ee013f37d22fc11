/* Whose a service is and what to do about it: from the attributes that its spans bring along, and from its rules and their annotations. */
import { get, sql } from '../api/client';
import { serviceIs } from '../api/red';
import type { RuleGroup } from '../api/types';
import { useAsk } from '../hooks';
import { promString } from '../lib/format';
import { webAddress } from '../lib/slo';
import { Facts, Go, Panel } from './basics';

const OWNERS = ['service.owner', 'owner', 'team', 'service.team', 'code.owner'];
const PLACES = ['service.namespace', 'service.version', 'deployment.environment.name', 'deployment.environment', 'telemetry.sdk.language', 'k8s.namespace.name', 'k8s.deployment.name', 'cloud.region'];
const ANNOTATIONS = /^(runbook|runbook_url|dashboard|dashboard_url|owner|team)$/;

function Linked({ text }: { text: string }) {
  const url = webAddress(text);
  return url === undefined ? <span className="wrap">{text}</span> : <a href={url} target="_blank" rel="noreferrer noopener" className="wrap">{text}</a>;
}

/** Whether a rule is about a service: by its label, or because its expression names it. */
export const isRuleOf = (rule: { labels: Record<string, string>; query: string }, service: string): boolean =>
  rule.labels.service_name === service || rule.labels.service === service || rule.query.includes(`service_name=${promString(service)}`) || rule.query.includes(`service=${promString(service)}`);

export function Ownership({ service }: { service: string }) {
  const resource = useAsk(['service', 'resource', service], async (signal) => {
    const answer = await sql(`SELECT resource FROM spans WHERE ${serviceIs(service)} AND ts > now() - INTERVAL 1 DAY ORDER BY ts DESC LIMIT 1`, signal);
    return { of: (answer.data[0]?.[0] ?? {}) as Record<string, string> };
  }, { live: 12 });
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), { live: 6 });
  const mine = (rules.data?.data.groups ?? []).flatMap((group) => group.rules.filter((rule) => rule.type === 'alerting' && isRuleOf(rule, service)).map((rule) => ({ rule, file: group.file })));
  const owners = [...new Set([...OWNERS.map((name) => resource.data?.of[name]), ...mine.flatMap(({ rule }) => [rule.labels.team, rule.labels.owner, rule.annotations?.owner, rule.annotations?.team])].filter((one): one is string => one !== undefined && one !== '' && !one.includes('{{')))];
  const runbooks = [...new Map(mine.flatMap(({ rule }) => Object.entries(rule.annotations ?? {}).filter(([name, value]) => ANNOTATIONS.test(name) && !/owner|team/.test(name) && value !== '').map(([name, value]) => [value, { name, value, rule: rule.name }] as const))).values()];
  const places = PLACES.flatMap((name): [string, string][] => (resource.data?.of[name] ? [[name, resource.data.of[name]]] : []));
  return (
    <Panel title="Whose it is, and what to do">
      <Facts of={[
        ['Owner', owners.length > 0 ? owners.join(', ') : <span key="o" className="muted">not said: set the resource attribute <code>service.owner</code>, or the label <code>team</code> on its rules</span>],
        ['Runbooks', runbooks.length > 0 ? <ul key="r" className="list">{runbooks.map((one) => <li key={one.value}><Linked text={one.value} /> <span className="muted small">{one.rule}</span></li>)}</ul> : <span key="r" className="muted">none: a rule names one with the annotation <code>runbook_url</code></span>],
        ['Rules', mine.length > 0 ? <span key="a" className="row" style={{ gap: '2px 12px' }}>{mine.slice(0, 12).map(({ rule, file }) => <Go key={rule.name + file} to="/rules" search={{ q: rule.name }}>{rule.name}</Go>)}</span> : <span key="a" className="muted">none names it</span>],
        ...places.map(([name, value]): [string, React.ReactNode] => [name, <span key={name} className="mono wrap">{value}</span>]),
      ]} />
    </Panel>
  );
}
