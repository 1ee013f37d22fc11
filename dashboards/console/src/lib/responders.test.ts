import { describe, expect, it } from 'vitest';
import type { Incident, OnCall, TimelineLine } from '../api/types';
import { reached, respondersOf } from './responders';

const at = (minute: number): string => `2026-11-22T12:${String(minute).padStart(2, '0')}:00Z`;
const line = (seq: number, kind: string, text: string, actor = 'watchfire (alerting)'): TimelineLine => ({ seq, at: at(seq), kind, text, actor });
const incident = { id: 'inc_1', alerts: ['alr_1'], acknowledged: { by: { actor: 'user', id: 'local' }, at: at(9) }, resolved_by: null, clocks: {} } as unknown as Incident;
const onCall = { users: [{ name: 'ada', receivers: ['ada-phone'], on_call: [] }] } as unknown as OnCall;

describe('whom a step reached', () => {
  it.each([
    ['ladder a, step 1: notifies ada (on call on primary), eve: ada-phone, eve-mail', [{ name: 'ada', why: 'on call on primary' }, { name: 'eve', why: '' }], ['ada-phone', 'eve-mail']],
    ['ladder a, step 1: notifies bob (of nights, on which nobody is on call): bob-phone', [{ name: 'bob', why: 'of nights, on which nobody is on call' }], ['bob-phone']],
    ['ladder a, step 1, round 2: notifies ops-mail', [], ['ops-mail']],
    ['something else', [], []],
  ])('%s', (text, people, receivers) => {
    expect(reached(text)).toEqual({ people, receivers });
  });
});

describe('responders', () => {
  it('are those who were paged and those who did something, who has it first', () => {
    const lines = [
      line(1, 'alert_fired', 'alert X fired'),
      line(2, 'ladder_step_taken', 'ladder a, step 1: notifies bob (of shop): bob-phone'),
      line(3, 'ladder_step_taken', 'ladder a, step 2: notifies ada-phone'),
      line(4, 'ladder_step_taken', 'ladder a, step 1, round 2: notifies bob (of shop): bob-phone'),
      line(5, 'incident_noted', 'note: x', 'eve'),
    ];
    const run = { subject: { about: 'alert', id: 'alr_1' }, notified: ['bob-phone', 'ops-mail'], started_at: at(1) } as never;
    expect(respondersOf(incident, lines, [run], onCall).map((one) => [one.name, one.has, one.deeds.map((deed) => `${deed.what} x${deed.times} ${deed.at}`)])).toEqual([
      ['local', true, [`acknowledged x1 ${at(9)}`]],
      ['eve', false, [`wrote a note x1 ${at(5)}`]],
      ['bob', false, [`paged (of shop) x2 ${at(4)}`]],
      ['ada', false, [`paged x1 ${at(3)}`]],
      ['ops-mail', false, [`paged x1 ${at(1)}`]],
    ]);
  });
});
