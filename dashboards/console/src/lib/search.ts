/*
 * The one-line language of the log and trace searches, and the SQL it becomes.
 *   word "a phrase" -not  key=value key!=value key~part  (key: service, level, trace, name, kind, status, or any attribute)
 * Every text of a person ends inside a quoted literal. Pure.
 */
import { likeText, sqlString, weightSql } from './format';

export type Op = '=' | '!=' | '~' | '!~' | '>' | '<' | '>=' | '<=';
export type Term = { kind: 'text'; text: string; not: boolean } | { kind: 'field'; key: string; op: Op; value: string };

/** Reads a search line. There is no wrong one: what is no field is a word. */
export function parseSearch(line: string): Term[] {
  const terms: Term[] = [];
  const pattern = /(-)?(?:"((?:[^"\\]|\\.)*)"|([A-Za-z_][\w.\-/@]*)(>=|<=|!=|!~|=|~|>|<)(?:"((?:[^"\\]|\\.)*)"|(\S*))|(\S+))/g;
  const plain = (text: string): string => text.replace(/\\(["\\])/g, '$1');
  for (const found of line.matchAll(pattern)) {
    const [, minus, phrase, key, op, quoted, bare, word] = found;
    if (phrase !== undefined) terms.push({ kind: 'text', text: plain(phrase), not: minus !== undefined });
    else if (key !== undefined && op !== undefined) {
      const value = quoted !== undefined ? plain(quoted) : (bare ?? '');
      const negated: Partial<Record<Op, Op>> = { '=': '!=', '!=': '=', '~': '!~', '!~': '~' };
      terms.push({ kind: 'field', key, op: minus !== undefined ? (negated[op as Op] ?? (op as Op)) : (op as Op), value });
    } else if (word !== undefined) terms.push({ kind: 'text', text: word, not: minus !== undefined });
  }
  return terms.filter((term) => term.kind === 'field' || term.text !== '');
}

/** A field as the search line writes it. */
export function fieldText(key: string, op: Op, value: string): string {
  return `${key}${op}${/^[^\s"]+$/.test(value) ? value : `"${value.replace(/\\/g, '\\\\').replace(/"/g, '\\"')}"`}`;
}

/** Adds a term to a search line, once. */
export function addTerm(line: string, term: string): string {
  return ` ${line} `.includes(` ${term} `) ? line : `${line} ${term}`.trim();
}

function compare(expression: string, op: Op, value: string): string {
  switch (op) {
    case '=': return `${expression} = ${sqlString(value)}`;
    case '!=': return `${expression} != ${sqlString(value)}`;
    case '~': return `${expression} ILIKE ${sqlString(`%${likeText(value)}%`)}`;
    case '!~': return `${expression} NOT ILIKE ${sqlString(`%${likeText(value)}%`)}`;
    case '>': case '<': case '>=': case '<=': return `toFloat64OrNull(${expression}) ${op} ${numberOf(value)}`;
  }
}

function numberOf(value: string): string {
  const number = Number(value);
  return value !== '' && Number.isFinite(number) ? String(number) : 'NULL';
}

function attribute(key: string, op: Op, value: string): string {
  const name = sqlString(key);
  const negative = op === '!=' || op === '!~';
  const both = [compare(`attributes[${name}]`, op, value), compare(`resource[${name}]`, op, value)];
  return `(${both.join(negative ? ' AND ' : ' OR ')})`;
}

const idFilter = (column: string, length: number, op: Op, value: string): string =>
  new RegExp(`^[0-9a-fA-F]{${length}}$`).test(value)
    ? `${column} ${op === '!=' || op === '!~' ? '!=' : '='} unhex(${sqlString(value.toLowerCase())})`
    : '0';

/** Levels and the least severity number of each (OpenTelemetry). */
export const LEVELS: readonly { name: string; from: number; to: number }[] = [
  { name: 'trace', from: 1, to: 4 }, { name: 'debug', from: 5, to: 8 }, { name: 'info', from: 9, to: 12 },
  { name: 'warn', from: 13, to: 16 }, { name: 'error', from: 17, to: 20 }, { name: 'fatal', from: 21, to: 24 },
];

export function levelOf(severity: number): string {
  return LEVELS.find((level) => severity >= level.from && severity <= level.to)?.name ?? 'unset';
}

function level(op: Op, value: string): string {
  const wanted = LEVELS.find((one) => one.name === value.toLowerCase().replace('warning', 'warn'));
  if (!wanted) return value.toLowerCase() === 'unset' ? 'severity_number = 0' : '0';
  switch (op) {
    case '=': case '~': return `severity_number BETWEEN ${wanted.from} AND ${wanted.to}`;
    case '!=': case '!~': return `severity_number NOT BETWEEN ${wanted.from} AND ${wanted.to}`;
    case '>': return `severity_number > ${wanted.to}`;
    case '>=': return `severity_number >= ${wanted.from}`;
    case '<': return `severity_number < ${wanted.from}`;
    case '<=': return `severity_number <= ${wanted.to}`;
  }
}

const time = (from: number, to: number): string =>
  `ts >= fromUnixTimestamp64Milli(${Math.floor(from)}) AND ts < fromUnixTimestamp64Milli(${Math.ceil(to)})`;

/**
 * Conditions that a line with this text fulfils anyway, and that the index of the body's words can answer: the words inside the text, with something
 * that is no word on both sides. The first and the last may be parts of longer words. Letters beyond ASCII are words to the index, and keep their case.
 */
function innerWords(text: string): string[] {
  const words = [...text.matchAll(/(?<=[\0-/:-@[-`{-\x7f])[A-Za-z0-9]+(?=[\0-/:-@[-`{-\x7f])/g)].map(([word]) => word.toLowerCase());
  return [...new Set(words)].slice(0, 8).map((word) => `hasToken(lower(body), ${sqlString(word)})`);
}

/** The WHERE of a search in `logs`. ILIKE says what fits; where a phrase has whole words inside, the index of words leaves most of the rows out before. */
export function logWhere(terms: readonly Term[], from: number, to: number): string {
  const all = [time(from, to)];
  for (const term of terms) {
    if (term.kind === 'text') {
      if (!term.not) all.push(...innerWords(term.text));
      all.push(`body ${term.not ? 'NOT ' : ''}ILIKE ${sqlString(`%${likeText(term.text)}%`)}`);
      continue;
    }
    const { key, op, value } = term;
    if (key === 'service') all.push(compare('service', op, value));
    else if (key === 'level' || key === 'severity') all.push(level(op, value));
    else if (key === 'trace' || key === 'trace_id') all.push(idFilter('trace_id', 32, op, value));
    else if (key === 'span' || key === 'span_id') all.push(idFilter('span_id', 16, op, value));
    else if (key === 'body') all.push(...(op === '~' ? innerWords(value) : []), compare('body', op, value));
    else all.push(attribute(key, op, value));
  }
  return all.join(' AND ');
}

/** `1.5s`, `200ms` or plain nanoseconds, in nanoseconds. */
export function nanosOf(text: string): number | undefined {
  const found = /^(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m)?$/.exec(text);
  if (!found) return undefined;
  const units: Record<string, number> = { ns: 1, us: 1e3, µs: 1e3, ms: 1e6, s: 1e9, m: 6e10 };
  return Math.round(Number(found[1]) * (units[found[2] ?? 'ns'] ?? 1));
}

/** The WHERE of a search in `spans`. */
export function spanWhere(terms: readonly Term[], from: number, to: number): string {
  const all = [time(from, to), 'notEmpty(trace_id)'];
  for (const term of terms) {
    if (term.kind === 'text') {
      all.push(`${term.not ? 'NOT ' : ''}(name ILIKE ${sqlString(`%${likeText(term.text)}%`)})`);
      continue;
    }
    const { key, op, value } = term;
    if (key === 'service' || key === 'name') all.push(compare(key, op, value));
    else if (key === 'operation') all.push(compare('name', op, value));
    else if (key === 'status' || key === 'kind') all.push(compare(`toString(${key})`, op, value.toUpperCase()));
    else if (key === 'trace' || key === 'trace_id') all.push(idFilter('trace_id', 32, op, value));
    else if (key === 'duration') {
      const nanos = nanosOf(value);
      all.push(nanos === undefined ? '0' : `duration ${op === '~' ? '=' : op === '!~' ? '!=' : op} ${nanos}`);
    } else all.push(attribute(key, op, value));
  }
  return all.join(' AND ');
}

/** What becomes a hole, in this order: RE2, and the hole's name. */
const HOLES: readonly [pattern: string, hole: string][] = [
  ['[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}', '<id>'],
  // Hexadecimal digits of which some are letters and some are not, and long numbers; words are none.
  ['\\b(?:0x[0-9a-fA-F]+|[a-f]+[0-9][0-9a-f]*|[0-9]+[a-f][0-9a-f]*|[A-F]+[0-9][0-9A-F]*|[0-9]+[A-F][0-9A-F]*|[0-9]{6,})\\b', '<id>'],
  ['"[^"]*"|\'[^\']*\'', '<text>'],
  ['\\d+(?:\\.\\d+)*', '<num>'],
];

/** Lines alike as one, of every line that fits: an expression over `body`. */
export const patternSql = HOLES.reduce((inner, [pattern, hole]) => `replaceRegexpAll(${inner}, ${sqlString(pattern)}, ${sqlString(hole)})`, 'substring(body, 1, 300)');

/** The same over a text. */
export const patternOf = (body: string): string => HOLES.reduce((text, [pattern, hole]) => text.replace(new RegExp(pattern, 'g'), hole), body.slice(0, 300));

/** The longest text of a pattern between two holes: a phrase that finds its lines. */
export const phraseOf = (pattern: string): string => pattern.split(/<(?:id|text|num)>/).map((part) => part.trim()).reduce((best, part) => (part.length > best.length ? part : best), '');

/** More lines than this are not looked through for patterns: the newest ones are. */
const LOOKED_THROUGH = 1_000_000;

/** The lines that fit, each with its pattern and `weight`: what counts lines adds weights up. */
export const patternLinesSql = (terms: readonly Term[], from: number, to: number): string =>
  `(SELECT ${patternSql} AS pattern, severity_number AS severity, service, ts, ${weightSql} AS weight FROM logs WHERE ${logWhere(terms, from, to)} ORDER BY ts DESC LIMIT ${LOOKED_THROUGH})`;

/** How many lines there were every `step` seconds: errors and worse, warnings, information, the rest. */
export function histogramSql(terms: readonly Term[], from: number, to: number, step: number): string {
  const lines = ['severity_number >= 17', 'severity_number BETWEEN 13 AND 16', 'severity_number BETWEEN 9 AND 12', 'severity_number < 9'].map((level) => `sumIf(${weightSql}, ${level})`);
  return `SELECT toUnixTimestamp(toStartOfInterval(ts, toIntervalSecond(${step}))) AS at, ${lines.join(', ')} FROM logs WHERE ${logWhere(terms, from, to)} GROUP BY at ORDER BY at`;
}
