/* Places for a service map: callers left of callees, as few crossings as a few sweeps give. Pure. */

export interface Edge {
  from: string;
  to: string;
}

export interface Place {
  name: string;
  column: number;
  row: number;
}

/** Columns by the longest way from a caller that nobody calls; edges that close a loop do not count. Rows by the mean of the neighbours' rows. */
export function places(names: readonly string[], edges: readonly Edge[]): Place[] {
  const known = new Set(names);
  const out = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { from, to } of edges) if (known.has(from) && known.has(to) && from !== to) out.get(from)?.push(to);
  const back = new Set<string>();
  const mark = new Map<string, 'open' | 'done'>();
  const order: string[] = [];
  const called = new Set(edges.map((edge) => edge.to));
  for (const start of [...names.filter((name) => !called.has(name)), ...names]) {
    if (mark.has(start)) continue;
    const stack: { name: string; next: number }[] = [{ name: start, next: 0 }];
    mark.set(start, 'open');
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const to = out.get(top.name)?.[top.next];
      top.next += 1;
      if (to === undefined) {
        mark.set(top.name, 'done');
        order.unshift(top.name);
        stack.pop();
      } else if (mark.get(to) === 'open') back.add(`${top.name}\0${to}`);
      else if (!mark.has(to)) {
        mark.set(to, 'open');
        stack.push({ name: to, next: 0 });
      }
    }
  }
  const column = new Map<string, number>(names.map((name) => [name, 0]));
  for (const name of order) for (const to of out.get(name) ?? []) if (!back.has(`${name}\0${to}`)) column.set(to, Math.max(column.get(to) ?? 0, (column.get(name) ?? 0) + 1));
  const columns: string[][] = [];
  for (const name of [...names].sort()) (columns[column.get(name) ?? 0] ??= []).push(name);
  const row = new Map<string, number>();
  const number = (list: string[]): void => list.forEach((name, at) => row.set(name, at - (list.length - 1) / 2));
  columns.forEach((list) => number(list));
  const near = new Map<string, string[]>(names.map((name) => [name, []]));
  for (const { from, to } of edges) {
    near.get(from)?.push(to);
    near.get(to)?.push(from);
  }
  for (let sweep = 0; sweep < 4; sweep += 1) {
    for (const list of sweep % 2 === 0 ? columns : columns.toReversed()) {
      const weight = new Map(list.map((name) => {
        const others = (near.get(name) ?? []).filter((other) => column.get(other) !== column.get(name) && row.has(other));
        return [name, others.length === 0 ? (row.get(name) ?? 0) : others.reduce((sum, other) => sum + (row.get(other) ?? 0), 0) / others.length];
      }));
      list.sort((a, b) => (weight.get(a) ?? 0) - (weight.get(b) ?? 0) || (a < b ? -1 : 1));
      number(list);
    }
  }
  return names.map((name) => ({ name, column: column.get(name) ?? 0, row: row.get(name) ?? 0 }));
}
