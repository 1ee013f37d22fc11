/* The time span of the address: relative or from and to, and the zone in which times are shown. */
import { Button, Popover, Select, TextInput } from '@mantine/core';
import { IconClock } from '@tabler/icons-react';
import { useState } from 'react';
import { useAddress, useSetAddress, useTimeSpan } from '../hooks';
import { formatMoment, parseMoment, rangeName, zoneName } from '../lib/time';
import { localZone, setPrefs, usePrefs, useZone } from '../prefs';

const SPANS = ['now-5m', 'now-15m', 'now-30m', 'now-1h', 'now-3h', 'now-6h', 'now-12h', 'now-1d', 'now-2d', 'now-7d', 'now-14d', 'now-30d'];

/** `2026-11-21 12:00:00` in a zone, as a moment. */
export function momentIn(text: string, zone: string): number | undefined {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?$/.exec(text.trim());
  if (!found) return parseMoment(text.trim(), Date.now());
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const wanted = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
  // Twice, because the zone's offset may differ between the guess and the moment.
  let at = wanted;
  for (let round = 0; round < 2; round += 1) at += wanted - Date.parse(`${formatMoment(at, zone).replace(' ', 'T')}Z`);
  return at;
}

export function TimePicker() {
  const [open, setOpen] = useState(false);
  const zone = useZone();
  const { from, to } = useAddress();
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={340} trapFocus shadow="md">
      <Popover.Target>
        <Button variant="default" size="xs" px={9} onClick={() => setOpen(!open)} leftSection={<IconClock size={15} />} aria-label={`Time span: ${rangeName(from, to, zone)}`}>
          <span className="cut" style={{ maxWidth: 'min(330px, 22vw)' }}>{rangeName(from, to, zone)}</span>
        </Button>
      </Popover.Target>
      <Popover.Dropdown>{open && <Choice close={() => setOpen(false)} />}</Popover.Dropdown>
    </Popover>
  );
}

function Choice({ close }: { close: () => void }) {
  const set = useSetAddress();
  const span = useTimeSpan();
  const zone = useZone();
  const { zone: chosen } = usePrefs();
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
  const zones = ['local', 'UTC', ...Intl.supportedValuesOf('timeZone').filter((one) => one !== 'UTC')];
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
      <Select size="xs" label="Times are shown in" searchable data={zones.map((one) => ({ value: one, label: one === 'local' ? `This machine (${localZone}, ${zoneName(Date.now(), localZone)})` : one }))} value={chosen} onChange={(value) => value && setPrefs({ zone: value })} comboboxProps={{ withinPortal: false }} allowDeselect={false} />
      <Button type="submit" size="xs" disabled={wrong !== undefined}>Show</Button>
    </form>
  );
}
