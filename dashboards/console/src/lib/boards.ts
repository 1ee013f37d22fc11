/*
 * Boards: filling in variables, reading Grafana's JSON, writing YAML. In: a board, what a reader chose, a foreign document of any shape. Out: texts and
 * boards; what could not be taken over is told by name. Pure.
 */
import type { Board, BoardPanel, BoardVariable } from '../api/types';
import { rateWindow } from './time';

/** How a panel may show its numbers. */
export type PanelKind = BoardPanel['kind'] | 'heatmap';

/** What stands in the address for "all together". */
export const ALL = '$__all';

/** Several values as one text of the address, and back: `|` stands between them. */
export const joinValues = (values: readonly string[]): string => values.map((value) => value.replace(/[\\|]/g, '\\$&')).join('|');
export const splitValues = (text: string): string[] => [...`|${text}`.matchAll(/\|((?:\\[\\|]|[^|])*)/g)].map(([, part]) => (part ?? '').replace(/\\([\\|])/g, '$1'));

/** What is chosen of a variable: several values only where all together can be chosen, since both need a matcher with `=~`. */
export function chosenOf(variable: BoardVariable, text: string | undefined, values: readonly string[]): string[] {
  if (text === undefined) return [opening(variable, values)];
  return variable.all && text !== ALL ? splitValues(text) : [text];
}

/** The names of variables in a text. */
export const variablesIn = (text: string): string[] => [...new Set([...text.matchAll(VARIABLE)].map(([, braces, plain, brackets]) => braces ?? plain ?? brackets ?? ''))];

/** The variables whose values hang on this one's, through others too. */
export function dependents(name: string, variables: readonly BoardVariable[]): string[] {
  const found = new Set([name]);
  for (const one of found) for (const other of variables) if (other.query && variablesIn(other.query).includes(one)) found.add(other.name);
  found.delete(name);
  return [...found];
}

/** The value that a variable opens with. */
export function opening(variable: BoardVariable, values: readonly string[]): string {
  if (variable.default !== null && variable.default !== undefined) return variable.default;
  return variable.all ? ALL : (values[0] ?? '');
}

const VARIABLE = /\$\{(\w+)(?::\w+)?\}|\$(\w+)|\[\[(\w+)(?::\w+)?\]\]/g;
const escapeRegex = (text: string): string => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const escapeString = (text: string): string => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');

/** An expression with its variables: `$name`, `${name}`, `${name:regex}`, `[[name]]`, and the time's own. Several values are a regular expression. */
export function fill(expr: string, chosen: Readonly<Record<string, string | readonly string[]>>, step: number, seconds: number): string {
  const own: Record<string, string> = { __rate_interval: rateWindow(step), __interval: `${step}s`, __range: `${Math.ceil(seconds)}s`, __range_s: String(Math.ceil(seconds)), __interval_ms: String(step * 1_000) };
  return expr.replace(VARIABLE, (whole: string, braces: string | undefined, plain: string | undefined, brackets: string | undefined, at: number) => {
    const name = braces ?? plain ?? brackets ?? '';
    if (own[name] !== undefined) return own[name];
    const wanted = chosen[name];
    if (wanted === undefined) return whole;
    const values = typeof wanted === 'string' ? [wanted] : wanted;
    if (values.includes(ALL)) return '.*';
    const before = expr.slice(0, at);
    if (/[=!]~\s*"(?:[^"\\]|\\.)*$/.test(before)) {
      const regex = values.map(escapeRegex).join('|');
      return escapeString(values.length > 1 ? `(${regex})` : regex);
    }
    const value = values.join('|');
    return /=\s*"(?:[^"\\]|\\.)*$/.test(before) ? escapeString(value) : value;
  });
}

/** The name of a line: `{{label}}` filled in. */
export const legendOf = (legend: string, labels: Readonly<Record<string, string>>): string => legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, name: string) => labels[name] ?? '');

