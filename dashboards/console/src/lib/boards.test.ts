import { expect, test } from 'vitest';
import { ALL, chosenOf, dependents, fill, fromGrafana, joinValues, labelValues, legendOf, splitValues, toYaml, variablesIn } from './boards';

test('variables are filled in as the place needs it', () => {
  const chosen = { service: 'a.b"c', every: ALL, n: '5' };
  expect(fill('up{s="$service"}', chosen, 15, 60)).toBe('up{s="a.b\\"c"}');
  expect(fill('up{s=~"${service:regex}", t=~"$every"}', chosen, 15, 60)).toBe('up{s=~"a\\\\.b\\"c", t=~".*"}');
  expect(fill('topk($n, rate(x[$__rate_interval]) + [[n]]) + $unknown', chosen, 15, 60)).toBe('topk(5, rate(x[60s]) + 5) + $unknown');
  expect(fill('avg_over_time(x[$__range:$__interval])', {}, 30, 3_600)).toBe('avg_over_time(x[3600s:30s])');
});

test('several values are one regular expression, and one text of the address', () => {
  expect(fill('up{job=~"$job"}', { job: ['a.b', 'c'] }, 15, 60)).toBe('up{job=~"(a\\\\.b|c)"}');
  expect(fill('up{job=~"x-$job"}', { job: ['a', ALL] }, 15, 60)).toBe('up{job=~"x-.*"}');
  expect(fill('up{job=~"$job"}', { job: ['a'] }, 15, 60)).toBe('up{job=~"a"}');
  for (const values of [['a'], ['a', 'b'], ['a|b', 'c\\', '\\|'], ['', 'x'], ['a\\b']]) expect(splitValues(joinValues(values))).toEqual(values);
  const variable = { name: 'job', label: null, query: 'label_values(job)', options: [], default: null, all: true };
  expect(chosenOf(variable, 'a|b', [])).toEqual(['a', 'b']);
  expect(chosenOf({ ...variable, all: false }, 'a|b', [])).toEqual(['a|b']);
  expect([chosenOf(variable, undefined, ['x']), chosenOf({ ...variable, all: false }, undefined, ['x'])]).toEqual([[ALL], ['x']]);
});

test('a variable whose question names another hangs on it', () => {
  const variable = (name: string, query: string) => ({ name, label: null, query, options: [], default: null, all: false });
  const all = [variable('job', 'label_values(up, job)'), variable('instance', 'label_values(up{job="$job"}, instance)'), variable('disk', 'label_values(d{i=~"${instance:regex}"}, disk)'), variable('jobs', 'label_values(x, job)')];
  expect(variablesIn('a{b="$job", c=~"[[d]]"} $job ${e:regex}')).toEqual(['job', 'd', 'e']);
  expect(dependents('job', all)).toEqual(['instance', 'disk']);
  expect(dependents('disk', all)).toEqual([]);
  expect(dependents('a', [variable('a', '$b'), variable('b', '$a')])).toEqual(['b']);
});

test('legends and label queries are read', () => {
  expect(legendOf('{{ a }} of {{b}}', { a: 'x' })).toBe('x of ');
  expect(labelValues('label_values(up{job="a, b"}, instance)')).toEqual({ label: 'instance', selector: 'up{job="a, b"}' });
  expect(labelValues('label_values(job)')).toEqual({ label: 'job' });
  expect(labelValues('query_result(up)')).toBeUndefined();
});

const grafana = {
  dashboard: {
    title: 'Node', time: { from: 'now-6h' }, refresh: '30s',
    templating: { list: [
      { type: 'datasource', name: 'ds' }, { type: 'query', name: 'job', includeAll: true, query: { query: 'label_values(up, job)' } },
      { type: 'custom', name: 'w', query: '1m, 5m' }, { type: 'query', name: 'odd', query: 'metrics(.*)' },
    ] },
    panels: [
      { type: 'timeseries', title: 'CPU', gridPos: { w: 12, h: 8 }, fieldConfig: { defaults: { unit: 'percentunit', custom: { drawStyle: 'bars' }, thresholds: { steps: [{ value: null }, { value: 0.5 }, { value: 0.9 }] } } }, targets: [{ expr: 'rate(cpu{job=~"$job"}[$w])', legendFormat: '{{cpu}}' }, { expr: 'x', hide: true }] },
      { type: 'row', title: 'More', panels: [{ type: 'stat', title: 'Up', targets: [{ expr: 'up', legendFormat: '__auto' }] }] },
      { type: 'text', title: 'Hi', options: { content: '# Hi' } },
      { type: 'nodeGraph', title: 'Graph' },
      { type: 'graph', title: 'Loki', targets: [{ query: '{}' }] },
    ],
  },
};

