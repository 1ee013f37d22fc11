/* Buckets over time as colours, drawn on a canvas; the cell under the pointer in words. The table view says the same numbers. */
import { useComputedColorScheme } from '@mantine/core';
import { useElementSize } from '@mantine/hooks';
import { useEffect, useRef, useState } from 'react';
import { short, withUnit, type Unit } from '../lib/format';
import type { Heatmap } from '../lib/heatmap';
import { formatMoment, zoneName, type Range } from '../lib/time';
import { useZone } from '../prefs';

const LEFT = 66;
const BELOW = 22;

/** Few is pale and many is strong, on both grounds; by the root, so that few shows beside many. */
const shade = (share: number, dark: boolean): string => (dark ? `rgba(255, 150, 70, ${0.12 + 0.88 * Math.sqrt(share)})` : `rgba(190, 64, 8, ${0.1 + 0.9 * Math.sqrt(share)})`);

export function HeatmapPlot({ map, range, step, unit, height = 300, label }: { map: Heatmap; range: Range; step: number; unit: Unit; height?: number; label: string }) {
  const { ref, width } = useElementSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [tip, setTip] = useState<{ left: number; column: number; row: number } | null>(null);
  const dark = useComputedColorScheme() === 'dark';
  const zone = useZone();
  const rows = map.bounds.length;
  const [wide, high] = [Math.max(width - LEFT, 1), height - BELOW];
  const cellHigh = high / rows;
  const [from, to] = [range.from / 1_000, range.to / 1_000];
  const xOf = (at: number): number => LEFT + ((at - from) / (to - from)) * wide;
  const cellWide = Math.max((step / (to - from)) * wide, 1);
  const boundText = (row: number): string => (map.bounds[row] === Infinity ? '∞' : withUnit(map.bounds[row] ?? NaN, unit));
  useEffect(() => {
    const place = canvas.current;
    const ctx = place?.getContext('2d');
    if (!place || !ctx || width === 0) return;
    const scale = devicePixelRatio || 1;
    place.width = width * scale;
    place.height = height * scale;
    ctx.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    ctx.font = '11px system-ui, sans-serif';
    ctx.textBaseline = 'middle';
    ctx.fillStyle = style.getPropertyValue('--wf-axis').trim();
    ctx.textAlign = 'right';
    const every = Math.max(1, Math.ceil(rows / (high / 15)));
    for (let row = 0; row < rows; row += every) ctx.fillText(boundText(row), LEFT - 6, Math.max(high - (row + 1) * cellHigh, 6));
    ctx.textAlign = 'left';
    ctx.font = '10px system-ui, sans-serif';
    ctx.fillText(zoneName(range.to, zone), 2, height - 8);
    ctx.font = '11px system-ui, sans-serif';
    const ticks = Math.max(1, Math.floor(wide / 130));
    for (let tick = 0; tick <= ticks; tick += 1) {
      const at = from + ((to - from) * tick) / ticks;
      ctx.textAlign = tick === 0 ? 'left' : tick === ticks ? 'right' : 'center';
      ctx.fillText(formatMoment(at * 1_000, zone).slice(5, 16), xOf(at), height - 8);
    }
    map.cells.forEach((cells, row) => cells.forEach((value, column) => {
      if (value === null || value <= 0) return;
      ctx.fillStyle = shade(value / map.most, dark);
      const x = Math.max(xOf((map.times[column] ?? 0) - step), LEFT);
      ctx.fillRect(x, high - (row + 1) * cellHigh, Math.max(Math.min(cellWide - 0.5, width - x), 0.5), Math.max(cellHigh - 0.5, 0.5));
    }));
  }, [map, width, height, dark, zone, from, to, step]);
  const onMove = (event: React.MouseEvent): void => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const at = from + ((x - LEFT) / wide) * (to - from);
    const column = map.times.findIndex((time) => time - step <= at && at < time);
    const row = Math.floor((high - y) / cellHigh);
    setTip(x < LEFT || column < 0 || row < 0 || row >= rows ? null : { left: x, column, row });
  };
  const value = tip && map.cells[tip.row]?.[tip.column];
  return (
    <div ref={ref} style={{ position: 'relative', height }} onMouseMove={onMove} onMouseLeave={() => setTip(null)}>
      <canvas ref={canvas} style={{ width: '100%', height, display: 'block' }} role="img" aria-label={`${label}: ${rows} buckets up to ${boundText(rows - 1)} over ${map.times.length} moments, at most ${short(map.most)} in one. The table view has the numbers.`} />
      {tip && value !== null && value !== undefined && (
        <div className="plot-tip" style={tip.left > width / 2 ? { right: width - tip.left + 14, top: 8 } : { left: tip.left + 14, top: 8 }}>
          <div className="muted nums">{formatMoment(((map.times[tip.column] ?? 0) - step) * 1_000, zone)} {zoneName(((map.times[tip.column] ?? 0) - step) * 1_000, zone)}</div>
          <div><b>{short(value)}</b> from {tip.row === 0 ? (map.bounds[0] ?? 0) > 0 ? '0' : '-∞' : boundText(tip.row - 1)} to {boundText(tip.row)}</div>
        </div>
      )}
    </div>
  );
}
