import { expect, test } from 'vitest';
import { bucketExpr, heatmap } from './heatmap';

const series = (le: string, values: [number, string][], more = {}) => ({ metric: { le, ...more }, values });

test('cumulative buckets become cells between two bounds', () => {
  const found = heatmap([series('+Inf', [[1, '10'], [2, '4']]), series('0.5', [[1, '7'], [2, '4']]), series('0.1', [[1, '2'], [2, '4.0000001']])]);
  expect(found?.bounds).toEqual([0.1, 0.5, Infinity]);
  expect(found?.cells[0]).toEqual([2, 4.0000001]);
  expect(found?.cells[1]).toEqual([5, 0]);
  expect(found?.cells[2]).toEqual([3, 0]);
  expect(found?.most).toBe(5);
});

test('other labels are added up, gaps stay gaps', () => {
  const found = heatmap([series('1', [[1, '1']], { pod: 'a' }), series('1', [[1, '2'], [2, '3']], { pod: 'b' }), series('2', [[2, '5'], [3, 'NaN']])]);
  expect(found?.times).toEqual([1, 2]);
  expect(found?.cells).toEqual([[3, 3], [null, 2]]);
});

test('what has no buckets has no heatmap', () => {
  expect(heatmap([{ metric: { a: 'b' }, values: [[1, '1']] }])).toBeNull();
  expect(heatmap([series('1', [[1, '1']])])).toBeNull();
  expect(heatmap([series('x', [[1, '1']]), series('1', [[1, '1']])])).toBeNull();
});

test('an expression about buckets is made one for a heatmap', () => {
  expect(bucketExpr('histogram_quantile(0.95, sum by (le) (rate(http_seconds_bucket{job="a"}[5m])))', '60s')).toBe('sum by (le) (increase(http_seconds_bucket{job="a"}[60s]))');
  expect(bucketExpr('up', '60s')).toBeUndefined();
});
