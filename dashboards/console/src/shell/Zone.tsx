/* The zone in which times are shown: one for this machine's every screen. */
import { Modal, Select } from '@mantine/core';
import { zoneName } from '../lib/time';
import { localZone, setPrefs, usePrefs } from '../prefs';

export function ZoneSelect({ done }: { done?: () => void }) {
  const { zone } = usePrefs();
  const zones = ['local', 'UTC', ...Intl.supportedValuesOf('timeZone').filter((one) => one !== 'UTC')];
  const choose = (value: string | null): void => {
    if (value === null) return;
    setPrefs({ zone: value });
    done?.();
  };
  return <Select size="xs" label="Times are shown in" searchable data={zones.map((one) => ({ value: one, label: one === 'local' ? `This machine (${localZone}, ${zoneName(Date.now(), localZone)})` : one }))} value={zone} onChange={choose} comboboxProps={{ withinPortal: done !== undefined }} allowDeselect={false} {...(done ? { 'data-autofocus': true } : {})} />;
}

export default function ZoneDialog({ close }: { close: () => void }) {
  return <Modal opened onClose={close} title="Time zone" size="sm"><ZoneSelect done={close} /></Modal>;
}
