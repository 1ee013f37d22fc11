/* Lines over time (uPlot): threshold lines, marks (deployments, repairs), tooltip, legend; dragging zooms the address's time span. */
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useMemo, useRef, useState } from 'react';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { useSetAddress } from '../hooks';
import { withUnit, type Unit } from '../lib/format';
import { formatClock, formatMoment, zoneName, type Range } from '../lib/time';
import { useZone } from '../prefs';
import { SERIES } from '../theme';

export interface Line {
  name: string;
  /** Pairs of Unix seconds and value. */
  points: readonly (readonly [number, number])[];
  color?: string;
}

export interface Threshold {
  value: number;
  name: string;
  color: string;
}

export interface Mark {
  at: number;
  name: string;
  color: string;
}

interface Props {
  lines: readonly Line[];
  range: Range;
  step?: number;
  unit?: Unit;
  height?: number;
  thresholds?: readonly Threshold[];
  marks?: readonly Mark[];
  legend?: boolean;
  bars?: boolean;
  zoom?: boolean;
  label: string;
}

/** Lines on one axis of times; where a series has no point within a step there is a gap. */
export function align(lines: readonly Line[]): [number[], ...(number | null)[][]] {
  const times = [...new Set(lines.flatMap((line) => line.points.map(([at]) => at)))].sort((a, b) => a - b);
  const place = new Map(times.map((at, index) => [at, index]));
  const columns = lines.map((line) => {
    const column: (number | null)[] = new Array<number | null>(times.length).fill(null);
    for (const [at, value] of line.points) column[place.get(at) ?? 0] = Number.isFinite(value) ? value : null;
    return column;
  });
  return [times, ...columns];
}

