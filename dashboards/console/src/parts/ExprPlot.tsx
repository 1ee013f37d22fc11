/* An expression over time, with the conditions of a rule as lines. Shared by incidents, alerts, rules, remediations and services. */
import type { ReactNode } from 'react';
import { ApiError, range as askRange } from '../api/client';
import type { AlertView, Labels, Question, Severity } from '../api/types';
import { useAsk } from '../hooks';
import { isPromql } from '../lib/alerts';
import { guessUnit, labelText, parseThreshold, splitThreshold, withUnit, type Unit } from '../lib/format';
import { formatSeconds, stepFor, type Range } from '../lib/time';
import { Answer, Empty, Go } from './basics';
import { Plot, type Mark, type Threshold } from './Plot';
import { ruleValues } from './values';

/** The height of what stands below a rule's own values. */
const NOTE = 20;
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

/** The unit of a rule's values; a statement's names say nothing about it. */
export const unitOf = (expr: string, question?: Question): Unit => (isPromql(question) ? guessUnit(expr) : 'none');

/** What a plot shows, for those who say more about it. */
export interface Plotted {
  series: { labels: Labels; points: (readonly [number, number])[] }[];
  range: Range;
  /** Seconds between two points. */
  step: number;
  unit: Unit;
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
  /** What kind of question a rule's expression is; without it, PromQL. */
  question?: Question | undefined;
  /** The rule itself: where its question is none of PromQL, it is asked in its own words. */
  rule?: AlertView['rule'] | undefined;
  /** The one series that is meant, by the identity of its alert in hex. */
  fingerprint?: AlertView['fingerprint'] | undefined;
  /** Said below the plot. */
  foot?: (shown: Plotted) => ReactNode;
}

export function ExprPlot(props: Props) {
  const { question, rule, height = 220, expr, labels } = props;
  if (question === 'issues') return <OfIssues labels={labels} />;
  // A statement without its rule cannot be asked.
  if (question === 'sql') return rule ? <OfRule {...props} rule={rule} /> : <div style={{ height }}><Empty title="No plot">Its rule is not known any more: <code>{expr}</code></Empty></div>;
  return <OfPromql {...props} />;
}

function OfIssues({ labels }: { labels: Labels | undefined }) {
  const number = /^\d{1,15}$/.test(labels?.issue ?? '') ? labels?.issue : undefined;
  return <div className="small">It watches the list of error issues, which has no value over time. {number ? <Go to={`/errors/${number}`}>Error #{number}</Go> : <Go to="/errors">The errors</Go>}</div>;
}

function OfPromql(props: Props) {
  const { expr, thresholds, span, labels, height = 220, unit } = props;
  const what = conditions(expr, thresholds);
  const found = useAsk(['range', what.expr, span.id], async (signal) => {
    const range = span.resolve();
    const step = stepFor(range, 240);
    return { range, step, answer: await askRange(what.expr, range.from / 1_000, range.to / 1_000, step, signal) };
  }, { live: span.live ? 2 : false, keep: true });
  const shown = unit ?? guessUnit(what.expr);
  return (
    <div style={{ minHeight: height }}>
      <Answer of={found} height={height}>
        {({ range, step, answer }) => {
          const all = answer.data.resultType === 'matrix' ? answer.data.result : [];
          const series = all.filter((one) => fits(one.metric, labels)).slice(0, 40).map((one) => ({ labels: one.metric, points: one.values.map(([at, value]) => [at, Number(value)] as const) }));
          return <Lines {...props} shown={{ series, range, step, unit: shown }} lines={what.lines} />;
        }}
      </Answer>
    </div>
  );
}

/** What the rule itself says: its question is asked at moments of the time, which costs more than an expression. */
function OfRule(props: Props & { rule: AlertView['rule'] }) {
  const { rule, thresholds, span, labels, fingerprint, height = 220, unit } = props;
  const found = useAsk(['rule-values', rule.source, rule.group, rule.name, span.id], async (signal) => {
    const range = span.resolve();
    try {
      return { range, answer: await ruleValues(rule, range, signal) };
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return { range, answer: null };
      throw error;
    }
  }, { live: span.live ? 6 : false, keep: true });
  return (
    <div style={{ minHeight: height + NOTE }}>
      <Answer of={found} height={height + NOTE}>
        {({ range, answer }) => {
          if (answer === null) return <div style={{ height }}><Empty title="The rule is gone">Without it, nobody can say which values it had.</Empty></div>;
          const fit = answer.series.filter((one) => (typeof fingerprint === 'string' ? one.fingerprint === fingerprint : fits(one.labels, labels)));
          const series = fit.slice(0, 40).map((one) => ({ labels: Object.fromEntries(Object.entries(one.labels).filter(([name]) => name !== 'alertname')), points: one.values.map(([at, value]) => [at, Number(value)] as const) }));
          return (
            <>
              <Lines {...props} shown={{ series, range, step: answer.step, unit: unit ?? 'none' }} lines={thresholds ? conditions('', thresholds).lines : []} />
              <div className="small muted wrap" style={{ minHeight: NOTE }}>
                What the rule says, every {formatSeconds(answer.step)}{!answer.complete && '; time ran out: the oldest values are missing'}{answer.failures > 0 && `; it could not be asked at ${answer.failures} ${answer.failures === 1 ? 'moment' : 'moments'}${answer.error ? `: ${answer.error}` : ''}`}
              </div>
            </>
          );
        }}
      </Answer>
    </div>
  );
}

const fits = (metric: Labels, labels: Labels | undefined): boolean => !labels || Object.entries(metric).every(([key, value]) => key === '__name__' || labels[key] === value);

function Lines({ shown, lines, labels, marks = [], height = 220, label, legend = true, zoom = false, name, foot }: Props & { shown: Plotted; lines: Threshold[] }) {
  const { series, range, unit } = shown;
  const thresholds: Threshold[] = lines.map((one) => ({ ...one, name: one.name.replace(/-?\d[\d.e+-]*$/, (bound) => withUnit(Number(bound), unit)) }));
  return (
    <>
      {series.length === 0 ? <div style={{ height }}><Empty title="No values in this time">Where an expression finds nothing, it is neither true nor false.</Empty></div> : (
        <Plot
          lines={series.map((one) => ({ name: name ? name(one.labels) : labelText(one.labels), points: one.points }))}
          range={range}
          unit={unit}
          height={height}
          thresholds={thresholds}
          marks={marks}
          legend={legend && (series.length > 1 || !labels)}
          zoom={zoom}
          label={label}
        />
      )}
      {foot?.(shown)}
    </>
  );
}