/** `label_values(metric, label)` or `label_values(label)`. */
export function labelValues(query: string): { label: string; selector?: string } | undefined {
  const found = /^\s*label_values\(\s*(?:([\s\S]+?)\s*,\s*)?([A-Za-z_]\w*)\s*\)\s*$/.exec(query);
  return found?.[2] === undefined ? undefined : found[1] === undefined ? { label: found[2] } : { label: found[2], selector: found[1] };
}

type Json = Record<string, unknown>;
const object = (value: unknown): Json => (typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {});
const list = (value: unknown): Json[] => (Array.isArray(value) ? value.map(object) : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

const KINDS: Record<string, PanelKind> = { timeseries: 'lines', graph: 'lines', stat: 'stat', singlestat: 'stat', gauge: 'stat', bargauge: 'stat', table: 'table', 'table-old': 'table', text: 'text', barchart: 'bars', piechart: 'table', heatmap: 'heatmap' };
const UNITS: Record<string, BoardPanel['unit']> = { percentunit: 'ratio', s: 'seconds', bytes: 'bytes', decbytes: 'bytes', reqps: 'per_second', rps: 'per_second', ops: 'per_second', cps: 'per_second' };
const duration = (value: string, usual: string): string => /^now-(\d+[smhdw])$/.exec(value)?.[1] ?? usual;

function panelOf(panel: Json, left: string[]): BoardPanel[] {
  const title = text(panel.title);
  if (panel.type === 'row') return list(panel.panels).flatMap((inner) => panelOf(inner, left));
  // Grafana can make the cells of a heatmap from any lines; here they are the buckets of a histogram.
  const computed = panel.type === 'heatmap' && object(panel.options).calculate === true;
  const kind = computed ? 'lines' : KINDS[text(panel.type)];
  if (kind === undefined) {
    left.push(`panel “${title}”: its kind ${text(panel.type) || 'without a name'}`);
    return [];
  }
  const place = object(panel.gridPos);
  const defaults = object(object(panel.fieldConfig).defaults);
  const axis = list(panel.yaxes)[0];
  const bars = kind === 'lines' && (panel.bars === true || text(object(defaults.custom).drawStyle) === 'bars');
  const queries = list(panel.targets).filter((target) => target.hide !== true && text(target.expr) !== '').map((target) => ({ expr: text(target.expr), legend: /^__auto$/.test(text(target.legendFormat)) ? '' : text(target.legendFormat) }));
  if (kind !== 'text' && queries.length === 0) {
    left.push(`panel “${title}”: it has no PromQL`);
    return [];
  }
  if (computed) left.push(`panel “${title}”: a heatmap that is computed from lines; it shows the lines`);
  const colours = list(object(defaults.thresholds).steps);
  // Where the lowest range is the red one, less is worse.
  const less = /red/.test(text(colours[0]?.color)) && !/red/.test(text(colours.at(-1)?.color));
  const steps = colours.map((step) => step.value).filter((value): value is number => typeof value === 'number').sort((a, b) => (less ? a - b : b - a));
  const words = ['critical', 'warning'] as const;
  return [{
    title,
    kind: (bars ? 'bars' : kind) as BoardPanel['kind'],
    width: Math.min(12, Math.max(1, Math.round((Number(place.w) || 12) / 2))),
    height: Math.min(2_000, Math.max(90, Math.round((Number(place.h) || 8) * 30))),
    unit: UNITS[text(defaults.unit)] ?? UNITS[text(axis?.format)] ?? UNITS[text(panel.format)] ?? UNITS[text(object(object(panel.options).yAxis).unit)] ?? UNITS[text(object(panel.yAxis).format)] ?? 'none',
    queries,
    thresholds: kind === 'heatmap' || (kind === 'lines' && text(object(object(defaults.custom).thresholdsStyle).mode) === 'off') ? {} : Object.fromEntries(steps.slice(0, 2).map((value, at) => [words[at] ?? 'info', `${less ? '<' : '>'} ${value}`])),
    text: kind === 'text' ? text(object(panel.options).content) || text(panel.content) : '',
  }];
}

function variableOf(one: Json, left: string[]): BoardVariable[] {
  const name = text(one.name);
  const usual = { name, label: text(one.label) || null, query: null, options: [] as string[], default: null, all: one.includeAll === true || one.multi === true };
  switch (text(one.type)) {
    case 'query': {
      const query = typeof one.query === 'string' ? one.query : text(object(one.query).query);
      if (labelValues(query)) return [{ ...usual, query }];
      left.push(`variable “${name}”: its query ${query}`);
      return [];
    }
    case 'custom': case 'interval': return [{ ...usual, options: text(one.query).split(',').map((part) => part.trim()).filter((part) => part !== '') }];
    case 'constant': case 'textbox': return [{ ...usual, options: [text(one.query)] }];
    case 'datasource': return [];
    default:
      left.push(`variable “${name}”: its kind ${text(one.type)}`);
      return [];
  }
}

/** A board of Grafana as one of ours, and what could not be taken over. */
export function fromGrafana(document: unknown): { board: Board; left: string[] } {
  const outer = object(document);
  const json = outer.dashboard === undefined ? outer : object(outer.dashboard);
  if (!Array.isArray(json.panels) && !Array.isArray(json.rows)) throw new Error('This JSON is no board of Grafana: it has no list “panels”.');
  const left: string[] = [];
  // Boards of before 2018 have their panels in rows.
  const panels = [...list(json.panels), ...list(json.rows).flatMap((row) => list(row.panels))].flatMap((panel) => panelOf(panel, left));
  const board: Board = {
    title: text(json.title) || 'Imported',
    description: text(json.description),
    time: duration(text(object(json.time).from), '1h'),
    refresh: /^\d+[smh]$/.test(text(json.refresh)) ? text(json.refresh) : null,
    variables: list(object(json.templating).list).flatMap((one) => variableOf(one, left)),
    panels,
  };
  return { board, left };
}

/** The board as a file for `dashboards.folder`. What is usual is left out. */
export function toYaml(board: Board): string {
  const q = (value: string): string => (/^[A-Za-z][\w ./%()-]*$/.test(value) && !/^(true|false|null|yes|no|on|off)$/i.test(value) && !value.endsWith(' ') ? value : JSON.stringify(value));
  const lines = [`title: ${q(board.title)}`];
  if (board.description) lines.push(`description: ${q(board.description)}`);
  lines.push(`time: ${board.time}`);
  if (board.refresh) lines.push(`refresh: ${board.refresh}`);
  if (board.variables.length > 0) lines.push('variables:');
  for (const one of board.variables) {
    lines.push(`  - name: ${q(one.name)}`);
    if (one.label) lines.push(`    label: ${q(one.label)}`);
    if (one.query) lines.push(`    query: ${q(one.query)}`);
    if (one.options.length > 0) lines.push(`    options: ${JSON.stringify(one.options)}`);
    if (one.default) lines.push(`    default: ${q(one.default)}`);
    if (one.all) lines.push('    all: true');
  }
  lines.push(board.panels.length > 0 ? 'panels:' : 'panels: []');
  for (const panel of board.panels) {
    lines.push(`  - title: ${q(panel.title)}`);
    if (panel.kind !== 'lines') lines.push(`    kind: ${panel.kind}`);
    if (panel.width !== 6) lines.push(`    width: ${panel.width}`);
    if (panel.height !== 220) lines.push(`    height: ${panel.height}`);
    if (panel.unit !== 'none') lines.push(`    unit: ${panel.unit}`);
    if (Object.keys(panel.thresholds).length > 0) lines.push(`    thresholds: ${JSON.stringify(panel.thresholds)}`);
    if (panel.text) lines.push(`    text: ${JSON.stringify(panel.text)}`);
    if (panel.queries.length > 0) lines.push('    queries:');
    for (const query of panel.queries) {
      lines.push(`      - expr: ${JSON.stringify(query.expr)}`);
      if (query.legend) lines.push(`        legend: ${JSON.stringify(query.legend)}`);
    }
  }
  return `${lines.join('\n')}\n`;
}
