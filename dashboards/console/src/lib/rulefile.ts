/* Rule files as text: what a new one begins with, a test to begin with, and where a problem stands. Pure; the server is the judge. */

import { AGGREGATIONS, FUNCTIONS } from './promql';

const quoted = (text: string): string => `'${text.replace(/'/g, "''")}'`;

/** A file with one alerting rule over an expression; a comparison is added where it has none. */
export function newRule(expr: string): string {
  const shown = expr.trim() === '' ? 'up == 0' : /[<>]=?|[!=]=/.test(expr.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|\{[^}]*\}/g, '')) ? expr.trim() : `${expr.trim()} > 0`;
  return `groups:
  - name: new
    rules:
      - alert: NewAlert
        expr: ${quoted(shown.replace(/\s*\n\s*/g, ' '))}
        for: 2m
        labels:
          severity: warning
        annotations:
          summary: '{{ $labels.service_name }}: {{ $value }}'
`;
}

/** The text of the first alert in a file, from its name to the next rule. */
function firstAlert(text: string): string {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => /^\s*(?:-\s*)?\{?\s*(?:-\s*)?alert:/.test(line));
  if (start < 0) return '';
  let first = start;
  while (first > 0 && !/^\s*-\s/.test(lines[first] ?? '')) first -= 1;
  const indent = /^\s*/.exec(lines[first] ?? '')?.[0].length ?? 0;
  const end = lines.findIndex((line, at) => at > start && line.trim() !== '' && !line.trim().startsWith('#') && (/^\s*/.exec(line)?.[0].length ?? 0) <= indent);
  return lines.slice(first, end < 0 ? undefined : end).join('\n');
}

