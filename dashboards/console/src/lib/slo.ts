/* Objectives out of the series that Watchfire's rules record (`slo:*`): what is promised, how much of the budget is left, how fast it goes. Pure. */
import type { Labels, QueryAnswer } from '../api/types';

export interface Slo {
  name: string;
  /** Labels beside the name, `service_name` among them if the objective has it. */
  labels: Labels;
  /** 0 to 1. */
  objective: number | null;
  /** 1: all of it; less than 0: more than there was. */
  left: number | null;
  /** How many times faster than allowed, over the last hour and over six. */
  burn: { hour: number | null; hours: number | null };
}

/** Metrics of these are asked in one question: `{__name__=~"slo:..."}`. */
export const SLO_QUERY = '{__name__=~"slo:(error_budget_remaining|objective):ratio"} or slo:burn_rate{window=~"1h|6h"}';

/** Objectives, the worst first. What is not known yet is null. */
export function slosOf(answer: QueryAnswer): Slo[] {
  const found = new Map<string, Slo>();
  if (answer.data.resultType !== 'vector') return [];
  for (const { metric, value } of answer.data.result) {
    const { __name__: metricName, slo, window, ...labels } = metric;
    if (slo === undefined) continue;
    const key = JSON.stringify([slo, Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1))]);
    const one = found.get(key) ?? { name: slo, labels, objective: null, left: null, burn: { hour: null, hours: null } };
    found.set(key, one);
    const number = Number(value[1]);
    const known = Number.isFinite(number) ? number : null;
    if (metricName === 'slo:objective:ratio') one.objective = known;
    else if (metricName === 'slo:error_budget_remaining:ratio') one.left = known;
    else if (window === '1h') one.burn.hour = known;
    else if (window === '6h') one.burn.hours = known;
  }
  return [...found.values()].sort((a, b) => (a.left ?? 2) - (b.left ?? 2) || (a.name < b.name ? -1 : 1));
}

/** Whether an objective is about a service: by label, or by name where it has no such label. */
export const isAbout = (slo: Slo, service: string): boolean => {
  const of = slo.labels.service_name ?? slo.labels.service;
  return of === undefined ? slo.name === service || slo.name.startsWith(`${service}-`) : of === service;
};

/** `99.9 %` without what binary fractions leave behind. */
export const objectiveText = (objective: number): string => `${Number((objective * 100).toPrecision(8))} %`;

/** An address of the web, or nothing: what stands in annotations and attributes is anybody's text. */
export function webAddress(text: string): string | undefined {
  try {
    const url = new URL(text.trim());
    return url.protocol === 'https:' || url.protocol === 'http:' ? url.href : undefined;
  } catch {
    return undefined;
  }
}
