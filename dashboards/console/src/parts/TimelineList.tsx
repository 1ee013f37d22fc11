/* What the journal says of an incident or an alert, the newest first. */
import type { TimelineLine } from '../api/types';
import { When } from './basics';

const DOTS: [RegExp, string][] = [
  [/fired|opened|escalated|failed|gave_up|dead|handed/, 'dot-critical'], [/resolved|verified|cleared|closed|finished/, 'dot-good'], [/repair|undone/, 'dot-high'], [/ladder|acknowledged|notification|chat|page|updated/, 'dot-info'],
];
const dotOf = (kind: string): string => DOTS.find(([pattern]) => pattern.test(kind))?.[1] ?? '';

export function TimelineList({ lines }: { lines: readonly TimelineLine[] }) {
  return (
    <ol className="timeline">
      {lines.toReversed().map((line) => (
        <li key={line.seq} className={dotOf(line.kind)}>
          <When at={line.at} clock />
          <span className="wrap">{line.text}<span className="muted small"> · {line.actor}</span></span>
        </li>
      ))}
    </ol>
  );
}
