/* Completion of PromQL: where the cursor stands, and what may stand there. Pure; it reads tokens, it is no parser: the server is. */

export const FUNCTIONS: Record<string, string> = {
  rate: 'per-second increase of a counter over a range',
  irate: 'per-second increase from the last two samples',
  increase: 'increase of a counter over a range',
  delta: 'difference between first and last of a gauge over a range',
  idelta: 'difference between the last two samples',
  deriv: 'slope of a gauge over a range',
  predict_linear: 'value in t seconds, by linear regression',
  histogram_quantile: 'quantile from the buckets of a histogram',
  avg_over_time: 'average over a range',
  min_over_time: 'least over a range',
  max_over_time: 'greatest over a range',
  sum_over_time: 'sum over a range',
  count_over_time: 'number of samples over a range',
  quantile_over_time: 'quantile over a range',
  stddev_over_time: 'standard deviation over a range',
  last_over_time: 'newest sample of a range',
  present_over_time: '1 where there is a sample in the range',
  absent: '1 where nothing is found',
  absent_over_time: '1 where nothing is found over a range',
  changes: 'how often the value changed over a range',
  resets: 'how often a counter was reset over a range',
  abs: 'absolute value', ceil: 'rounded up', floor: 'rounded down', round: 'rounded to the nearest multiple',
  clamp: 'limited to a span', clamp_min: 'at least', clamp_max: 'at most',
  exp: 'e to the power', ln: 'natural logarithm', log2: 'binary logarithm', log10: 'decimal logarithm', sqrt: 'square root',
  label_replace: 'writes a label by a regular expression',
  label_join: 'joins labels into one',
  scalar: 'the only element as a scalar', vector: 'a scalar as a vector',
  sort: 'in rising order', sort_desc: 'in falling order',
  time: 'seconds since 1970', timestamp: 'time of the samples',
  minute: 'minute of the hour, UTC', hour: 'hour of the day, UTC', day_of_week: 'day of the week, UTC',
};

export const AGGREGATIONS: Record<string, string> = {
  sum: 'sum over series', avg: 'average over series', min: 'least of the series', max: 'greatest of the series', count: 'number of series',
  topk: 'the k greatest series', bottomk: 'the k least series', quantile: 'quantile over series', stddev: 'standard deviation over series',
  group: '1 for each group', count_values: 'how many series have each value',
};

const KEYWORDS = ['by', 'without', 'on', 'ignoring', 'group_left', 'group_right', 'and', 'or', 'unless', 'offset', 'bool'];
const RANGES = ['30s', '1m', '5m', '10m', '30m', '1h', '6h', '1d'];

export type Place =
  | { kind: 'expression'; start: number; text: string }
  | { kind: 'label'; start: number; text: string; metric: string | undefined }
  | { kind: 'value'; start: number; text: string; label: string; metric: string | undefined }
  | { kind: 'range'; start: number; text: string }
  | { kind: 'none' };

const isName = (letter: string | undefined): boolean => letter !== undefined && /[A-Za-z0-9_:.]/.test(letter);

/** What stands at the cursor. */
export function placeOf(expr: string, cursor: number): Place {
  const open: { letter: string; at: number }[] = [];
  let quote = '';
  let quoteAt = 0;
  for (let at = 0; at < cursor; at += 1) {
    const letter = expr[at] ?? '';
    if (quote !== '') {
      if (letter === '\\' && quote !== '`') at += 1;
      else if (letter === quote) quote = '';
    } else if (letter === '"' || letter === "'" || letter === '`') [quote, quoteAt] = [letter, at];
    else if (letter === '#') {
      const end = expr.indexOf('\n', at);
      if (end === -1 || end >= cursor) return { kind: 'none' };
      at = end;
    } else if ('({['.includes(letter)) open.push({ letter, at });
    else if (')}]'.includes(letter)) open.pop();
  }
  const inner = open.at(-1);
  if (quote !== '') {
    const label = /([A-Za-z_][A-Za-z0-9_.]*)\s*(?:=~|!~|!=|=)\s*$/.exec(expr.slice(0, quoteAt))?.[1];
    if (inner?.letter !== '{' || label === undefined) return { kind: 'none' };
    return { kind: 'value', start: quoteAt + 1, text: expr.slice(quoteAt + 1, cursor), label, metric: metricBefore(expr, inner.at) };
  }
  let start = cursor;
  while (start > 0 && isName(expr[start - 1])) start -= 1;
  const text = expr.slice(start, cursor);
  if (inner?.letter === '[') return { kind: 'range', start, text };
  if (inner?.letter === '{') {
    return /[,{]\s*$/.test(expr.slice(inner.at, start)) ? { kind: 'label', start, text, metric: metricBefore(expr, inner.at) } : { kind: 'none' };
  }
  if (inner?.letter === '(' && /\b(by|without|on|ignoring|group_left|group_right)\s*$/i.test(expr.slice(0, inner.at))) {
    return { kind: 'label', start, text, metric: firstMetric(expr) };
  }
  if (/^\d/.test(text)) return { kind: 'none' };
  return { kind: 'expression', start, text };
}

function metricBefore(expr: string, brace: number): string | undefined {
  return /([A-Za-z_:][A-Za-z0-9_:]*)\s*$/.exec(expr.slice(0, brace))?.[1];
}

const words = new Set([...Object.keys(FUNCTIONS), ...Object.keys(AGGREGATIONS), ...KEYWORDS]);

/** The first word of an expression that can only be a metric. */
export function firstMetric(expr: string): string | undefined {
  const bare = expr.replace(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/g, '""').replace(/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/gi, ' ').replace(/\[[^\]]*\]/g, ' ').replace(/\{[^}]*\}/g, '{}');
  for (const found of bare.matchAll(/[A-Za-z_:][A-Za-z0-9_:]*/g)) {
    const next = bare.slice((found.index ?? 0) + found[0].length).trimStart()[0];
    if (!words.has(found[0]) && next !== '(') return found[0];
  }
  return undefined;
}

