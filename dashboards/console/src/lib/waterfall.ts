/*
 * A trace as rows to draw. In: spans in any order, with missing parents, clock skew, loops. Out: rows in tree order with depth and place,
 * and the critical path: the pieces of spans that, had they been shorter, would have ended the trace sooner. Pure; linear but for sorts.
 */

export interface Span {
  id: string;
  parent: string;
  service: string;
  name: string;
  kind: string;
  status: string;
  /** Nanoseconds since the trace began (a number is exact for 104 days). */
  start: number;
  /** Nanoseconds. */
  duration: number;
}

export interface Row<S extends Span = Span> {
  span: S;
  depth: number;
  children: number;
  /** Its parent is not in the trace. */
  orphan: boolean;
}

export interface Piece {
  id: string;
  start: number;
  end: number;
}

/** The children of each span in order of start, and the roots: spans without a parent here, or in a loop. */
function family<S extends Span>(spans: readonly S[]): { roots: S[]; children: Map<string, S[]> } {
  const byId = new Map<string, S>();
  for (const span of spans) if (!byId.has(span.id)) byId.set(span.id, span);
  const children = new Map<string, S[]>();
  const roots: S[] = [];
  for (const span of byId.values()) {
    if (span.parent === '' || span.parent === span.id || !byId.has(span.parent)) roots.push(span);
    else {
      const list = children.get(span.parent);
      if (list) list.push(span);
      else children.set(span.parent, [span]);
    }
  }
  const order = (a: S, b: S): number => a.start - b.start || b.duration - a.duration || (a.id < b.id ? -1 : 1);
  for (const list of children.values()) list.sort(order);
  roots.sort(order);
  // Loops hang on no root: their earliest span becomes one.
  const reached = new Set<string>();
  const reach = (from: S): void => {
    const stack = [from];
    for (let span = stack.pop(); span; span = stack.pop()) {
      if (reached.has(span.id)) continue;
      reached.add(span.id);
      stack.push(...(children.get(span.id) ?? []));
    }
  };
  roots.forEach(reach);
  for (const span of [...byId.values()].sort(order)) {
    if (!reached.has(span.id)) {
      roots.push(span);
      reach(span);
    }
  }
  return { roots, children };
}

/** The rows in the order of a tree; children of `collapsed` spans are left out. */
export function layout<S extends Span>(spans: readonly S[], collapsed: ReadonlySet<string> = new Set()): Row<S>[] {
  const { roots, children } = family(spans);
  const rows: Row<S>[] = [];
  const seen = new Set<string>();
  const stack: { span: S; depth: number }[] = roots.toReversed().map((span) => ({ span, depth: 0 }));
  for (let next = stack.pop(); next; next = stack.pop()) {
    const { span, depth } = next;
    if (seen.has(span.id)) continue;
    seen.add(span.id);
    const below = (children.get(span.id) ?? []).filter((child) => !seen.has(child.id));
    rows.push({ span, depth, children: below.length, orphan: depth === 0 && span.parent !== '' });
    if (!collapsed.has(span.id)) for (const child of below.toReversed()) stack.push({ span: child, depth: depth + 1 });
  }
  return rows;
}

/** Start and end of all spans. */
export function extent(spans: readonly Span[]): { start: number; end: number } {
  let [start, end] = [Infinity, -Infinity];
  for (const span of spans) {
    start = Math.min(start, span.start);
    end = Math.max(end, span.start + span.duration);
  }
  return spans.length === 0 ? { start: 0, end: 1 } : { start, end: Math.max(end, start + 1) };
}

/**
 * The critical path of the trace's longest root, from its end back to its start: at each moment the child that ended last before it; where no child
 * was at work, the span itself. Pieces are disjoint and together as long as the root. Children outside of their parent are cut to it.
 */
export function criticalPath(spans: readonly Span[]): Piece[] {
  const { roots, children } = family(spans);
  const root = roots.reduce<Span | undefined>((best, span) => (!best || span.duration > best.duration ? span : best), undefined);
  if (!root) return [];
  const pieces: Piece[] = [];
  const seen = new Set<string>();
  const piece = (id: string, start: number, end: number): void => {
    if (end > start) pieces.push({ id, start, end });
  };
  type Task = { span: Span; from: number; to: number };
  const stack: ({ walk: Task } | { own: Piece })[] = [{ walk: { span: root, from: root.start, to: root.start + root.duration } }];
  for (let next = stack.pop(); next; next = stack.pop()) {
    if ('own' in next) {
      piece(next.own.id, next.own.start, next.own.end);
      continue;
    }
    const { span, from, to } = next.walk;
    if (seen.has(span.id)) {
      piece(span.id, from, to);
      continue;
    }
    seen.add(span.id);
    const below = (children.get(span.id) ?? [])
      .map((child) => ({ child, start: Math.max(child.start, from), end: Math.min(child.start + child.duration, to) }))
      .filter((one) => one.end > one.start)
      .sort((a, b) => b.end - a.end || a.start - b.start);
    let cursor = to;
    const steps: ({ walk: Task } | { own: Piece })[] = [];
    for (const one of below) {
      // One that was still at work when a later one began did not hold it up.
      if (one.end > cursor) continue;
      steps.push({ own: { id: span.id, start: one.end, end: cursor } });
      steps.push({ walk: { span: one.child, from: one.start, to: one.end } });
      cursor = one.start;
    }
    steps.push({ own: { id: span.id, start: from, end: cursor } });
    for (const step of steps.toReversed()) stack.push(step);
  }
  return pieces.sort((a, b) => a.start - b.start);
}

/** How long each span is on the critical path, in nanoseconds. */
export function pathShare(pieces: readonly Piece[]): Map<string, number> {
  const shares = new Map<string, number>();
  for (const one of pieces) shares.set(one.id, (shares.get(one.id) ?? 0) + one.end - one.start);
  return shares;
}
