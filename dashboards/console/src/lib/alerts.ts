/* What an alert's rule asks, and what its annotations point to. Pure. */
import type { AlertView, Labels, PromRule, Question, RuleGroup } from '../api/types';

/** The rule that made an alert, where there still is one. */
export const ruleOf = (groups: readonly RuleGroup[] | undefined, key: AlertView['rule']): PromRule | undefined =>
  groups?.filter((group) => group.name === key.group).flatMap((group) => group.rules).find((rule) => rule.name === key.name && rule.type === 'alerting' && (rule.source === undefined || rule.source === key.source));

/** What kind of question a rule asks. An incident's alerts do not say it themselves, and a rule that is gone says nothing: then the look of it decides. */
export const questionOf = (alert: Pick<AlertView, 'question' | 'expr'>, rule?: PromRule): Question =>
  alert.question ?? rule?.question ?? (/^(?:logs|spans|errors) \{[\s\S]*\} over \S+$|^\s*(?:SELECT|WITH)\s/i.test(alert.expr) ? 'sql' : 'promql');

/** Whether its expression is PromQL, which can be asked over any time and opened in Metrics. */
export const isPromql = (question: Question | undefined): boolean => question === undefined || question === 'promql' || question === 'anomaly';

export const serviceOf = (labels: Labels): string | undefined => labels.service_name ?? labels.service;

export type Evidence = { to: string; search?: Record<string, string>; text: string } | { href: string } | { text: string };

/** What an annotation points to inside the console: the trace, the error issue, the line of which an alert gives an example; or a page elsewhere. */
export function evidence(name: string, value: string): Evidence {
  if (name === 'example_trace' && /^[0-9a-fA-F]{32}$/.test(value)) return { to: `/traces/${value.toLowerCase()}`, text: value };
  if (name === 'issue') {
    const number = /^#(\d{1,15})\b/.exec(value)?.[1];
    return { to: number ? `/errors/${number}` : '/errors', text: value.replace(/ \(watchfire error show \d+\)$/, '') };
  }
  if (name === 'example_log' && value.trim() !== '') return { to: '/logs', search: { q: phrase(value) }, text: value };
  return /^https?:\/\//.test(value) ? { href: value } : { text: value };
}

/** A text as a phrase of the search line: one line of it, without the mark of a cut. */
export const phrase = (text: string): string => `"${(text.trim().split(/[\r\n]/)[0] ?? '').replace(/(?:…|\.\.\.)$/, '').slice(0, 200).trim().replace(/\\/g, '\\\\').replace(/"/g, '\\"')}"`;

/** Milliseconds during which an alert was not at rest. */
export const lifeOf = (alert: AlertView): { from: number; to: number | null } => ({ from: Date.parse(alert.state.active_at), to: alert.state.resolved_at ? Date.parse(alert.state.resolved_at) : null });

/** Alerts that fired within a time and are not among `own`: those of the same service first, then the newest. */
export function firedIn(alerts: readonly AlertView[], own: readonly string[], from: number, to: number, service: string | undefined): AlertView[] {
  const same = (one: AlertView): boolean => service !== undefined && serviceOf(one.labels) === service;
  return alerts
    .filter((one) => one.state.fired_at && !own.includes(one.id) && Date.parse(one.state.fired_at) <= to && (lifeOf(one).to ?? Infinity) >= from)
    .sort((a, b) => Number(same(b)) - Number(same(a)) || Date.parse(b.state.fired_at ?? '') - Date.parse(a.state.fired_at ?? ''));
}
