import { expect, it } from 'vitest';
import { addTerm, fieldText, histogramSql, levelOf, logWhere, nanosOf, parseSearch, patternLinesSql, patternOf, patternSql, phraseOf, spanWhere } from './search';

it('a search line is words, phrases and fields', () => {
  expect(parseSearch('timeout "no answer" -retry service=checkout level>=warn -http.route=/x user="Ann \\"A\\" B"')).toEqual([
    { kind: 'text', text: 'timeout', not: false },
    { kind: 'text', text: 'no answer', not: false },
    { kind: 'text', text: 'retry', not: true },
    { kind: 'field', key: 'service', op: '=', value: 'checkout' },
    { kind: 'field', key: 'level', op: '>=', value: 'warn' },
    { kind: 'field', key: 'http.route', op: '!=', value: '/x' },
    { kind: 'field', key: 'user', op: '=', value: 'Ann "A" B' },
  ]);
  expect(parseSearch('   ""')).toEqual([]);
});
it('a field survives being written and read', () => {
  for (const value of ['plain', 'two words', 'a "quoted" \\ one', '']) {
    expect(parseSearch(fieldText('k', '=', value))).toEqual([{ kind: 'field', key: 'k', op: '=', value }]);
  }
  expect(addTerm('a=1 b', 'a=1')).toBe('a=1 b');
  expect(addTerm('', 'a=1')).toBe('a=1');
});
it('whatever a person writes stays inside a literal', () => {
  const where = logWhere(parseSearch(`x'; "a' OR '1'='1" k'=1 key="') OR 1=1 --"`), 0, 1);
  // Literals cut out, nothing of it is left.
  const bare = where.replace(/'(?:[^'\\]|\\.)*'/g, '?');
  expect(bare).not.toMatch(/1=1|--|;|'/);
});
it('ids must be ids, levels must be levels, numbers must be numbers', () => {
  expect(logWhere(parseSearch('trace=nope'), 0, 1)).toMatch(/ AND 0$/);
  expect(logWhere(parseSearch(`trace=${'AB'.repeat(16)}`), 0, 1)).toContain(`trace_id = unhex('${'ab'.repeat(16)}')`);
  expect(logWhere(parseSearch('level>=warn'), 0, 1)).toContain('severity_number >= 13');
  expect(spanWhere(parseSearch('duration>1.5s status=error'), 0, 1)).toContain("duration > 1500000000 AND toString(status) = 'ERROR'");
  expect(spanWhere(parseSearch('duration>fast'), 0, 1)).toMatch(/ AND 0$/);
  expect(spanWhere(parseSearch('retries>3) OR (1'), 0, 1)).toContain('NULL');
});
it('whole words inside a phrase are asked of the index too', () => {
  const tokens = (line: string): string[] => [...logWhere(parseSearch(line), 0, 1).matchAll(/hasToken\(lower\(body\), '(\w+)'\)/g)].map(([, word]) => word ?? '');
  expect(tokens('"no Answer from bank"')).toEqual(['answer', 'from']);
  expect(tokens('body~"no answer from"')).toEqual(['answer']);
  expect(tokens('10.0.0.1')).toEqual(['0']);
  // A first or last word may be a part of a longer one; what is not wanted, and what is not ASCII, is not asked.
  for (const line of ['timeout', '"no answer"', '-"no answer from"', '"a größer b"', 'body!~"a b c"', 'other~"a b c"']) expect(tokens(line)).toEqual([]);
  expect(logWhere(parseSearch('"a b c"'), 0, 1)).toMatch(/hasToken\(lower\(body\), 'b'\) AND body ILIKE '%a b c%'$/);
});
it('small things', () => {
  expect([levelOf(0), levelOf(9), levelOf(17), levelOf(24)]).toEqual(['unset', 'info', 'error', 'fatal']);
  expect([nanosOf('200ms'), nanosOf('2'), nanosOf('x')]).toEqual([200_000_000, 2, undefined]);
  expect(patternOf('no answer from bank-3 within 2.0 s for charge a90daf "x"')).toBe('no answer from bank-<num> within <num> s for charge <id> <text>');
});

it('lines alike become one pattern, in the same way here and in SQL', () => {
  expect(patternOf('user 4be9f1d2-77aa-4c1e-9d0b-2f6a8c1e0d3b paid 12.50 with DEAD01BEEF, face 0xff, 123a45, 1800000')).toBe('user <id> paid <num> with <id>, face <id>, <id>, <id>');
  expect(patternOf('the facade added a decade')).toBe('the facade added a decade');
  expect(phraseOf('charge <id> failed: no answer from bank-<num>')).toBe('failed: no answer from bank-');
  // The holes hold quotes and backslashes, which must arrive as they are.
  expect(patternSql).toContain(`|\\'[^\\']*\\''`);
  expect(patternSql).toContain(`'\\\\d+(?:\\\\.\\\\d+)*'`);
});

it('a line that sampling kept counts for all that it stands for', () => {
  const histogram = histogramSql(parseSearch('timeout'), 0, 60_000, 5);
  expect(histogram.match(/sumIf\(greatest\(sample_rate, 1\), severity_number [^)]+\)/g)).toHaveLength(4);
  expect(histogram).toContain('toIntervalSecond(5)');
  const lines = patternLinesSql(parseSearch('timeout'), 0, 60_000);
  expect(lines).toContain('greatest(sample_rate, 1) AS weight');
  for (const statement of [histogram, lines]) {
    expect(statement).toContain(logWhere(parseSearch('timeout'), 0, 60_000));
    expect(statement).not.toContain('count');
  }
});
