/* The flame view of a trace: calls by depth, as wide as the time they took of their parent. Arrows move, Enter looks into a call, Escape comes out of it. */
import { Button } from '@mantine/core';
import { useMemo, useState } from 'react';
import { count } from '../lib/format';
import { flame, type Call } from '../lib/profile';
import { formatSeconds } from '../lib/time';

const HIGH = 24;

const find = (calls: readonly Call[], key: string): Call | undefined => {
  for (const call of calls) {
    const found = call.key === key ? call : find(call.children, key);
    if (found) return found;
  }
  return undefined;
};

export function Flame({ roots, color, picked, pick }: { roots: readonly Call[]; color: (service: string) => string; picked: string | undefined; pick: (span: string) => void }) {
  const [inside, setInside] = useState<string | null>(null);
  const [at, setAt] = useState<string | null>(null);
  const top = useMemo(() => (inside === null ? roots : [find(roots, inside)].filter((one) => one !== undefined)), [roots, inside]);
  const levels = useMemo(() => flame(top), [top]);
  const here = at ?? levels[0]?.[0]?.call.key ?? null;
  const choose = (call: Call): void => { setAt(call.key); pick(call.longest); };
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const level = levels.findIndex((boxes) => boxes.some((box) => box.call.key === here));
    const boxes = levels[level] ?? [];
    const place = boxes.findIndex((box) => box.call.key === here);
    const box = boxes[place];
    const nearest = (row: number): Call | undefined => levels[row]?.reduce((best, one) => (Math.abs(one.left - (box?.left ?? 0)) < Math.abs(best.left - (box?.left ?? 0)) ? one : best)).call;
    const next = { ArrowLeft: boxes[place - 1]?.call, ArrowRight: boxes[place + 1]?.call, ArrowUp: nearest(level - 1), ArrowDown: box?.call.children[0] && nearest(level + 1) }[event.key];
    if (next) {
      event.preventDefault();
      choose(next);
    } else if (event.key === 'Enter' && box) {
      event.preventDefault();
      setInside(box.call.key);
    } else if (event.key === 'Escape' && inside !== null) {
      event.preventDefault();
      setInside(null);
    }
  };
  return (
    <div>
      <div className="row small muted" style={{ padding: '8px 12px' }}>
        <span>Spans of one name below one call are one box; as wide as the time they took.</span>
        {inside !== null && <Button size="compact-xs" variant="default" onClick={() => setInside(null)}>Whole trace</Button>}
      </div>
      <div className="flame" style={{ height: Math.max(levels.length * HIGH, 120) }} tabIndex={0} role="tree" aria-label="Calls of the trace. Arrows move, Enter looks into one, Escape comes out." aria-activedescendant={here === null ? undefined : `flame-${levels.flat().findIndex((box) => box.call.key === here)}`} onKeyDown={onKeyDown}>
        {levels.flatMap((boxes, depth) => boxes.map((box) => ({ box, depth }))).map(({ box: { call, left, width }, depth }, place) => (
          <div
            key={call.key} id={`flame-${place}`} role="treeitem" aria-level={depth + 1} aria-selected={call.key === here}
            aria-label={`${call.service}: ${call.name}, ${count(call.sums.spans)} spans, ${formatSeconds(call.sums.total / 1e9)}, itself ${formatSeconds(call.sums.self / 1e9)}${call.sums.failed > 0 ? `, ${call.sums.failed} failed` : ''}`}
            className={`flame-box${call.key === here || call.longest === picked ? ' at' : ''}${call.sums.failed > 0 ? ' failed' : ''}`}
            style={{ left: `${left * 100}%`, width: `${width * 100}%`, top: depth * HIGH, '--tint': color(call.service) } as React.CSSProperties}
            title={`${call.service}: ${call.name}\n${count(call.sums.spans)} spans, ${formatSeconds(call.sums.total / 1e9)}, itself ${formatSeconds(call.sums.self / 1e9)}${call.sums.failed > 0 ? `\n${call.sums.failed} failed` : ''}`}
            onClick={() => choose(call)} onDoubleClick={() => setInside(call.key)}
          >
            {width > 0.03 && <span className="cut">{call.sums.failed > 0 ? '! ' : ''}{call.name}{call.sums.spans > 1 ? ` ×${count(call.sums.spans)}` : ''}</span>}
          </div>
        ))}
      </div>
    </div>
  );
}
