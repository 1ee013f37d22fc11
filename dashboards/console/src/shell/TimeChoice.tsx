/* What the time picker opens: spans, from and to, the zone. Fetched when it is first opened, with the fields that it needs. */
import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useSetAddress, useTimeSpan } from '../hooks';
import { formatMoment, momentIn, rangeName } from '../lib/time';
import { useZone } from '../prefs';
import { ZoneSelect } from './Zone';

const SPANS = ['now-5m', 'now-15m', 'now-30m', 'now-1h', 'now-3h', 'now-6h', 'now-12h', 'now-1d', 'now-2d', 'now-7d', 'now-14d', 'now-30d'];

export default function TimeChoice({ close }: { close: () => void }) {
  const set = useSetAddress();
  const span = useTimeSpan();
  const zone = useZone();
  const range = span.resolve();
  const [from, setFrom] = useState(formatMoment(range.from, zone));
  const [to, setTo] = useState(span.live ? 'now' : formatMoment(range.to, zone));
  const [start, end] = [momentIn(from, zone), momentIn(to, zone)];
  const wrong = start === undefined ? 'from' : end === undefined ? 'to' : start >= end ? 'order' : undefined;
  const apply = (event: React.FormEvent): void => {
    event.preventDefault();
    if (wrong) return;
    const text = (written: string, at: number | undefined): string => (written.startsWith('now') ? written : String(at));
    set({ from: text(from, start), to: text(to, end) });
    close();
  };
  return (
    <form className="stack" onSubmit={apply} style={{ gap: 10 }}>
      <div style={{ display: 'grid', gridTemplateColumns: 'repeat(3, 1fr)', gap: 6 }}>
        {SPANS.map((one) => (
          <Button key={one} size="compact-sm" variant={span.from === one || (!span.from && one === 'now-1h') ? 'filled' : 'default'} onClick={() => { set({ from: one, to: undefined }); close(); }}>
            {rangeName(one, 'now', zone).replace('Last ', '')}
          </Button>
        ))}
      </div>
      <TextInput size="xs" label="From" value={from} onChange={(event) => setFrom(event.currentTarget.value)} error={wrong === 'from' && 'write 2026-11-21 12:00, or now-90m'} />
      <TextInput size="xs" label="To" value={to} onChange={(event) => setTo(event.currentTarget.value)} error={wrong === 'to' ? 'write 2026-11-21 12:00, or now' : wrong === 'order' && 'must be after From'} />
      <ZoneSelect />
      <Button type="submit" size="xs" disabled={wrong !== undefined}>Show</Button>
    </form>
  );
}
