import { expect, it } from 'vitest';
import type { Incident } from '../api/types';
import { endOf } from './incidents';

const began = { started: '2026-03-01T12:00:00Z', detected: '2026-03-01T12:01:00Z', acknowledged: null, mitigated: null, resolved: null, closed: null, cancelled: null };

it.each([
  ['lasts', {}, null],
  ['is resolved and closed', { resolved: '2026-03-01T13:00:00Z', closed: '2026-03-02T09:00:00Z' }, '2026-03-01T13:00:00Z'],
  ['was none', { cancelled: '2026-03-01T12:30:00Z' }, '2026-03-01T12:30:00Z'],
])('the end of one that %s', (_, clocks, end) => {
  expect(endOf({ clocks: { ...began, ...clocks } satisfies Incident['clocks'] })).toBe(end);
});
