/* A remediation run over time: when it did what, and what the alert's values were before and after. Pure. */
import type { Remediation } from '../api/types';
import type { Range } from './time';

/** So long before a run its plot begins, and so long after its end it goes on: milliseconds. */
const BEFORE = 300_000;
const AFTER = 15_000;

/** When a run was over; nothing while it is not. */
export function endOf(run: Remediation): number | null {
  const ended = run.history.findLast((past) => past.event.kind === 'repair_finished')?.at ?? (run.state.state === 'finished' && typeof run.state.at === 'string' ? run.state.at : undefined);
  return ended === undefined ? null : Date.parse(ended);
}

/** From shortly before a run to its end, or to now. */
export function spanOfRun(run: Remediation): { id: string; live: boolean; resolve: () => Range } {
  const end = endOf(run);
  return { id: `${run.id}${end ?? ''}`, live: end === null, resolve: () => ({ from: Date.parse(run.created_at) - BEFORE, to: Math.min(end === null ? Infinity : end + AFTER, Date.now()) }) };
}

/** What it did, and what came out, as marks of a plot. */
export const marksOf = (run: Remediation): { at: number; name: string; color: string }[] => run.history.flatMap(({ at, event }) => {
  const rung = typeof event.rung === 'string' ? event.rung : '';
  const mark = (name: string, color: string) => [{ at: Date.parse(at) / 1_000, name: `${name} ${rung}`.trim(), color }];
  switch (event.kind) {
    case 'repair_acted': return mark(event.ok === false ? 'failed:' : 'acted:', '#f76808');
    case 'repair_checked': return mark(event.cleared === true ? 'cleared:' : 'not cleared:', event.cleared === true ? '#22a35f' : '#c99700');
    case 'repair_undone': return mark('undone:', '#8b5cf6');
    default: return [];
  }
});

export interface Moment {
  at: number;
  value: number;
}

/** The last value before its first act (or before it began, if it did nothing), and the newest one, unless that is older than `fresh`. Seconds. */
export function effectOf(run: Remediation, points: readonly (readonly [number, number])[], fresh: number): { before: Moment | undefined; after: Moment | undefined } {
  const acted = run.history.find((past) => past.event.kind === 'repair_acted')?.at ?? run.created_at;
  const moment = (point: readonly [number, number] | undefined): Moment | undefined => (point && Number.isFinite(point[1]) ? { at: point[0], value: point[1] } : undefined);
  const last = points.at(-1);
  return { before: moment(points.findLast(([at]) => at <= Date.parse(acted) / 1_000)), after: last && last[0] >= fresh ? moment(last) : undefined };
}
