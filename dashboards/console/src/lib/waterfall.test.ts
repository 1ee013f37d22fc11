import { expect, it } from 'vitest';
import { criticalPath, extent, layout, pathShare, type Span } from './waterfall';

const span = (id: string, parent: string, start: number, duration: number): Span => ({ id, parent, start, duration, service: 's', name: id, kind: 'SERVER', status: 'UNSET' });
const tree = (spans: Span[], collapsed?: Set<string>): string[] => layout(spans, collapsed).map((row) => `${'.'.repeat(row.depth)}${row.span.id}`);
const path = (spans: Span[]): string => criticalPath(spans).map((one) => `${one.id}:${one.start}-${one.end}`).join(' ');

it('rows are a tree in order of start, whatever order the spans come in', () => {
  const spans = [span('d', 'b', 30, 5), span('c', 'a', 50, 10), span('a', '', 0, 100), span('b', 'a', 10, 40)];
  expect(tree(spans)).toEqual(['a', '.b', '..d', '.c']);
  expect(tree(spans, new Set(['b']))).toEqual(['a', '.b', '.c']);
  expect(layout(spans)[0]?.children).toBe(2);
});
it('missing parents make roots, loops end, doubles count once', () => {
  const rows = layout([span('x', 'gone', 5, 1), span('a', '', 0, 10), span('a', '', 0, 10)]);
  expect(rows.map((row) => [row.span.id, row.orphan])).toEqual([['a', false], ['x', true]]);
  expect(tree([span('p', 'q', 0, 1), span('q', 'p', 1, 1)])).toEqual(['p', '.q']);
  expect(tree([span('self', 'self', 0, 1)])).toEqual(['self']);
});
it('the extent holds every span', () => {
  expect(extent([span('a', '', 5, 10), span('b', 'a', 0, 3)])).toEqual({ start: 0, end: 15 });
  expect(extent([])).toEqual({ start: 0, end: 1 });
});
it('the critical path of calls in turn goes through each', () => {
  expect(path([span('a', '', 0, 100), span('b', 'a', 10, 30), span('c', 'a', 50, 40)])).toBe('a:0-10 b:10-40 a:40-50 c:50-90 a:90-100');
});
it('of calls side by side it takes the one that ended last', () => {
  expect(path([span('a', '', 0, 100), span('fast', 'a', 10, 20), span('slow', 'a', 10, 80)])).toBe('a:0-10 slow:10-90 a:90-100');
});
it('children that outlive their parent are cut; pieces add up to the root', () => {
  const spans = [span('a', '', 0, 100), span('b', 'a', 90, 50), span('c', 'b', 95, 100), span('d', 'a', 20, 60)];
  const pieces = criticalPath(spans);
  expect(pieces.reduce((sum, one) => sum + one.end - one.start, 0)).toBe(100);
  expect(pathShare(pieces).get('d')).toBe(60);
});
it('random trees: disjoint pieces, as long as the root, and every span has one row', () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed % below;
  };
  for (let round = 0; round < 200; round += 1) {
    const spans = [span('0', '', 0, 1_000)];
    for (let at = 1; at < 40; at += 1) spans.push(span(String(at), String(random(at)), random(1_200), random(500)));
    expect(layout(spans)).toHaveLength(40);
    const pieces = criticalPath(spans);
    pieces.forEach((one, at) => expect(one.start).toBeGreaterThanOrEqual(at === 0 ? 0 : (pieces[at - 1]?.end ?? 0)));
    expect(pieces.reduce((sum, one) => sum + one.end - one.start, 0)).toBe(1_000);
  }
});
it('ten thousand spans in one line are no depth for a stack', () => {
  const spans = Array.from({ length: 10_000 }, (_, at) => span(String(at), at === 0 ? '' : String(at - 1), at, 20_000 - 2 * at));
  expect(layout(spans)).toHaveLength(10_000);
  expect(criticalPath(spans).length).toBeGreaterThan(9_000);
});