const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Plot({ lines, range, unit = 'none', height = 220, thresholds = [], marks = [], legend = true, bars = false, zoom = true, label }: Props) {
  const { ref, width } = useElementSize<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [tip, setTip] = useState<{ left: number; top: number; at: number; index: number } | null>(null);
  const scheme = useComputedColorScheme();
  const zone = useZone();
  const setAddress = useSetAddress();
  const colored = useMemo(() => lines.map((line, at) => ({ ...line, color: line.color ?? SERIES[at % SERIES.length] ?? '#888888' })), [lines]);
  const shown = useMemo(() => colored.filter((line) => !hidden.has(line.name)), [colored, hidden]);
  const data = useMemo(() => align(shown), [shown]);
  const latest = useRef({ thresholds, marks, range, data });
  latest.current = { thresholds, marks, range, data };
  const shape = JSON.stringify([shown.map((line) => [line.name, line.color]), unit, bars, zone, scheme, height, thresholds.map((one) => one.value)]);

  useEffect(() => {
    if (!place.current || width === 0) return;
    const [axis, grid] = [css('--wf-axis'), css('--wf-grid')];
    const font = '11px system-ui, sans-serif';
    const options: uPlot.Options = {
      width,
      height,
      padding: [8, 20, 0, 0],
      cursor: { drag: { x: zoom, y: false, setScale: false }, points: { size: 6 }, focus: { prox: 24 } },
      select: { show: zoom, left: 0, top: 0, width: 0, height: 0 },
      legend: { show: false },
      scales: {
        x: { time: true, range: () => [latest.current.range.from / 1_000, latest.current.range.to / 1_000] },
        y: {
          range: (_plot, least, most) => {
            const size = Math.max(Math.abs(least ?? 0), Math.abs(most ?? 0));
            const bounds = latest.current.thresholds.map((one) => one.value).filter((bound) => isNear(bound, size));
            const low = Math.min(least ?? 0, 0, ...bounds);
            const high = Math.max(most ?? 0, 0, ...bounds);
            return [low, high === low ? low + 1 : high + (high - low) * 0.08];
          },
        },
      },
      axes: [
        { stroke: axis, font, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, space: 70, values: (_plot, splits) => axisTimes(splits, zone) },
        { stroke: axis, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, size: 62, values: (_plot, splits) => splits.map((value) => withUnit(value, unit)) },
      ],
      series: [
        {},
        ...shown.map((line): uPlot.Series => ({
          label: line.name,
          stroke: line.color,
          width: 1.6,
          fill: shown.length === 1 && !bars ? `${line.color}1f` : bars ? `${line.color}aa` : undefined!,
          points: { show: (plot, index) => Array.from(plot.data[index] ?? []).filter((value) => value !== null).length < 2 },
          ...(bars ? { paths: uPlot.paths.bars?.({ size: [0.8, 24] }) ?? undefined! } : {}),
        })),
      ],
      hooks: {
        draw: [(plot) => { drawExtras(plot, latest.current.thresholds, latest.current.marks); drawZone(plot, zoneName(latest.current.range.to, zone), axis); }],
        setCursor: [
          (plot) => {
            const { left, top, idx } = plot.cursor;
            if (left === undefined || left < 0 || idx === null || idx === undefined) setTip(null);
            else setTip({ left, top: top ?? 0, at: plot.posToVal(left, 'x'), index: idx });
          },
        ],
        setSelect: [
          (plot) => {
            if (plot.select.width < 8) return;
            const from = Math.round(plot.posToVal(plot.select.left, 'x') * 1_000);
            const to = Math.round(plot.posToVal(plot.select.left + plot.select.width, 'x') * 1_000);
            plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            if (to - from >= 1_000) setAddress({ from: String(from), to: String(to) });
          },
        ],
      },
    };
    const made = new uPlot(options, latest.current.data as uPlot.AlignedData, place.current);
    plot.current = made;
    return () => {
      made.destroy();
      plot.current = null;
    };
    // `shape` stands for all that changes the picture's structure; data and size are set below.
  }, [shape, width > 0]);

  useEffect(() => {
    if (width > 0) plot.current?.setSize({ width, height });
  }, [width, height]);
  useEffect(() => {
    plot.current?.setData(data as uPlot.AlignedData);
  }, [data, range.from, range.to, thresholds, marks]);

  const newest = (line: Line): number => line.points.at(-1)?.[1] ?? NaN;
  const near = tip ? shown.map((line, at) => ({ line, value: data[at + 1]?.[tip.index] ?? null })).filter((one): one is { line: (typeof shown)[number]; value: number } => one.value !== null) : [];
  near.sort((a, b) => b.value - a.value);
  return (
    <div ref={ref}>
      <div className="plot" ref={place} style={{ height }} role="img" aria-label={`${label}: ${colored.slice(0, 8).map((line) => `${line.name} ${withUnit(newest(line), unit)}`).join(', ') || 'no data'}`}>
        {tip && near.length > 0 && (
          <div className="plot-tip" style={tip.left > width / 2 ? { right: width - 62 - tip.left + 14, top: 8 } : { left: tip.left + 76, top: 8 }}>
            <div className="muted nums">{formatMoment((data[0]?.[tip.index] ?? 0) * 1_000, zone)} {zoneName((data[0]?.[tip.index] ?? 0) * 1_000, zone)}</div>
            {near.slice(0, 10).map(({ line, value }) => (
              <div key={line.name} className="one">
                <span className="swatch" style={{ background: line.color }} />
                <span className="cut">{line.name}</span>
                <b>{withUnit(value, unit)}</b>
              </div>
            ))}
            {near.length > 10 && <div className="muted">and {near.length - 10} more</div>}
          </div>
        )}
      </div>
      {legend && colored.length > 0 && (
        <div className="legend" role="group" aria-label="Series">
          {colored.slice(0, 100).map((line) => (
            <button
              key={line.name}
              type="button"
              aria-pressed={!hidden.has(line.name)}
              title="Click: hide or show. Shift-click: only this one."
              onClick={(event) =>
                setHidden((before) => {
                  if (event.shiftKey) return before.size === colored.length - 1 && !before.has(line.name) ? new Set() : new Set(colored.map((one) => one.name).filter((name) => name !== line.name));
                  const after = new Set(before);
                  if (!after.delete(line.name)) after.add(line.name);
                  return after;
                })
              }
            >
              <span className="swatch" style={{ background: line.color }} />
              <span className="cut">{line.name}</span>
              <span className="value">{withUnit(newest(line), unit)}</span>
            </button>
          ))}
        </div>
      )}
    </div>
  );
}

