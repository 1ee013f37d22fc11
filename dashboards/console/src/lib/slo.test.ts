import { expect, test } from 'vitest';
import { isAbout, objectiveText, slosOf, webAddress } from './slo';

const sample = (name: string, value: string, labels: Record<string, string>) => ({ metric: { __name__: name, ...labels }, value: [1, value] as [number, string] });

test('the series of an objective become one line, the worst first', () => {
  const found = slosOf({
    warnings: [], infos: [], data: { resultType: 'vector', result: [
      sample('slo:objective:ratio', '0.999', { slo: 'good', team: 'a' }), sample('slo:error_budget_remaining:ratio', '0.8', { team: 'a', slo: 'good' }),
      sample('slo:error_budget_remaining:ratio', '-0.2', { slo: 'bad', service_name: 'shop' }), sample('slo:burn_rate', '14.4', { slo: 'bad', service_name: 'shop', window: '1h' }), sample('slo:burn_rate', 'NaN', { slo: 'bad', service_name: 'shop', window: '6h' }),
      sample('other', '1', {}),
    ] },
  });
  expect(found).toEqual([
    { name: 'bad', labels: { service_name: 'shop' }, objective: null, left: -0.2, burn: { hour: 14.4, hours: null } },
    { name: 'good', labels: { team: 'a' }, objective: 0.999, left: 0.8, burn: { hour: null, hours: null } },
  ]);
  expect(found.map((one) => isAbout(one, 'shop'))).toEqual([true, false]);
  expect(objectiveText(0.999)).toBe('99.9 %');
});

test('only addresses of the web are links', () => {
  expect(webAddress('https://wiki.example/runbook?a=1')).toBe('https://wiki.example/runbook?a=1');
  for (const bad of ['javascript:alert(1)', ' javascript:alert(1)', 'data:text/html,x', 'wiki', '//evil.example', '']) expect(webAddress(bad)).toBeUndefined();
});
