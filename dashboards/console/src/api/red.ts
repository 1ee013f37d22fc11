/* Rate, errors, duration of services, from the series that Watchfire computes from every span. */
import { instant } from './client';
import { promString, sqlString, weightSql } from '../lib/format';
import type { Labels, QueryAnswer } from './types';

const CALLS = 'traces_span_metrics_calls_total';
const BUCKETS = 'traces_span_metrics_duration_seconds_bucket';
const ENTRY = 'span_kind=~"SPAN_KIND_SERVER|SPAN_KIND_CONSUMER"';

const only = (matchers: string[]): string => `{${matchers.filter((one) => one !== '').join(',')}}`;

/** Expressions of one grouping. `matchers` restrict further. */
export function red(by: string, window: string, matchers: string[] = []) {
  const all = [ENTRY, ...matchers];
  const failed = [...all, 'status_code="STATUS_CODE_ERROR"'];
  const rate = `sum by (${by}) (rate(${CALLS}${only(all)}[${window}]))`;
  return {
    rate,
    errors: `(sum by (${by}) (rate(${CALLS}${only(failed)}[${window}])) or ${rate} * 0) / ${rate}`,
    quantile: (q: number) => `histogram_quantile(${q}, sum by (${by}, le) (rate(${BUCKETS}${only(all)}[${window}])))`,
  };
}

export const ofService = (service: string): string => `service_name=${promString(service)}`;

/** Values of a vector by one label. */
export function byLabel(answer: QueryAnswer, label: string): Map<string, number> {
  return answer.data.resultType === 'vector' ? new Map(answer.data.result.map((one) => [one.metric[label] ?? '', Number(one.value[1])])) : new Map();
}

export interface ServiceHealth {
  service: string;
  rate: number;
  errors: number;
  p95: number;
}

/** Every service that answered requests, the worst first. */
export async function services(at: number, window: string, signal?: AbortSignal): Promise<ServiceHealth[]> {
  const of = red('service_name', window);
  const [rate, errors, p95] = await Promise.all([instant(of.rate, at, signal), instant(of.errors, at, signal), instant(of.quantile(0.95), at, signal)]);
  const [errorsBy, p95By] = [byLabel(errors, 'service_name'), byLabel(p95, 'service_name')];
  const found = [...byLabel(rate, 'service_name')].map(([service, value]) => ({ service, rate: value, errors: errorsBy.get(service) ?? 0, p95: p95By.get(service) ?? NaN }));
  return found.sort((a, b) => b.errors - a.errors || b.rate - a.rate);
}

export const nameOf = (labels: Labels, fallback: string): string => Object.entries(labels).filter(([key]) => key !== '__name__').map(([, value]) => value).join(' · ') || labels.__name__ || fallback;

/** Who called whom, from spans whose parent is another service's, each counted for all that it stands for (`sample_rate`). Bounded by the newest spans of the span of time. */
export const callsSql = (from: number, to: number): string => `
SELECT p.service AS caller, c.service AS callee, sum(c.weight) AS calls, sumIf(c.weight, c.status = 'ERROR') AS errors, quantileTDigestWeighted(0.95)(c.duration, c.weight) AS p95
FROM (SELECT trace_id, parent_span_id, service, status, duration, ${weightSql} AS weight FROM spans WHERE ${within(from, to)} AND kind IN ('SERVER', 'CONSUMER') AND notEmpty(parent_span_id) ORDER BY ts DESC LIMIT 200000) AS c
INNER JOIN (SELECT trace_id, span_id, service FROM spans WHERE ${within(from, to)} ORDER BY ts DESC LIMIT 400000) AS p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
WHERE p.service != c.service
GROUP BY caller, callee ORDER BY calls DESC LIMIT 200`;

export const within = (from: number, to: number): string => `ts >= fromUnixTimestamp64Milli(${Math.floor(from)}) AND ts < fromUnixTimestamp64Milli(${Math.ceil(to)})`;
export const serviceIs = (service: string): string => `service = ${sqlString(service)}`;
