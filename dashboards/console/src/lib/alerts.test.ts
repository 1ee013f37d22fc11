import { expect, it, test } from 'vitest';
import type { AlertView } from '../api/types';
import { evidence, firedIn, phrase, questionOf } from './alerts';
import { effectOf } from './repair';

it.each([
  ['logs {"match":"card refused"} over 5m', 'sql'], ['spans {"by":["service"]} over 10m', 'sql'], [' select count() AS value FROM logs', 'sql'], ['vector(1) > 0', 'promql'], ['logs_total > 5', 'promql'],
])('the look of %s', (expr, question) => {
  expect(questionOf({ expr })).toBe(question);
});

it.each([
  ['example_trace', 'AB'.repeat(16), { to: `/traces/${'ab'.repeat(16)}`, text: 'AB'.repeat(16) }],
  ['example_trace', 'javascript:alert(1)', { text: 'javascript:alert(1)' }],
  ['issue', '#12 Oops (watchfire error show 12)', { to: '/errors/12', text: '#12 Oops' }],
  ['issue', 'no number', { to: '/errors', text: 'no number' }],
  ['example_log', 'card "x" refused…', { to: '/logs', search: { q: '"card \\"x\\" refused"' }, text: 'card "x" refused…' }],
  ['runbook_url', 'https://example.org/x', { href: 'https://example.org/x' }],
  ['runbook_url', 'javascript:alert(1)', { text: 'javascript:alert(1)' }],
])('%s %s', (name, value, wanted) => {
  expect(evidence(name, value)).toEqual(wanted);
});

test('a phrase is one line', () => expect(phrase('one\\two\nthree')).toBe('"one\\\\two"'));

test('others that fired in a time, the same service first', () => {
  const alert = (id: string, from: number, to: number | null, service?: string): AlertView => ({ id, labels: service ? { service } : {}, state: { state: 'firing', active_at: new Date(from).toISOString(), fired_at: new Date(from).toISOString(), ...(to === null ? {} : { resolved_at: new Date(to).toISOString() }) } }) as unknown as AlertView;
  const all = [alert('own', 10, null), alert('late', 60, null), alert('early', 1, 5), alert('over', 5, 15), alert('on', 20, null), alert('same', 12, null, 'shop')];
  expect(firedIn(all, ['own'], 10, 50, 'shop').map((one) => one.id)).toEqual(['same', 'on', 'over']);
});

test('before the first act, and after', () => {
  const run = { created_at: '1970-01-01T00:00:10Z', history: [{ at: '1970-01-01T00:00:20Z', event: { kind: 'repair_acted' } }] } as never;
  const points = [[5, 1], [15, 2], [25, 3], [40, 0]] as const;
  expect(effectOf(run, points, 30)).toEqual({ before: { at: 15, value: 2 }, after: { at: 40, value: 0 } });
  expect(effectOf(run, points, 50).after).toBeUndefined();
  expect(effectOf(run, [], 0)).toEqual({ before: undefined, after: undefined });
});
