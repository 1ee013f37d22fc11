import { expect, test } from 'vitest';
import { calls, compare, flame } from './profile';
import type { Span } from './waterfall';

const span = (id: string, parent: string, name: string, start: number, duration: number, status = 'OK'): Span => ({ id, parent, service: 's', name, kind: 'SERVER', status, start, duration });

test('spans of one name below one call are one call', () => {
  const [root] = calls([span('r', '', 'GET', 0, 100), span('a', 'r', 'query', 10, 20), span('b', 'r', 'query', 40, 30, 'ERROR'), span('c', 'r', 'render', 80, 10)]);
  expect(root?.sums).toEqual({ spans: 1, total: 100, self: 40, failed: 0 });
  expect(root?.children.map((call) => [call.name, call.sums.spans, call.sums.total, call.sums.failed, call.longest])).toEqual([['query', 2, 50, 1, 'b'], ['render', 1, 10, 0, 'c']]);
});

test('children side by side are counted once for their parent, and share its width', () => {
  const roots = calls([span('r', '', 'GET', 0, 100), span('a', 'r', 'a', 0, 80), span('b', 'r', 'b', 20, 80)]);
  expect(roots[0]?.sums.self).toBe(0);
  const [top, below] = flame(roots);
  expect(top?.map((box) => box.width)).toEqual([1]);
  expect(below?.map((box) => [box.left, box.width])).toEqual([[0, 0.5], [0.5, 0.5]]);
});

test('a child that outlasts its parent takes no more than there is', () => {
  const roots = calls([span('r', '', 'GET', 0, 10), span('a', 'r', 'late', 5, 100)]);
  expect(roots[0]?.sums.self).toBe(5);
  expect(flame(roots)[1]?.[0]?.width).toBe(1);
});

test('loops and orphans end', () => {
  const roots = calls([span('a', 'b', 'x', 0, 5), span('b', 'a', 'y', 1, 5), span('c', 'gone', 'z', 2, 5)]);
  expect(roots.length).toBe(2);
});

test('ten thousand spans are one pass', () => {
  const many = Array.from({ length: 10_000 }, (_, at) => span(String(at), at === 0 ? '' : String(Math.floor((at - 1) / 3)), `op ${at % 20}`, at, 20_000 - at));
  const roots = calls(many);
  const count = (all: typeof roots): number => all.reduce((sum, call) => sum + call.sums.spans + count(call.children), 0);
  expect(count(roots)).toBe(10_000);
});

test('two traces are compared call by call', () => {
  const a = calls([span('r', '', 'GET', 0, 100), span('a', 'r', 'cache', 10, 20), span('b', 'r', 'query', 40, 30)]);
  const b = calls([span('r', '', 'GET', 0, 400), span('b', 'r', 'query', 40, 330), span('c', 'r', 'retry', 380, 10)]);
  expect(compare(a, b).map((row) => [row.name, row.depth, row.a?.total ?? null, row.b?.total ?? null, row.change])).toEqual([
    ['GET', 0, 100, 400, 10], ['query', 1, 30, 330, 300], ['cache', 1, 20, null, -20], ['retry', 1, null, 10, 10],
  ]);
});
