import { expect, test } from 'vitest';
import { lineOf, nameProblem, newRule, newTest, seriesOf, spanOfLine, strip } from './rulefile';

test('a new rule is over the expression, with a comparison', () => {
  expect(newRule('sum(rate(a{b="x > y"}[5m]))')).toContain("expr: 'sum(rate(a{b=\"x > y\"}[5m])) > 0'");
  expect(newRule('a > 5')).toContain("expr: 'a > 5'");
  expect(newRule("a{b='it'}")).toContain("expr: 'a{b=''it''} > 0'");
  expect(newRule('')).toContain("expr: 'up == 0'");
  expect(newTest(newRule(''))).toContain('alertname: NewAlert');
});

const rule = (source: string, rest = ''): string => `groups:\n- name: g\n  rules:\n  - record: a:b\n    expr: x\n  - alert: Refused\n    ${source}\n${rest}  - alert: Other\n    logs: { match: never }\n`;

test('a new test has data of the kind that the rule asks for', () => {
  const logs = newTest(rule('logs: { match: [refused, "by bank"], severity: warn, by: service }', '    thresholds: { warning: "> 2" }\n'));
  expect(logs).toContain(`    input_logs:\n      - { at: 10s, count: 300, every: 1s, body: 'refused by bank', severity: warn, service: shop }\n`);
  expect(logs).toContain('alertname: Refused\n        exp_alerts:\n          - exp_labels: { service_name: shop, severity: warning }\n');
  const block = newTest(rule('logs:\n      match: refused\n      service: checkout', '    labels:\n      severity: high\n'));
  expect(block).toContain('body: refused, severity: error, service: checkout }');
  expect(block).toContain('exp_labels: { severity: high }\n            exp_annotations: { example_log: refused }\n');
  const long = newTest(rule('expr: up{job="web"} == 0', `    for: 10m\n    annotations: { summary: '{{ $labels.job }} is {{ $value }}', more: '{{ $value | humanize }}' }\n`));
  expect(long).toContain('eval_time: 13m');
  expect(long).toContain(`# Add the annotations with numbers, which the first run shows.\n          - exp_labels: { job: web }\n            exp_annotations: { summary: 'web is 0' }\n`);
  const spans = newTest(rule('spans: { service: shop, by: [service, operation], ratio: { status: error } }', '    thresholds: { critical: "> 0.5", warning: "> 0.1" }\n'));
  expect(spans).toContain('    input_spans:\n      - { at: 10s, count: 300, every: 1s, service: shop, operation: pay, status: error, duration: 2s }\n');
  expect(spans).toContain('exp_labels: { service_name: shop, span_name: pay, severity: critical }');
  const errors = newTest(rule('errors: { is: spiking, minimum: 10, by: service }'));
  expect(errors).toContain(`    input_errors:\n      - { at: 4m10s, count: 50, every: 1s, service: shop, type: KeyError, message: missing, release: '1.0', user: ana }\n`);
  expect(errors).toContain('exp_labels: { service_name: shop }');
  const back = newTest(rule('errors: { is: regressed, service: cart, type: IOError }'));
  expect(back).toContain(`      - { at: 2m10s, service: cart, type: IOError, message: missing, release: '1.0' }\n    people:\n      - { at: 1m, resolve_error: IOError }\n`);
  expect(back).toContain(`exp_labels: { issue: '1', service_name: cart }`);
  expect(newTest(rule('errors: { is: new }'))).toContain('# Add `fingerprint`');
  expect(newTest(rule('sql: SELECT count() AS value FROM spans WHERE ts > {from} AND ts <= {to}'))).toContain('input_spans:');
  expect(newTest(rule('expr: up{job="web"} == 0'))).toContain(`      - series: 'up{job="web"}'\n        values: '0x24'\n`);
  const sum = newTest(rule("expr: 'sum by (service_name) (rate(calls_total{code=~\"5..|x\",a!=\"b\"}[5m])) > 5'"));
  expect(sum).toContain(`      - series: 'calls_total{code="500",service_name="shop"}'\n        values: '0+6000x24'\n`);
  expect(sum).toContain('exp_labels: { service_name: shop }');
  const braces = newTest("groups:\n- name: g\n  rules:\n  - { alert: Down, expr: 'min by (job, zone) (up{job=\"web\"}) == 0', labels: { severity: high } }\n");
  expect(braces).toContain(`      - series: 'up{job="web",zone="shop"}'\n        values: '0x24'\n`);
  expect(braces).toContain('alertname: Down\n        exp_alerts:\n          - exp_labels: { job: web, zone: shop, severity: high }\n');
  expect(newTest('groups:\n- name: g\n  rules:\n  - { alert: Always, expr: vector(1), labels: { severity: high } }\n')).toContain(`series: 'up{}'`);
});

test('the series of an expression is found', () => {
  expect(seriesOf('sum by (job) (rate(http_total{job="a b"}[5m])) / on (job) x')).toEqual({ metric: 'http_total', labels: { job: 'a b' } });
  expect(seriesOf('{__name__="up", job="x"}')).toEqual({ metric: 'up', labels: { job: 'x' } });
  expect(seriesOf('histogram_quantile(0.9, sum(rate(d_bucket[1m])) without (le))')).toEqual({ metric: 'd_bucket', labels: {} });
  expect(seriesOf('absent(up{a=~".+"})')).toEqual({ metric: 'up', labels: { a: 'x' } });
  expect([seriesOf('vector(1)').metric, seriesOf('1e3 > 5').metric, seriesOf('').metric]).toEqual(['', '', '']);
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
