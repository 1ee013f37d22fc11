/* Buckets over time: cumulative series with a label `le` become cells that say how much fell between two bounds. Pure. */
import type { Labels } from '../api/types';

export interface Heatmap {
  /** Unix seconds, rising. */
  times: number[];
  /** Upper bounds, rising; the last may be infinite. */
  bounds: number[];
  /** By bound, then by time; nothing where there was no sample. */
  cells: (number | null)[][];
  most: number;
}

interface Series {
  metric: Labels;
  values: readonly (readonly [number, string])[];
}

/** Series with other labels beside `le` are added up. Nothing where no series has bounds. */
export function heatmap(series: readonly Series[]): Heatmap | null {
  const byBound = new Map<number, Map<number, number>>();
  for (const { metric, values } of series) {
    if (metric.le === undefined) continue;
    const bound = metric.le === '+Inf' ? Infinity : Number(metric.le);
    if (Number.isNaN(bound)) continue;
    const sums = byBound.get(bound) ?? new Map<number, number>();
    byBound.set(bound, sums);
    for (const [at, text] of values) {
      const value = Number(text);
      if (!Number.isNaN(value)) sums.set(at, (sums.get(at) ?? 0) + value);
    }
  }
  if (byBound.size < 2) return null;
  const bounds = [...byBound.keys()].sort((a, b) => a - b);
  const times = [...new Set([...byBound.values()].flatMap((sums) => [...sums.keys()]))].sort((a, b) => a - b);
  let most = 0;
  const cells = bounds.map((bound, row) => times.map((at) => {
    const reached = byBound.get(bound)?.get(at);
    if (reached === undefined) return null;
    // The next lower bound that has a sample at this moment.
    let below = 0;
    for (let lower = row - 1; lower >= 0; lower -= 1) {
      const found = byBound.get(bounds[lower] ?? 0)?.get(at);
      if (found !== undefined) {
        below = found;
        break;
      }
    }
    // Rounding can make a cumulative series fall by a hair.
    const value = Math.max(0, reached - below);
    most = Math.max(most, value);
    return value;
  }));
  return { times, bounds, cells, most };
}

/** What an expression about a histogram's buckets must look like to make a heatmap; nothing where there is no such histogram in it. */
export function bucketExpr(expr: string, window: string): string | undefined {
  const found = /\b([A-Za-z_:][\w:]*_bucket)\s*(\{[^}]*\})?/.exec(expr);
  return found ? `sum by (le) (increase(${found[1]}${found[2] ?? ''}[${window}]))` : undefined;
}
