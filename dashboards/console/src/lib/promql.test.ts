import { describe, expect, it } from 'vitest';
import { apply, firstMetric, placeOf, suggest, type Known } from './promql';

/** `|` marks the cursor. */
const at = (text: string) => placeOf(text.replace('|', ''), text.indexOf('|'));
const known: Known = { metrics: ['http_requests_total', 'up', 'go_requests'], help: { up: 'whether it is up' }, labels: ['__name__', 'job', 'service_name'], values: ['a"b', 'api'] };

describe('places', () => {
  it.each([
    ['ra|', { kind: 'expression', start: 0, text: 'ra' }],
    ['sum(http_|', { kind: 'expression', start: 4, text: 'http_' }],
    ['up{jo|', { kind: 'label', start: 3, text: 'jo', metric: 'up' }],
    ['up{a="b", |}', { kind: 'label', start: 10, text: '', metric: 'up' }],
    ['up{job="ap|"}', { kind: 'value', start: 8, text: 'ap', label: 'job', metric: 'up' }],
    ['up{job=~"a|', { kind: 'value', start: 9, text: 'a', label: 'job', metric: 'up' }],
    ['{job="|', { kind: 'value', start: 6, text: '', label: 'job', metric: undefined }],
    ['rate(x[5|', { kind: 'range', start: 7, text: '5' }],
    ['sum by (|) (rate(up[5m]))', { kind: 'label', start: 8, text: '', metric: 'up' }],
    ['a "te|', { kind: 'none' }],
    ['up # com|', { kind: 'none' }],
    ['up > 12|', { kind: 'none' }],
    ['up{job="\\"", x|', { kind: 'label', start: 13, text: 'x', metric: 'up' }],
  ])('%s', (text, place) => expect(at(text)).toEqual(place));
});

it('the first metric is no function, keyword, label or value', () => {
  expect(firstMetric('sum by (service_name) (rate(x_total{a="up"}[5m]))')).toBe('x_total');
  expect(firstMetric('topk(3, time() - up)')).toBe('up');
  expect(firstMetric('1 + 2')).toBeUndefined();
});

it('suggestions: beginnings first, then words', () => {
  expect(suggest(at('req|'), known).map((one) => one.text)).toEqual(['go_requests', 'http_requests_total']);
  expect(suggest(at('ra|'), known).map((one) => one.insert)).toEqual(['rate(']);
  expect(suggest(at('up|'), known)[0]).toMatchObject({ text: 'up', detail: 'whether it is up' });
  expect(suggest(at('up{|'), known).map((one) => one.text)).toEqual(['job', 'service_name']);
  expect(suggest(at('up{job="a|'), known).map((one) => one.insert)).toEqual(['a\\"b', 'api']);
  expect(suggest(at('|'), known)).toEqual([]);
});

it('a suggestion takes the place of the whole word', () => {
  const place = at('sum(ra|te(x[5m]))');
  if (place.kind === 'none') throw new Error('no place');
  expect(apply('sum(rate(x[5m]))', place, 6, 'irate(')).toEqual({ text: 'sum(irate(x[5m]))', cursor: 9 });
});
