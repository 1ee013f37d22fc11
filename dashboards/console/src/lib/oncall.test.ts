import { describe, expect, it, test } from 'vitest';
import type { LadderRun, OnCall, Shift } from '../api/types';
import { barsOf, behind, meOf, midnights, pagesOf, standing, stepName, turnsOf, zonesDiffer } from './oncall';

const NOW = Date.parse('2026-11-22T12:00:00Z');
const at = (hours: number): string => new Date(NOW + hours * 3_600_000).toISOString();
const shift = (from: number, to: number, user: string | null, more: Partial<Shift> = {}): Shift => ({ from: at(from), to: at(to), user, layer: 1, override: null, ...more });
const schedule = (name: string, shifts: Shift[]): OnCall['schedules'][number] => ({ name, shifts, time_zone: 'UTC', user: shifts[0]?.user ?? null, until: shifts[0]?.to ?? null, next: null });
const onCall: OnCall = {
  at: at(0), you: null, overrides: [],
  schedules: [schedule('primary', [shift(0, 4, 'cy'), shift(4, 6, 'cy', { layer: null, override: 'ovr_1' }), shift(6, 30, 'ada'), shift(30, 54, 'cy')]), schedule('backup', [shift(0, 10, null), shift(10, 20, 'bob'), shift(20, 30, 'cy')])],
  users: [{ name: 'ada', receivers: ['ada-phone', 'ada-mail'], on_call: [] }, { name: 'bob', receivers: ['bob-phone'], on_call: [] }, { name: 'cy', receivers: ['cy-mail'], on_call: ['primary'] }],
  teams: [{ name: 'shop', members: ['cy', 'primary', 'bob', 'backup'] }],
};
const run = (id: string, notified: string[], more: Partial<LadderRun> = {}): LadderRun => ({ id, notified, ladder: { name: 'critical', repeat: 0, steps: [] }, next_at: null, round: 0, severity: 'critical', started_at: at(-1), status: 'running', step: 1, subject: { about: 'incident', id: 'inc_1' }, tenant: 'default', title: id, ...more });

describe('who I am', () => {
  it.each([[{ ...onCall, you: 'bob' }, 'ada', 'bob'], [onCall, 'ada', 'ada'], [onCall, 'gone', null], [onCall, '', null], [undefined, 'ada', null]])('%#', (answer, picked, me) => {
    expect(meOf(answer, picked)).toBe(me);
  });
});

test('my pages are those that told one of my receivers and are not over', () => {
  const runs = [
    run('old', ['ada-mail'], { started_at: at(-3) }), run('new', ['bob-phone', 'ada-phone']), run('bob', ['bob-phone']), run('over', ['ada-mail'], { status: 'closed' }),
    run('taken', ['ada-mail'], { status: 'stopped', reason: 'acknowledged', started_at: at(-2) }), run('followed', ['ada-mail'], { status: 'stopped', reason: 'superseded' }), run('new', ['ada-phone']),
  ];
  expect(pagesOf(runs, onCall, 'ada').map((one) => one.id)).toEqual(['new', 'taken', 'old']);
  expect(pagesOf(runs, onCall, 'nobody')).toEqual([]);
});

test('shifts that follow one another are one turn, and the next turn is another one', () => {
  expect(turnsOf(onCall, 'cy')).toEqual([{ schedule: 'primary', from: NOW, to: NOW + 6 * 3_600_000 }, { schedule: 'backup', from: NOW + 20 * 3_600_000, to: NOW + 30 * 3_600_000 }, { schedule: 'primary', from: NOW + 30 * 3_600_000, to: NOW + 54 * 3_600_000 }]);
  const found = standing(onCall, 'cy', NOW + 1_000);
  expect([found.now.map((one) => one.schedule), found.next?.schedule, found.next?.from]).toEqual([['primary'], 'backup', NOW + 20 * 3_600_000]);
  expect(standing(onCall, 'cy', NOW - 9_000).now.map((one) => one.schedule)).toEqual(['primary']);
  expect(standing(onCall, 'dee', NOW)).toEqual({ now: [], next: undefined });
});

describe('what a step names', () => {
  it.each([['primary', 'primary: cy'], ['backup', 'backup: nobody'], ['shop', 'shop: cy, bob'], ['ada', 'ada: ada-phone, ada-mail'], ['pagerduty', 'pagerduty']])('%s', (name, text) => {
    expect(stepName(name, onCall)).toBe(text);
  });
  it('a team in itself, and no answer yet', () => {
    expect(behind('odd', { ...onCall, teams: [{ name: 'odd', members: ['odd', 'ada'] }] }).people).toEqual(['ada']);
    expect(stepName('primary', undefined)).toBe('primary');
  });
});

test('bars are cut at the ends of the span', () => {
  const bars = barsOf([shift(-10, 0, 'ada'), shift(-5, 5, 'bob'), shift(5, 10, null), shift(10, 99, 'cy')], { from: NOW, to: NOW + 20 * 3_600_000 });
  expect(bars.map((one) => [one.shift.user, one.left, one.width])).toEqual([['bob', 0, 25], [null, 25, 25], ['cy', 50, 50]]);
  expect(barsOf([shift(0, 1, 'ada')], { from: NOW, to: NOW })).toEqual([]);
});

test('midnights are those of the zone, over a change of its clock too', () => {
  const span = { from: Date.parse('2026-10-23T21:59:00Z'), to: Date.parse('2026-10-26T23:30:00Z') };
  expect(midnights(span, 'Europe/Berlin').map((one) => new Date(one).toISOString())).toEqual(['2026-10-23T22:00:00.000Z', '2026-10-24T22:00:00.000Z', '2026-10-25T23:00:00.000Z', '2026-10-26T23:00:00.000Z']);
  expect(midnights(span, 'UTC')).toHaveLength(3);
  expect(midnights({ from: Date.parse('2026-03-28T22:30:00Z'), to: Date.parse('2026-03-30T12:00:00Z') }, 'Europe/Berlin').map((one) => new Date(one).toISOString())).toEqual(['2026-03-28T23:00:00.000Z', '2026-03-29T22:00:00.000Z']);
});

test('zones differ where their clocks do', () => {
  expect([zonesDiffer(NOW, 'Europe/Berlin', 'Europe/Paris'), zonesDiffer(NOW, 'Europe/Berlin', 'UTC')]).toEqual([false, true]);
});
