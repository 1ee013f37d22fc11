/* Numbers, labels and texts as people read them, and texts as ClickHouse and PromQL read them. Pure. */
import type { Actor, Labels } from '../api/types';
import { formatSeconds } from './time';

export type Unit = 'none' | 'ratio' | 'seconds' | 'bytes' | 'per-second';

/** A number in few characters: `1.24k`, `0.031`, `2.5M`. */
export function short(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  const size = Math.abs(value);
  for (const [least, letter] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e4, 'k']] as const) {
    if (size >= least) return `${digits(value / (letter === 'k' ? 1e3 : least))}${letter}`;
  }
  if (size !== 0 && size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return digits(value);
}

function digits(value: number): string {
  const size = Math.abs(value);
  const text = value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : size === 0 ? 0 : 4);
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
}

export function bytes(value: number): string {
  const names = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  let rest = value;
  while (Math.abs(rest) >= 1024 && at < names.length - 1) {
    rest /= 1024;
    at += 1;
  }
  return `${digits(rest)} ${names[at]}`;
}

export function percent(ratio: number): string {
  if (!Number.isFinite(ratio)) return '-';
  const value = ratio * 100;
  if (value !== 0 && Math.abs(value) < 0.01) return '<0.01 %';
  return `${Math.abs(value) >= 10 ? value.toFixed(1).replace(/\.0$/, '') : value.toFixed(2).replace(/\.?0+$/, '')} %`;
}

export function withUnit(value: number, unit: Unit): string {
  if (!Number.isFinite(value)) return short(value);
  switch (unit) {
    case 'ratio': return percent(value);
    case 'seconds': return formatSeconds(value);
    case 'bytes': return bytes(value);
    case 'per-second': return `${short(value)}/s`;
    case 'none': return short(value);
  }
}

/** Whole numbers with thin groups: `12 345`. */
export const count = (value: number): string => Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, '\u202f');

/** The unit that a PromQL expression's value most likely has. */
export function guessUnit(expr: string): Unit {
  if (/histogram_quantile|_seconds(_sum)?\b(?!.*(_total|_bucket|_count))/.test(expr)) return 'seconds';
  if (/_bytes\b/.test(expr) && !/\brate\(/.test(expr)) return 'bytes';
  const top = expr.replace(/\{[^}]*\}|\[[^\]]*\]|"[^"]*"/g, '');
  if (/\)\s*\/\s*(on\s*\(|ignoring\s*\(|sum|\()/.test(top)) return 'ratio';
  return 'none';
}

/** `{a="1", b="2"}`, with a metric's name in front. */
export function labelText(labels: Labels, without: string[] = []): string {
  const name = labels.__name__ ?? '';
  const rest = Object.entries(labels).filter(([key]) => key !== '__name__' && !without.includes(key));
  if (rest.length === 0) return name === '' ? '{}' : name;
  return `${name}{${rest.map(([key, value]) => `${key}=${promString(value)}`).join(', ')}}`;
}

/** A text as PromQL writes it. */
export function promString(text: string): string {
  return `"${text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t')}"`;
}

/** A text as ClickHouse writes it: whatever stands in it stays a text. */
export function sqlString(text: string): string {
  return `'${text.replace(/\\/g, '\\\\').replace(/'/g, "\\'").replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t').replace(/\0/g, '\\0')}'`;
}

/** How many a stored row of `spans` or `logs` stands for: sampling stores fewer than came. What says how many there were adds these up. */
export const weightSql = 'greatest(sample_rate, 1)';

/** A text inside a LIKE pattern. */
export const likeText = (text: string): string => text.replace(/\\/g, '\\\\').replace(/%/g, '\\%').replace(/_/g, '\\_');

export function actorName(actor: Actor | null | undefined): string {
  if (!actor) return '-';
  switch (actor.actor) {
    case 'system': return `watchfire (${actor.part ?? 'system'})`;
    case 'user': return actor.id ?? 'a person';
    case 'key': return `key ${(actor.id ?? '').slice(0, 12)}`;
    case 'chat': return `${actor.id ?? 'somebody'} in ${actor.provider ?? 'chat'}`;
    case 'provider': return actor.name ?? 'another service';
  }
}

/** A stable colour number for a name. */
export function hashOf(text: string): number {
  let hash = 2_166_136_261;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 16_777_619);
  return hash >>> 0;
}

/** A rule's condition `> 0.05` as operator and bound. */
export function parseThreshold(text: string): { op: string; bound: number } | undefined {
  const found = /^\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*$/.exec(text);
  const bound = Number(found?.[2]);
  return found?.[1] && !Number.isNaN(bound) ? { op: found[1], bound } : undefined;
}

/** Splits an alert expression without `thresholds` at its last top-level comparison with a number: `a / b > 0.5`. */
export function splitThreshold(expr: string): { expr: string; threshold: string } | undefined {
  const found = /^([\s\S]*\S)\s*(>=|<=|==|!=|>|<)\s*(?:bool\s+)?(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*$/i.exec(expr);
  if (!found?.[1]) return undefined;
  let depth = 0;
  for (const letter of found[1]) depth += letter === '(' ? 1 : letter === ')' ? -1 : 0;
  if (depth !== 0 || /\b(and|or|unless)\b[^)]*$/i.test(found[1])) return undefined;
  return { expr: found[1], threshold: `${found[2]} ${found[3]}` };
}

/** Rows as CSV, quoted as RFC 4180 says; a leading sign of a formula is disarmed for spreadsheets. */
export function csv(rows: unknown[][]): string {
  const cell = (value: unknown): string => {
    const raw = value === null || value === undefined ? '' : typeof value === 'object' ? JSON.stringify(value) : String(value);
    const text = typeof value === 'string' && /^[=+\-@\t\r]/.test(raw) ? `'${raw}` : raw;
    return /[",\n\r]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
  };
  return rows.map((row) => row.map(cell).join(',')).join('\r\n');
}
