import { describe, expect, it } from 'vitest';
import { formatClock, formatDay, formatMoment, formatSeconds, momentIn, parseMoment, rangeName, relative, resolveRange, stepFor, wholeMoment, zoneName } from './time';

const NOW = Date.parse('2026-11-21T12:00:00Z');

describe('moments', () => {
  it.each([['now', NOW], ['now-15m', NOW - 900_000], ['now-2d', NOW - 172_800_000], [String(NOW), NOW], ['2026-11-21T11:00:00Z', NOW - 3_600_000], ['yesterday-ish', undefined]])('%s', (text, at) => {
    expect(parseMoment(text, NOW)).toBe(at);
  });
  it('a span that runs backwards or cannot be read is an hour', () => {
    expect(resolveRange('now', 'now-1h', NOW)).toEqual({ from: NOW - 7_200_000, to: NOW - 3_600_000 });
    expect(resolveRange('x', 'y', NOW)).toEqual({ from: NOW - 3_600_000, to: NOW });
  });
  it('is written in the zone asked for', () => {
    expect(formatMoment(NOW, 'UTC')).toBe('2026-11-21 12:00:00');
    expect(formatMoment(NOW, 'Asia/Kolkata')).toBe('2026-11-21 17:30:00');
    expect(formatClock(NOW + 42, 'UTC', true)).toBe('12:00:00.042');
    expect(formatMoment(Date.parse('2026-11-21T00:00:00Z'), 'UTC')).toBe('2026-11-21 00:00:00');
    expect(zoneName(NOW, 'UTC')).toBe('UTC');
    expect(formatDay(NOW, 'Asia/Kolkata')).toBe('Sat 21 Nov, 17:30');
  });
  it('is read in the zone that it was written in', () => {
    expect(momentIn('2026-11-21 17:30', 'Asia/Kolkata')).toBe(NOW);
    expect(momentIn('2026-03-29 04:00', 'Europe/Berlin')).toBe(Date.parse('2026-03-29T02:00:00Z'));
    expect(momentIn('tomorrow-ish', 'UTC')).toBeUndefined();
  });
  it('spans have names', () => {
    expect(rangeName('now-6h', 'now', 'UTC')).toBe('Last 6 hours');
    expect(rangeName(undefined, undefined, 'UTC')).toBe('Last hour');
    expect(rangeName(String(NOW - 60_000), String(NOW), 'UTC')).toBe('2026-11-21 11:59:00 to 2026-11-21 12:00:00');
  });
});

it.each([[0, '0s'], [0.0000012, '1.2µs'], [0.0123, '12.3ms'], [0.9, '900ms'], [44.3, '44.3s'], [125, '2m 5s'], [3_600, '1h'], [11_520, '3h 12m'], [435_600, '5d 1h'], [-125, '-2m 5s'], [NaN, '-'], [59.999, '60s']])('%d seconds are %s', (seconds, text) => {
  expect(formatSeconds(seconds)).toBe(text);
});

it('relative times look both ways', () => {
  expect(relative(NOW - 2_000, NOW)).toBe('just now');
  expect(relative(NOW - 240_000, NOW)).toBe('4m ago');
  expect(relative(NOW + 7_200_000, NOW)).toBe('in 2h');
});

it('steps are nice and give at most so many points', () => {
  expect(stepFor({ from: 0, to: 3_600_000 }, 240)).toBe(15);
  expect(stepFor({ from: 0, to: 60_000 }, 240)).toBe(1);
  expect(stepFor({ from: 0, to: 86_400_000 * 365 }, 100)).toBe(86_400 * 4);
});

describe('a moment in full', () => {
  it.each([['Europe/Berlin', 'Europe/Berlin', ['2026-11-21 13:00:00 CET', '2026-11-21 12:00:00 UTC']], ['UTC', 'Europe/Berlin', ['2026-11-21 12:00:00 UTC', '2026-11-21 13:00:00 CET']], ['UTC', 'UTC', ['2026-11-21 12:00:00 UTC']]])('in %s of a machine in %s', (zone, own, all) => {
    expect(wholeMoment(NOW, zone, own)).toEqual(all);
  });
});
