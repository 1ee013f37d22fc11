/* Rule files as text: what a new one begins with, a test to begin with, and where a problem stands. Pure; the server is the judge. */

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

/** A unit test of the first alert in a file. */
export function newTest(text: string): string {
  const name = /^\s*-?\s*alert:\s*["']?([^\s"'#]+)/m.exec(text)?.[1] ?? 'NewAlert';
  return `evaluation_interval: 1m
tests:
  - name: ${name} fires
    interval: 1m
    input_series:
      - series: 'up{job="shop"}'
        values: '0x10'
    alert_rule_test:
      - eval_time: 5m
        alertname: ${name}
        exp_alerts:
          - exp_labels:
              severity: warning
              job: shop
`;
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
