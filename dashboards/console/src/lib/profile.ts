/*
 * A trace as a tree of calls: spans of one service and name below the same way from the root are one call. In: spans in any order. Out: for the flame
 * view places and widths, for the comparison of two traces what each call took in both. Pure; linear but for sorts.
 */
import { layout, type Span } from './waterfall';

export interface Sums {
  /** How many spans. */
  spans: number;
  /** Nanoseconds of all of them, one after the other. */
  total: number;
  /** Of that, while none of their children was at work. */
  self: number;
  failed: number;
}

export interface Call {
  /** The way from the root: unique. */
  key: string;
  service: string;
  name: string;
  depth: number;
  sums: Sums;
  /** The span that took longest. */
  longest: string;
  children: Call[];
}

const none = (): Sums => ({ spans: 0, total: 0, self: 0, failed: 0 });

/** How long at least one of the intervals lasts, within bounds. */
function covered(intervals: readonly (readonly [number, number])[], from: number, to: number): number {
  let [sum, reached] = [0, from];
  for (const [start, end] of [...intervals].sort((a, b) => a[0] - b[0])) {
    const [begin, stop] = [Math.max(start, reached), Math.min(end, to)];
    if (stop > begin) {
      sum += stop - begin;
      reached = stop;
    }
  }
  return sum;
}

/** The calls of a trace; several where it has several roots. Children in order of their time, longest first. */
export function calls(spans: readonly Span[]): Call[] {
  const roots: Call[] = [];
  const byKey = new Map<string, Call>();
  const longest = new Map<string, number>();
  /** The calls from the root to the row before. */
  const way: { call: Call; span: Span; below: (readonly [number, number])[] }[] = [];
  const leave = (): void => {
    const done = way.pop();
    if (done) done.call.sums.self += done.span.duration - covered(done.below, done.span.start, done.span.start + done.span.duration);
  };
  for (const { span, depth } of layout(spans)) {
    while (way.length > depth) leave();
    const parent = way.at(-1);
    parent?.below.push([span.start, span.start + span.duration]);
    const key = `${parent?.call.key ?? ''}\u0000${span.service}\u0001${span.name}`;
    let call = byKey.get(key);
    if (!call) {
      call = { key, service: span.service, name: span.name, depth, sums: none(), longest: span.id, children: [] };
      byKey.set(key, call);
      (parent?.call.children ?? roots).push(call);
    }
    call.sums.spans += 1;
    call.sums.total += span.duration;
    if (span.status === 'ERROR') call.sums.failed += 1;
    if (span.duration > (longest.get(key) ?? -1)) {
      longest.set(key, span.duration);
      call.longest = span.id;
    }
    way.push({ call, span, below: [] });
  }
  while (way.length > 0) leave();
  for (const list of [roots, ...[...byKey.values()].map((call) => call.children)]) list.sort((a, b) => b.sums.total - a.sums.total || (a.key < b.key ? -1 : 1));
  return roots;
}

export interface Box {
  call: Call;
  /** Shares of the whole width. */
  left: number;
  width: number;
}

/** Places of a flame view, by depth. A call is as wide as its share of its parent; children that worked side by side share the parent's width. */
export function flame(roots: readonly Call[], least = 0.0004): Box[][] {
  const levels: Box[][] = [];
  const work: { calls: readonly Call[]; left: number; width: number; whole: number; depth: number }[] = [{ calls: roots, left: 0, width: 1, whole: 0, depth: 0 }];
  for (let next = work.pop(); next; next = work.pop()) {
    const { calls, width, whole, depth } = next;
    const sum = Math.max(whole, calls.reduce((all, call) => all + call.sums.total, 0), 1);
    let { left } = next;
    for (const call of calls) {
      const wide = (call.sums.total / sum) * width;
      if (wide >= least) {
        (levels[depth] ??= []).push({ call, left, width: wide });
        if (call.children.length > 0) work.push({ calls: call.children, left, width: wide, whole: call.sums.total, depth: depth + 1 });
      }
      left += wide;
    }
  }
  for (const level of levels) level.sort((a, b) => a.left - b.left);
  return levels;
}

export interface Compared {
  key: string;
  service: string;
  name: string;
  depth: number;
  a: Sums | null;
  b: Sums | null;
  /** What b took longer by itself, in nanoseconds; less than 0: shorter. */
  change: number;
}

/** The calls of both traces in the order of the tree; a call that only one has stands where it has it. Roots are paired although their names differ only if both have one. */
export function compare(a: readonly Call[], b: readonly Call[]): Compared[] {
  const rows: Compared[] = [];
  interface Pair { a: Call | undefined; b: Call | undefined; depth: number }
  const pair = (left: readonly Call[], right: readonly Call[], depth: number): Pair[] => {
    const nameOf = (call: Call): string => `${call.service}\u0001${call.name}`;
    const others = new Map(right.map((call) => [nameOf(call), call]));
    const both = left.map((call): Pair => {
      const other = others.get(nameOf(call));
      others.delete(nameOf(call));
      return { a: call, b: other, depth };
    });
    const pairs = [...both, ...[...others.values()].map((call): Pair => ({ a: undefined, b: call, depth }))];
    return pairs.sort((x, y) => Math.max(y.a?.sums.total ?? 0, y.b?.sums.total ?? 0) - Math.max(x.a?.sums.total ?? 0, x.b?.sums.total ?? 0));
  };
  const stack = pair(a, b, 0).toReversed();
  for (let next = stack.pop(); next; next = stack.pop()) {
    const call = next.a ?? next.b;
    if (!call) continue;
    rows.push({ key: `${next.a?.key ?? ''}|${next.b?.key ?? ''}`, service: call.service, name: call.name, depth: next.depth, a: next.a?.sums ?? null, b: next.b?.sums ?? null, change: (next.b?.sums.self ?? 0) - (next.a?.sums.self ?? 0) });
    stack.push(...pair(next.a?.children ?? [], next.b?.children ?? [], next.depth + 1).toReversed());
  }
  return rows;
}