/** What stands after a key, in a block or between braces; the first of a list. */
function valueOf(text: string, key: string): string | undefined {
  const found = new RegExp(`(?:^|[\\s{,-])${key}:[ \\t]*(?:\\n\\s*-[ \\t]*|\\[[ \\t]*)?(?:"((?:[^"\\\\]|\\\\.)*)"|'((?:[^']|'')*)'|([^\\s"'{\\[,}\\]#][^"'\\n,}\\]#]*))`).exec(text);
  return found ? (found[1]?.replace(/\\(["\\])/g, '$1') ?? found[2]?.replace(/''/g, "'") ?? found[3]?.trim()) : undefined;
}

/** All of a list after a key, `[a, b]` or one. */
function valuesOf(text: string, key: string): string[] {
  const list = new RegExp(`(?:^|[\\s{,])${key}:[ \\t]*\\[([^\\]]*)\\]`).exec(text)?.[1];
  const one = valueOf(text, key);
  return list !== undefined ? list.split(',').map((part) => part.trim().replace(/^["']|["']$/g, '')).filter((part) => part !== '') : one === undefined ? [] : [one];
}

/** A key's text of a rule: its block, or what is between its braces. */
function sourceOf(rule: string, key: string): string | undefined {
  const found = new RegExp(`(?:^|[\\s{,-])${key}:[ \\t]*`).exec(rule);
  if (!found) return undefined;
  const rest = rule.slice(found.index + found[0].length);
  if (!rest.startsWith('{')) {
    // In a rule between braces it ends at the next comma or brace.
    if (/\{[^\n]*$/.test(rule.slice(0, found.index + 1))) return valueOf(`${key}: ${rest}`, key);
    const indent = /[^\n]*$/.exec(rule.slice(0, found.index + 1))?.[0].length ?? 0;
    const lines = rest.split('\n');
    const end = lines.findIndex((line, at) => at > 0 && line.trim() !== '' && (/^\s*/.exec(line)?.[0].length ?? 0) <= indent);
    return lines.slice(0, end < 0 ? undefined : end).join('\n');
  }
  let depth = 0;
  const end = [...rest].findIndex((letter) => {
    depth += letter === '{' ? 1 : letter === '}' ? -1 : 0;
    return depth === 0;
  });
  return rest.slice(0, end < 0 ? undefined : end + 1);
}

/** The names and texts of a map, in a block or between braces. */
function entriesOf(text: string | undefined): [string, string][] {
  const entry = /(?:^|[\n{,])[ \t]*["']?([A-Za-z_]\w*)["']?:[ \t]*(?:"((?:[^"\\]|\\.)*)"|'((?:[^']|'')*)'|([^\s"'{[#][^\n,}#]*))/g;
  return [...(text ?? '').matchAll(entry)].map(([, name, double, single, bare]) => [name ?? '', double?.replace(/\\(["\\])/g, '$1') ?? single?.replace(/''/g, "'") ?? bare?.trim() ?? '']);
}

const minutesOf = (span: string | undefined): number => [...(span ?? '').matchAll(/(\d+)([smhd])/g)].reduce((sum, [, number, unit]) => sum + Number(number) * ({ s: 1 / 60, m: 1, h: 60, d: 1_440 }[unit ?? 'm'] ?? 1), 0);

const WORDS = new Set(['and', 'or', 'unless', 'by', 'without', 'on', 'ignoring', 'group_left', 'group_right', 'offset', 'bool', 'inf', 'nan', 'start', 'end', 'atan2', ...Object.keys(FUNCTIONS), ...Object.keys(AGGREGATIONS)]);

/** The first series that an expression asks for: its metric, and labels that its matchers take. */
export function seriesOf(expr: string): { metric: string; labels: Record<string, string> } {
  // Texts and ranges hold no metrics; lists of labels neither.
  const bare = expr.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, (text) => text.replace(/[^"']/g, ' ')).replace(/\[[^\]]*\]/g, (text) => ' '.repeat(text.length)).replace(/\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/gi, (text) => ' '.repeat(text.length));
  const outside = bare.replace(/\{[^}]*\}/g, (text) => `{${' '.repeat(text.length - 2)}}`);
  const found = [...outside.matchAll(/[A-Za-z_:][\w:]*(?=\s*(\(?))|\{/g)].find((one) => one[0] === '{' || (one[1] !== '(' && !WORDS.has(one[0].toLowerCase()) && !/[\d.]$/.test(outside.slice(0, one.index))));
  if (!found) return { metric: '', labels: {} };
  const metric = found[0] === '{' ? '' : found[0];
  const matchers = /^\s*\{((?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^}"'])*)\}/.exec(expr.slice(found.index + metric.length))?.[1] ?? '';
  const labels: Record<string, string> = {};
  let named = metric;
  for (const [, name = '', op, quoted = ''] of matchers.matchAll(/([A-Za-z_]\w*)\s*(=~|=)\s*("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/g)) {
    const value = quoted.slice(1, -1);
    // The least that a simple regular expression takes: its first choice, letters for any letters.
    const taken = op === '=' ? value : value.split('|')[0]?.replace(/[()^$]/g, '').replace(/\.[*+]/g, 'x').replace(/\./g, '0') ?? '';
    if (!/^[\w ./:@%-]*$/.test(taken)) continue;
    if (name === '__name__') named = taken;
    else labels[name] = taken;
  }
  return { metric: named, labels };
}

/** A unit test of the first alert in a file: data of the kind that it asks for, in which it should fire. It is what a person begins with. */
export function newTest(text: string): string {
  const rule = firstAlert(text);
  const name = valueOf(rule, 'alert') ?? 'NewAlert';
  const q = (value: string): string => (/^[A-Za-z_][\w./-]*$/.test(value) && !/^(true|false|null|yes|no|on|off)$/i.test(value) ? value : quoted(value));
  const thresholds = sourceOf(rule, 'thresholds') ?? '';
  const severity = ['critical', 'high', 'warning', 'info'].find((one) => valueOf(thresholds, one) !== undefined) ?? valueOf(sourceOf(rule, 'labels') ?? '', 'severity');
  // Late enough for its `for`, and there is data until after that.
  const minutes = Math.min(Math.max(5, Math.ceil(minutesOf(valueOf(rule, 'for'))) + 3), 1_500);
  const flow = (entries: [string, string][]): string => `{ ${entries.map(([key, value]) => `${key}: ${q(value)}`).join(', ')} }`;
  const test = (input: string, labels: Record<string, string>, examples: Record<string, string> = {}, note = '', value?: string): string => {
    const own = Object.fromEntries(entriesOf(sourceOf(rule, 'labels')).filter(([, text]) => !text.includes('{{')));
    const all: Record<string, string> = { ...labels, ...own, ...(severity === undefined ? {} : { severity }) };
    const told = entriesOf(sourceOf(rule, 'annotations')).map(([key, text]): [string, string] => [key, text.replace(/\{\{\s*\$labels\.(\w+)\s*\}\}/g, (_, label: string) => all[label] ?? '').replace(/\{\{\s*\$value\s*\}\}/g, (whole) => value ?? whole)]);
    const annotations: [string, string][] = [...Object.entries(examples), ...told.filter(([, text]) => !text.includes('{{'))];
    const notes = [note, told.some(([, text]) => text.includes('{{')) ? 'Add the annotations with numbers, which the first run shows.' : ''].filter((one) => one !== '');
    const lines = [...(Object.keys(all).length > 0 ? [`exp_labels: ${flow(Object.entries(all))}`] : []), ...(annotations.length > 0 ? [`exp_annotations: ${flow(annotations)}`] : [])];
    return `evaluation_interval: 1m
tests:
  - name: ${q(`${name} fires`)}
    interval: 15s
${input}
    alert_rule_test:
      - eval_time: ${minutes}m
        alertname: ${q(name)}
        exp_alerts:
${notes.map((one) => `          # ${one}\n`).join('')}${lines.length === 0 ? '          - {}' : lines.map((line, at) => `          ${at === 0 ? '-' : ' '} ${line}`).join('\n')}
`;
  };
  const row = (fields: Record<string, string | undefined>): string => `      - { ${Object.entries(fields).filter(([, value]) => value !== undefined).map(([key, value]) => `${key}: ${/^(at|every|count|duration)$/.test(key) ? value : q(value ?? '')}`).join(', ')} }`;
  const named = (by: string[], known: Record<string, [label: string, value: string]>): Record<string, string> => Object.fromEntries(by.flatMap((one) => (known[one] ? [known[one]] : [])));
  const always = { at: '10s', count: String(minutes * 60), every: '1s' };
  const logs = sourceOf(rule, 'logs');
  if (logs !== undefined) {
    const level = valueOf(logs, 'severity') ?? 'error';
    const service = valueOf(logs, 'service') ?? 'shop';
    const body = valuesOf(logs, 'match').join(' ') || valueOf(logs, 'regex') || 'connection refused';
    return test(`    input_logs:\n${row({ ...always, body, severity: level, service })}`, named(valuesOf(logs, 'by'), { service: ['service_name', service], level: ['level', level === 'warning' ? 'warn' : level] }), { example_log: body });
  }
  const spans = sourceOf(rule, 'spans');
  if (spans !== undefined) {
    const service = valueOf(spans, 'service') ?? 'shop';
    const operation = valueOf(spans, 'operation') ?? 'pay';
    const status = (valueOf(spans, 'status') ?? 'error').toLowerCase();
    const kind = valueOf(spans, 'kind')?.toLowerCase();
    return test(`    input_spans:\n${row({ ...always, service, operation, kind, status, duration: '2s' })}`, named(valuesOf(spans, 'by'), { service: ['service_name', service], operation: ['span_name', operation], status: ['status_code', status.toUpperCase()], ...(kind ? { kind: ['span_kind', kind.toUpperCase()] as [string, string] } : {}) }), { example_span: `${service} ${operation}` });
  }
  const errors = sourceOf(rule, 'errors');
  if (errors !== undefined) {
    const service = valueOf(errors, 'service') ?? 'shop';
    const is = valueOf(errors, 'is') ?? 'any';
    const type = valueOf(errors, 'type') ?? 'KeyError';
    const release = valueOf(errors, 'release') ?? '1.0';
    const by = /(?:^|[\s{,])by:/.test(errors) ? valuesOf(errors, 'by') : ['service', 'issue'];
    if (is === 'regressed') {
      const seen = (at: string, release: string | undefined): string => row({ at, service, type, message: 'missing', release });
      const people = `    people:\n      - { at: 1m, resolve_error: ${q(type)} }`;
      const example = { issue: `#1 ${type}: missing (watchfire error show 1)`, example_error: `${type}: missing`, example_release: release };
      return test(`    input_errors:\n${seen('10s', undefined)}\n${seen('2m10s', release)}\n${people}`, { issue: '1', service_name: service }, example);
    }
    // What is new, and what is more than before, is so for one window only.
    const when = is === 'new' || is === 'spiking' ? { at: `${minutes - 1}m10s`, count: '50', every: '1s' } : always;
    const note = by.includes('issue') ? 'Add `fingerprint`, which the first run shows.' : '';
    return test(`    input_errors:\n${row({ ...when, service, type, message: 'missing', release, environment: valueOf(errors, 'environment'), user: 'ana' })}`, named(by, { service: ['service_name', service], release: ['release', release], type: ['type', type] }), { example_error: `${type}: missing`, example_release: release }, note);
  }
  const statement = sourceOf(rule, 'sql');
  if (statement !== undefined) {
    const table = /\bFROM\s+(logs|spans|error_events)\b/i.exec(statement)?.[1]?.toLowerCase() ?? 'logs';
    const input = table === 'spans' ? `    input_spans:\n${row({ ...always, service: 'shop', operation: 'pay', status: 'error', duration: '2s' })}` : table === 'error_events' ? `    input_errors:\n${row({ ...always, service: 'shop', type: 'KeyError', message: 'missing' })}` : `    input_logs:\n${row({ ...always, body: 'connection refused', severity: 'error', service: 'shop' })}`;
    return test(input, {}, {}, 'Add the columns of the statement that are texts: they are labels.');
  }
  // Until the next key: an expression may go on over lines.
  const written = sourceOf(rule, 'expr')?.replace(/^[|>][+-]?\s*\n/, '').trim() ?? '';
  const expr = /^'[\s\S]*'$/.test(written) ? written.slice(1, -1).replace(/''/g, "'") : /^"[\s\S]*"$/.test(written) ? written.slice(1, -1).replace(/\\(["\\])/g, '$1') : written;
  const { metric, labels } = seriesOf(expr);
  const by = [...expr.matchAll(/\bby\s*\(([^)]*)\)/gi)].flatMap(([, names]) => (names ?? '').split(',').map((one) => one.trim())).filter((one) => one !== '' && one !== 'le');
  const aggregated = /^\s*(?:sum|avg|min|max|count|group|stddev|quantile|histogram_quantile)\b/i.test(expr);
  const own: Record<string, string> = { ...labels, ...Object.fromEntries(by.filter((one) => labels[one] === undefined).map((one) => [one, 'shop'])) };
  if (Object.keys(own).length === 0 && metric !== '') own.job = 'shop';
  const less = /<=?\s*(?:bool\s+)?-?[\d.]+\s*$|==\s*0\s*$/.test(expr);
  const counter = /\b(?:rate|irate|increase)\s*\(/.test(expr);
  const points = minutes * 4 + 4;
  const values = less ? `0x${points}` : counter ? `0+6000x${points}` : `100x${points}`;
  const value = /^\s*[A-Za-z_:][\w:]*\s*(?:\{[^}]*\})?\s*(?:[<>]=?|==)\s*[\d.]+\s*$/.test(expr) ? (less ? '0' : '100') : undefined;
  const series = `${metric || 'up'}{${Object.entries({ ...own, ...(/_bucket$/.test(metric) ? { le: '+Inf' } : {}) }).map(([key, value]) => `${key}="${value}"`).join(',')}}`;
  return test(`    input_series:\n      - series: ${quoted(series)}\n        values: '${values}'`, aggregated ? Object.fromEntries(by.map((one) => [one, own[one] ?? 'shop'])) : own, {}, '', value);
}

/** The line of a problem in the file (`shop.yml, line 5: ...`); nothing where it is in another file or nowhere. */
export function lineOf(problem: string, file: string): number | undefined {
  const found = problem.startsWith(`${file}, line `) ? /^\d+/.exec(problem.slice(file.length + 7)) : null;
  return found ? Number(found[0]) : undefined;
}

/** Where a line begins and ends in a text. */
export function spanOfLine(text: string, line: number): [number, number] {
  let start = 0;
  for (let at = 1; at < line; at += 1) {
    const next = text.indexOf('\n', start);
    if (next < 0) break;
    start = next + 1;
  }
  const end = text.indexOf('\n', start);
  return [start, end < 0 ? text.length : end];
}

/** What a file may be called; one sentence where it may not. */
export function nameProblem(name: string): string | undefined {
  return /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\.ya?ml$/.test(name) ? undefined : 'Letters, digits, - and _, ending in .yml';
}

/** When an alert was pending and when it fired, as shares of a time span. */
export function strip(alert: { pending: string; fired: string | null; ended: string | null }, from: number, to: number): { pending: [number, number] | null; firing: [number, number] | null } {
  const place = (at: number): number => Math.min(Math.max((at - from) / (to - from), 0), 1);
  const [pending, fired, ended] = [Date.parse(alert.pending), alert.fired === null ? null : Date.parse(alert.fired), alert.ended === null ? to : Date.parse(alert.ended)];
  const piece = (start: number, end: number): [number, number] | null => (end <= from || start >= to ? null : [place(start), place(end)]);
  return { pending: piece(pending, fired ?? ended), firing: fired === null ? null : piece(fired, ended) };
}