test("Grafana's boards are taken over, and what cannot be is told", () => {
  const { board, left } = fromGrafana(grafana);
  expect(board.time).toBe('6h');
  expect(board.variables.map((one) => [one.name, one.query, one.options, one.all])).toEqual([['job', 'label_values(up, job)', [], true], ['w', null, ['1m', '5m'], false]]);
  expect(board.panels.map((one) => [one.title, one.kind, one.width, one.unit])).toEqual([['CPU', 'bars', 6, 'ratio'], ['Up', 'stat', 6, 'none'], ['Hi', 'text', 6, 'none']]);
  expect(board.panels[0]?.queries).toEqual([{ expr: 'rate(cpu{job=~"$job"}[$w])', legend: '{{cpu}}' }]);
  expect(board.panels[0]?.thresholds).toEqual({ critical: '> 0.9', warning: '> 0.5' });
  expect(left).toHaveLength(3);
  expect(() => fromGrafana([])).toThrow('no board');
});

test("Grafana's heatmaps of buckets are taken over; those of lines become lines", () => {
  const panel = { type: 'heatmap', title: 'H', options: { yAxis: { unit: 's' } }, targets: [{ expr: 'sum by (le) (rate(x_bucket[5m]))', format: 'heatmap' }] };
  const { board, left } = fromGrafana({ panels: [panel, { ...panel, title: 'C', options: { calculate: true } }], templating: { list: [{ type: 'query', name: 'm', multi: true, query: 'label_values(m)' }] } });
  expect(board.panels.map((one) => [one.kind, one.unit])).toEqual([['heatmap', 'seconds'], ['lines', 'none']]);
  expect(left).toEqual(['panel “C”: a heatmap that is computed from lines; it shows the lines']);
  expect(toYaml(board)).toContain('kind: heatmap');
  expect(board.variables[0]?.all).toBe(true);
});

test('the YAML names what is not usual', () => {
  const yaml = toYaml(fromGrafana(grafana).board);
  expect(yaml).toContain('title: Node\ntime: 6h\nrefresh: 30s\nvariables:\n  - name: job\n    query: label_values(up, job)\n'.replace('label_values(up, job)', JSON.stringify('label_values(up, job)')));
  expect(yaml).toContain('  - title: CPU\n    kind: bars\n    height: 240\n    unit: ratio\n    thresholds: {"critical":"> 0.9","warning":"> 0.5"}\n');
});

// The boards that come for Grafana, as Vite reads files: nothing of them may be lost here.
const shipped = import.meta.glob<string>('../../../../deploy/grafana/dashboards/*.json', { query: '?raw', import: 'default', eager: true });

test.each(Object.entries(shipped))('%s is taken over whole', (_, file) => {
  const json = JSON.parse(file) as { panels: { type: string; targets: unknown[] }[]; templating: { list: { type: string; name: string }[] } };
  const { board, left } = fromGrafana(json);
  expect(left).toEqual([]);
  const kinds: Record<string, string[]> = { timeseries: ['lines', 'bars'], stat: ['stat'], bargauge: ['stat'], table: ['table'] };
  expect(board.panels.length).toBe(json.panels.length);
  board.panels.forEach((panel, at) => {
    expect(kinds[json.panels[at]?.type ?? '']).toContain(panel.kind);
    expect(panel.queries.length).toBe(json.panels[at]?.targets.length);
  });
  expect(board.variables.map((one) => one.name)).toEqual(json.templating.list.filter((one) => one.type !== 'datasource').map((one) => one.name));
});

test('the boards that come for Grafana are found', () => expect(Object.keys(shipped).length).toBe(5));

test('where less is worse, thresholds are crossed downwards', () => {
  const steps = [{ color: 'red', value: null }, { color: 'orange', value: 0 }, { color: 'green', value: 0.25 }];
  const panel = { type: 'stat', title: 'left', targets: [{ expr: 'x' }], fieldConfig: { defaults: { thresholds: { steps } } } };
  expect(fromGrafana({ panels: [panel] }).board.panels[0]?.thresholds).toEqual({ critical: '< 0', warning: '< 0.25' });
});
