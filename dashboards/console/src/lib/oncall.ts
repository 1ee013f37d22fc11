/* Who is on call: whose pages are whose, when a turn comes, how turns stand on a bar. Pure; milliseconds. */
import type { LadderRun, OnCall, Shift } from '../api/types';
import { formatMoment, momentIn, type Range } from './time';

/** Who looks: the user whose key asks, else the one that was picked here, as long as the configuration knows them. */
export const meOf = (onCall: OnCall | undefined, picked: string): string | null =>
  onCall?.you ?? (onCall?.users.some((one) => one.name === picked) ? picked : null);

/** The ladder runs that told one of somebody's receivers and are not over, the newest first. Where another run took a run's place, that one counts. */
export function pagesOf(runs: readonly LadderRun[], onCall: OnCall, user: string): LadderRun[] {
  const mine = new Set(onCall.users.find((one) => one.name === user)?.receivers ?? []);
  const seen = new Set<string>();
  return runs
    .filter((run) => run.status !== 'closed' && run.reason !== 'superseded' && run.notified.some((receiver) => mine.has(receiver)))
    .filter((run) => !seen.has(run.id) && seen.add(run.id))
    .sort((a, b) => Date.parse(b.started_at) - Date.parse(a.started_at));
}

export interface Turn {
  schedule: string;
  from: number;
  to: number;
}

/** Somebody's turns on all schedules, the earliest first. Shifts that follow one another without a gap are one turn. */
export function turnsOf(onCall: OnCall, user: string): Turn[] {
  return onCall.schedules.flatMap((schedule) => {
    const turns: Turn[] = [];
    for (const shift of schedule.shifts) {
      if (shift.user !== user) continue;
      const [from, to] = [Date.parse(shift.from), Date.parse(shift.to)];
      const last = turns.at(-1);
      if (last?.to === from) last.to = to;
      else turns.push({ schedule: schedule.name, from, to });
    }
    return turns;
  }).sort((a, b) => a.from - b.from || a.to - b.to);
}

/** The schedules that somebody has now, and the turn that comes next. A clock that is behind the server's is not believed: turns are told from its time on. */
export function standing(onCall: OnCall, user: string, clock: number): { now: Turn[]; next: Turn | undefined } {
  const now = Math.max(clock, Date.parse(onCall.at));
  const turns = turnsOf(onCall, user);
  return { now: turns.filter((one) => one.from <= now && one.to > now), next: turns.find((one) => one.from > now) };
}

/** Whom a name of a ladder's step means at present: a schedule's user, a team's people, a user's receivers; a plain receiver means itself. */
export function behind(name: string, onCall: OnCall | undefined): { people: string[]; known: boolean } {
  const schedule = onCall?.schedules.find((one) => one.name === name);
  if (schedule) return { people: schedule.user === null ? [] : [schedule.user], known: true };
  const team = onCall?.teams.find((one) => one.name === name);
  if (team) return { people: [...new Set(team.members.flatMap((member) => (member === name ? [] : onCall?.schedules.some((one) => one.name === member) ? behind(member, onCall).people : [member])))], known: true };
  const user = onCall?.users.find((one) => one.name === name);
  return user ? { people: user.receivers, known: true } : { people: [], known: false };
}

/** `primary: cy`; a plain receiver is its name. */
export function stepName(name: string, onCall: OnCall | undefined): string {
  const { people, known } = behind(name, onCall);
  return known ? `${name}: ${people.join(', ') || 'nobody'}` : name;
}

export interface Bar {
  shift: Shift;
  /** Percent of the whole. */
  left: number;
  width: number;
}

/** Shifts as bars within a span; what lies outside is left away, what reaches over an end is cut. */
export function barsOf(shifts: readonly Shift[], span: Range): Bar[] {
  const whole = span.to - span.from;
  if (!(whole > 0)) return [];
  return shifts.flatMap((shift) => {
    const from = Math.max(Date.parse(shift.from), span.from);
    const to = Math.min(Date.parse(shift.to), span.to);
    return to > from ? [{ shift, left: ((from - span.from) / whole) * 100, width: ((to - from) / whole) * 100 }] : [];
  });
}

/** The midnights of a zone within a span: days of 23 and 25 hours included. */
export function midnights(span: Range, zone: string): number[] {
  const found: number[] = [];
  // In steps of half a day: none skips a date, be the day of 23 hours.
  for (let at = span.from; at <= span.to + 43_200_000; at += 43_200_000) {
    const midnight = momentIn(formatMoment(at, zone).slice(0, 10), zone);
    if (midnight !== undefined && midnight > span.from && midnight < span.to && midnight !== found.at(-1)) found.push(midnight);
  }
  return found;
}

/** Whether two zones show different times at a moment. */
export const zonesDiffer = (at: number, one: string, other: string): boolean => one !== other && formatMoment(at, one) !== formatMoment(at, other);
