import { expect, it } from 'vitest';
import { places } from './graph';

const columns = (names: string[], edges: [string, string][]) => Object.fromEntries(places(names, edges.map(([from, to]) => ({ from, to }))).map((one) => [one.name, one.column]));

it('callees stand right of their callers, by the longest way', () => {
  expect(columns(['web', 'shop', 'db', 'pay'], [['web', 'shop'], ['shop', 'pay'], ['pay', 'db'], ['shop', 'db']])).toEqual({ web: 0, shop: 1, pay: 2, db: 3 });
});
it('loops and calls to itself end', () => {
  expect(columns(['a', 'b'], [['a', 'b'], ['b', 'a'], ['a', 'a']])).toEqual({ a: 0, b: 1 });
  expect(columns(['lonely'], [])).toEqual({ lonely: 0 });
});
it('no two stand in one place', () => {
  const names = Array.from({ length: 30 }, (_, at) => `s${at}`);
  const all = places(names, names.flatMap((from, at) => [{ from, to: `s${(at * 7 + 3) % 30}` }, { from, to: `s${(at * 11 + 5) % 30}` }]));
  expect(new Set(all.map((one) => `${one.column}/${one.row}`)).size).toBe(30);
});
