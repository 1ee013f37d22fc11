import { expect, it } from 'vitest';
import { readExposition, sumOf } from './exposition';

it('samples are read with their labels', () => {
  const all = readExposition('# HELP a b\na 1\nb_total{x="1",y="a\\"}\\n"} 2.5e3\nb_total{x="2"} +Inf 123\nnonsense\n');
  expect(all).toEqual([{ name: 'a', labels: {}, value: 1 }, { name: 'b_total', labels: { x: '1', y: 'a"}\n' }, value: 2500 }, { name: 'b_total', labels: { x: '2' }, value: Infinity }]);
  expect(sumOf(all, 'b_total', { x: '1' })).toBe(2500);
  expect(sumOf(all, 'none')).toBeUndefined();
});
