import { describe, expect, it } from 'vitest';
import { bytes, count, csv, guessUnit, labelText, parseThreshold, percent, promString, short, splitThreshold, sqlString } from './format';

it.each([[0, '0'], [0.05, '0.05'], [1234, '1234'], [12_345, '12.3k'], [2_500_000, '2.5M'], [0.00012, '1.2e-4'], [-20_000, '-20k'], [Infinity, '+Inf'], [NaN, 'NaN'], [100, '100'], [1e9, '1G']])('%d is short %s', (value, text) => {
  expect(short(value)).toBe(text);
});
it('bytes, percent, counts', () => {
  expect([bytes(0), bytes(1536), bytes(5 * 1024 ** 3)]).toEqual(['0 B', '1.5 KiB', '5 GiB']);
  expect([percent(0.0845), percent(0.5), percent(0.00001), percent(0), percent(1)]).toEqual(['8.45 %', '50 %', '<0.01 %', '0 %', '100 %']);
  expect(count(1234567)).toBe('1\u202f234\u202f567');
});
it('units are guessed from expressions', () => {
  expect(guessUnit('histogram_quantile(0.95, sum by (le) (rate(x_bucket[5m])))')).toBe('seconds');
  expect(guessUnit('sum by (a) (rate(x{b="/c"}[5m])) / sum by (a) (rate(x[5m]))')).toBe('ratio');
  expect(guessUnit('process_resident_memory_bytes')).toBe('bytes');
  expect(guessUnit('sum(rate(x_total{p="a/b"}[5m]))')).toBe('none');
});
describe('texts stay texts', () => {
  it('in SQL', () => {
    expect(sqlString("x' OR 1=1 --")).toBe("'x\\' OR 1=1 --'");
    expect(sqlString('a\\')).toBe("'a\\\\'");
    expect(sqlString("\\' UNION")).toBe("'\\\\\\' UNION'");
  });
  it('in PromQL', () => {
    expect(promString('a"} or up{b="\\')).toBe('"a\\"} or up{b=\\"\\\\"');
    expect(labelText({ __name__: 'up', job: 'a"b' })).toBe('up{job="a\\"b"}');
    expect(labelText({})).toBe('{}');
  });
  it('in spreadsheets', () => {
    expect(csv([['a', 'b,c', 1], ['=HYPERLINK("x")', null, -1]])).toBe('a,"b,c",1\r\n"\'=HYPERLINK(""x"")",,-1');
  });
});
it('thresholds are read', () => {
  expect(parseThreshold('> 0.05')).toEqual({ op: '>', bound: 0.05 });
  expect(parseThreshold('<= 1e3')).toEqual({ op: '<=', bound: 1000 });
  expect(parseThreshold('warm')).toBeUndefined();
  expect(splitThreshold('sum(rate(a[5m])) / sum(rate(b[5m])) > 0.5')).toEqual({ expr: 'sum(rate(a[5m])) / sum(rate(b[5m]))', threshold: '> 0.5' });
  expect(splitThreshold('a > 1 unless b <= 2')).toBeUndefined();
  expect(splitThreshold('sum(a > 1)')).toBeUndefined();
});