export interface Suggestion {
  text: string;
  /** What is put into the editor. */
  insert: string;
  detail: string;
  kind: 'metric' | 'function' | 'keyword' | 'label' | 'value' | 'range';
}

/** Names that hold `typed`: those that begin with it first, then those with a word that does, then the rest. */
export function rank(names: readonly string[], typed: string, most: number): string[] {
  const wanted = typed.toLowerCase();
  if (wanted === '') return names.slice(0, most);
  const scored: { name: string; score: number }[] = [];
  for (const name of names) {
    const at = name.toLowerCase().indexOf(wanted);
    if (at < 0) continue;
    const score = at === 0 ? 0 : /[_.:]/.test(name[at - 1] ?? '') ? 1 : 2;
    scored.push({ name, score });
  }
  scored.sort((a, b) => a.score - b.score || a.name.length - b.name.length || (a.name < b.name ? -1 : 1));
  return scored.slice(0, most).map((one) => one.name);
}

export interface Known {
  metrics: readonly string[];
  help: Record<string, string>;
  labels: readonly string[];
  values: readonly string[];
}

/** What may stand at a place, best first. */
export function suggest(place: Place, known: Known, most = 40): Suggestion[] {
  switch (place.kind) {
    case 'none': return [];
    case 'range': return RANGES.filter((one) => one.startsWith(place.text)).map((text) => ({ text, insert: text, detail: 'range', kind: 'range' }));
    case 'label': return rank(known.labels.filter((one) => one !== '__name__'), place.text, most).map((text) => ({ text, insert: text, detail: 'label', kind: 'label' }));
    case 'value': return rank(known.values, place.text, most).map((text) => ({ text, insert: text.replace(/\\/g, '\\\\').replace(/"/g, '\\"'), detail: 'value', kind: 'value' }));
    case 'expression': {
      if (place.text === '') return [];
      const calls = { ...FUNCTIONS, ...AGGREGATIONS };
      const functions = rank(Object.keys(calls), place.text, 8).filter((name) => name.startsWith(place.text.toLowerCase()));
      const metrics = rank(known.metrics, place.text, most);
      return [
        ...functions.map((text): Suggestion => ({ text, insert: `${text}(`, detail: calls[text] ?? '', kind: 'function' })),
        ...metrics.map((text): Suggestion => ({ text, insert: text, detail: helpOf(text, known.help), kind: 'metric' })),
        ...KEYWORDS.filter((one) => one.startsWith(place.text) && place.text.length > 1).map((text): Suggestion => ({ text, insert: text, detail: 'keyword', kind: 'keyword' })),
      ];
    }
  }
}

/** The description of a metric, also of a histogram's parts. */
export function helpOf(metric: string, help: Record<string, string>): string {
  return help[metric] ?? help[metric.replace(/_(bucket|count|sum)$/, '')] ?? '';
}

/** The text after a suggestion was taken, and where the cursor stands then. */
export function apply(expr: string, place: Exclude<Place, { kind: 'none' }>, cursor: number, insert: string): { text: string; cursor: number } {
  let end = cursor;
  if (place.kind !== 'value') while (end < expr.length && isName(expr[end])) end += 1;
  const rest = expr.slice(end);
  const taken = insert.endsWith('(') && rest.startsWith('(') ? insert.slice(0, -1) : insert;
  return { text: expr.slice(0, place.start) + taken + rest, cursor: place.start + taken.length };
}
