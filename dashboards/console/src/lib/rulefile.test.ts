import { expect, test } from 'vitest';
import { lineOf, nameProblem, newRule, newTest, spanOfLine, strip } from './rulefile';

test('a new rule is over the expression, with a comparison', () => {
  expect(newRule('sum(rate(a{b="x > y"}[5m]))')).toContain("expr: 'sum(rate(a{b=\"x > y\"}[5m])) > 0'");
  expect(newRule('a > 5')).toContain("expr: 'a > 5'");
  expect(newRule("a{b='it'}")).toContain("expr: 'a{b=''it''} > 0'");
  expect(newRule('')).toContain("expr: 'up == 0'");
  expect(newTest(newRule(''))).toContain('alertname: NewAlert');
});

test('problems lead to their lines', () => {
  expect(lineOf('shop.yml, line 5: `expr` is wrong', 'shop.yml')).toBe(5);
  expect(lineOf('other.yml, line 5: x', 'shop.yml')).toBeUndefined();
  expect(lineOf('shop.yml: x', 'shop.yml')).toBeUndefined();
  expect(spanOfLine('ab\ncd\ne', 2)).toEqual([3, 5]);
  expect(spanOfLine('ab\ncd\ne', 3)).toEqual([6, 7]);
  expect(spanOfLine('ab', 9)).toEqual([0, 2]);
});

test('names stay in the folder', () => {
  for (const good of ['a.yml', 'shop/a-b.yaml']) expect(nameProblem(good)).toBeUndefined();
  for (const bad of ['', 'a', '../a.yml', '/a.yml', '.a.yml', 'a//b.yml', 'a b.yml']) expect(nameProblem(bad)).toBeDefined();
});

test('an alert is a strip within the span', () => {
  const at = (seconds: number): string => new Date(seconds * 1_000).toISOString();
  expect(strip({ pending: at(0), fired: at(50), ended: at(75) }, 0, 100_000)).toEqual({ pending: [0, 0.5], firing: [0.5, 0.75] });
  expect(strip({ pending: at(20), fired: null, ended: at(30) }, 0, 100_000)).toEqual({ pending: [0.2, 0.3], firing: null });
  expect(strip({ pending: at(10), fired: at(90), ended: null }, 50_000, 100_000)).toEqual({ pending: [0, 0.8], firing: [0.8, 1] });
  expect(strip({ pending: at(1), fired: at(2), ended: at(3) }, 50_000, 100_000)).toEqual({ pending: null, firing: null });
});
