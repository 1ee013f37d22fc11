/* An expression over time, with the conditions of a rule as lines. Shared by incidents, alerts, rules and services. */
import { range as askRange } from '../api/client';
import type { Labels, Severity } from '../api/types';
import { useAsk } from '../hooks';
import { guessUnit, labelText, parseThreshold, splitThreshold, withUnit, type Unit } from '../lib/format';
import { stepFor, type Range } from '../lib/time';
import { Answer, Empty } from './basics';
import { Plot, type Mark, type Threshold } from './Plot';

const COLORS: Record<string, string> = { critical: '#e5484d', high: '#f76808', warning: '#c99700', info: '#3b82f6' };

/** The lines of a rule's conditions, and the expression to plot: without its own comparison, which would hide what is below. */
export function conditions(expr: string, thresholds: Partial<Record<Severity, string>> | undefined): { expr: string; lines: { name: string; value: number; color: string }[] } {
  if (thresholds && Object.keys(thresholds).length > 0) {
    const lines = Object.entries(thresholds).flatMap(([severity, text]) => {
      const found = parseThreshold(text);
      return found ? [{ name: `${severity} ${text}`, value: found.bound, color: COLORS[severity] ?? '#888888' }] : [];
    });
    return { expr, lines };
  }
  const split = splitThreshold(expr);
  const found = split && parseThreshold(split.threshold);
  return split && found ? { expr: split.expr, lines: [{ name: split.threshold, value: found.bound, color: '#e5484d' }] } : { expr, lines: [] };
}

interface Props {
  expr: string;
  /** Gives the time span when asked; `id` names it, and a change of it asks anew. */
  span: { id: string; resolve: () => Range; live: boolean };
  thresholds?: Partial<Record<Severity, string>> | undefined;
  /** Only series whose labels are among these. */
  labels?: Labels;
  marks?: readonly Mark[];
  unit?: Unit;
  height?: number;
  label: string;
  legend?: boolean;
  zoom?: boolean;
  name?: (labels: Labels) => string;
}

export function ExprPlot({ expr, span, thresholds, labels, marks = [], unit, height = 220, label, legend = true, zoom = false, name }: Props) {
  const what = conditions(expr, thresholds);
  const found = useAsk(['range', what.expr, span.id], async (signal) => {
    const range = span.resolve();
    const step = stepFor(range, 240);
    return { range, answer: await askRange(what.expr, range.from / 1_000, range.to / 1_000, step, signal) };
  }, { live: span.live ? 2 : false, keep: true });
  const shown = unit ?? guessUnit(what.expr);
  const lines: Threshold[] = what.lines.map((one) => ({ ...one, name: one.name.replace(/-?\d[\d.e+-]*$/, (bound) => withUnit(Number(bound), shown)) }));
  return (
    <div style={{ minHeight: height }}>
      <Answer of={found} height={height}>
        {({ range, answer }) => {
          const all = answer.data.resultType === 'matrix' ? answer.data.result : [];
          const fits = (metric: Labels): boolean => !labels || Object.entries(metric).every(([key, value]) => key === '__name__' || labels[key] === value);
          const series = all.filter((one) => fits(one.metric)).slice(0, 40);
          if (series.length === 0) return <div style={{ height }}><Empty title="No values in this time">Where an expression finds nothing, it is neither true nor false.</Empty></div>;
          return (
            <Plot
              lines={series.map((one) => ({ name: name ? name(one.metric) : labelText(one.metric), points: one.values.map(([at, value]) => [at, Number(value)] as const) }))}
              range={range}
              unit={shown}
              height={height}
              thresholds={lines}
              marks={marks}
              legend={legend && (series.length > 1 || !labels)}
              zoom={zoom}
              label={label}
            />
          );
        }}
      </Answer>
    </div>
  );
}