function axisTimes(splits: number[], zone: string): string[] {
  const step = (splits[1] ?? 0) - (splits[0] ?? 0);
  let day = '';
  return splits.map((at) => {
    const whole = formatMoment(at * 1_000, zone);
    const clock = step < 60 ? formatClock(at * 1_000, zone) : whole.slice(11, 16);
    const date = whole.slice(5, 10);
    const shown = step >= 86_400 ? date : clock === '00:00' || (day !== '' && day !== date) ? `${date} ${clock}` : clock;
    day = date;
    return shown;
  });
}

/** Whether a bound is drawn at its place: where it is a hundred times the values, they would be a flat line, so that it is named at the edge instead. */
const isNear = (bound: number, size: number): boolean => size === 0 || Math.abs(bound) <= size * 100;

/** The zone of the times, in the corner between the axes. */
function drawZone(plot: uPlot, name: string, color: string): void {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio || 1;
  ctx.save();
  ctx.font = `${10 * scale}px system-ui, sans-serif`;
  ctx.fillStyle = color;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'alphabetic';
  ctx.fillText(name, 2 * scale, bbox.top + bbox.height + 22 * scale);
  ctx.restore();
}

/** Pixels: narrower plots show marks without their names. */
const NARROW = 260;

function drawExtras(plot: uPlot, thresholds: readonly Threshold[], marks: readonly Mark[]): void {
  const { ctx, bbox } = plot;
  const scale = devicePixelRatio || 1;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  ctx.font = `${11 * scale}px system-ui, sans-serif`;
  ctx.textAlign = 'left';
  ctx.textBaseline = 'alphabetic';
  ctx.lineWidth = 1.5 * scale;
  let along = 6 * scale;
  const names: { text: string; color: string; x: number; y: number }[] = [];
  for (const { value, name, color } of thresholds) {
    const place = plot.valToPos(value, 'y', true);
    const above = place < bbox.top - 1;
    const below = place > bbox.top + bbox.height + 1;
    const y = above ? bbox.top + scale : below ? bbox.top + bbox.height - scale : place;
    const text = above ? `↑ ${name}` : below ? `↓ ${name}` : name;
    ctx.strokeStyle = color;
    ctx.setLineDash([6 * scale, 4 * scale]);
    ctx.beginPath();
    ctx.moveTo(bbox.left, y);
    ctx.lineTo(bbox.left + bbox.width, y);
    ctx.stroke();
    // Side by side, since conditions often lie close together.
    names.push({ text, color, x: bbox.left + along, y: y - 16 * scale < bbox.top ? y + 13 * scale : y - 5 * scale });
    along += ctx.measureText(text).width + 14 * scale;
  }
  const ground = getComputedStyle(plot.root).getPropertyValue('--wf-panel').trim() || 'transparent';
  const write = (text: string, color: string, x: number, y: number): void => {
    ctx.globalAlpha = 0.82;
    ctx.fillStyle = ground;
    ctx.fillRect(x - 2 * scale, y - 10 * scale, ctx.measureText(text).width + 4 * scale, 13 * scale);
    ctx.globalAlpha = 1;
    ctx.fillStyle = color;
    ctx.fillText(text, x, y);
  };
  for (const one of names) write(one.text, one.color, one.x, one.y);
  ctx.setLineDash([2 * scale, 3 * scale]);
  const taken: { left: number; right: number; row: number }[] = [];
  for (const { at, name, color } of [...marks].sort((a, b) => a.at - b.at)) {
    const x = plot.valToPos(at, 'x', true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = color;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    // In a narrow plot the names would cover the lines.
    if (bbox.width < NARROW * scale) continue;
    const wide = ctx.measureText(name).width;
    const left = x + wide + 8 * scale > bbox.left + bbox.width ? x - wide - 4 * scale : x + 4 * scale;
    const right = left + wide;
    // The first row in which it covers no other name.
    const rows = taken.filter((one) => one.left < right + 4 * scale && one.right > left - 4 * scale).map((one) => one.row);
    let row = 0;
    while (rows.includes(row)) row += 1;
    taken.push({ left, right, row });
    const y = bbox.top + (12 + 14 * (row % 8)) * scale;
    write(name, color, left, y);
  }
  ctx.restore();
}
