/* The time span of the address: relative or from and to. */
import { Button, Popover } from '@mantine/core';
import { IconClock } from '@tabler/icons-react';
import { useState, type ComponentType } from 'react';
import { useAddress } from '../hooks';
import { rangeName } from '../lib/time';
import { toast } from '../parts/Toasts';
import { useZone } from '../prefs';

const load = () => import('./TimeChoice');

export function TimePicker() {
  const [open, setOpen] = useState(false);
  // Opened when its code is there, so that the focus goes into it and it has its size at once.
  const [Choice, setChoice] = useState<ComponentType<{ close: () => void }> | null>(null);
  const zone = useZone();
  const { from, to } = useAddress();
  const toggle = (): void => {
    if (open) return setOpen(false);
    load().then((found) => { setChoice(() => found.default); setOpen(true); }, () => toast('The server was renewed since this page was opened: load it again', true));
  };
  return (
    <Popover opened={open} onChange={setOpen} position="bottom-end" width={340} trapFocus shadow="md">
      <Popover.Target>
        <Button variant="default" size="xs" px={9} onClick={toggle} onMouseEnter={() => void load().catch(() => {})} leftSection={<IconClock size={15} />} aria-label={`Time span: ${rangeName(from, to, zone)}`}>
          <span className="cut" style={{ maxWidth: 'min(330px, 22vw)' }}>{rangeName(from, to, zone)}</span>
        </Button>
      </Popover.Target>
      <Popover.Dropdown>{open && Choice && <Choice close={() => setOpen(false)} />}</Popover.Dropdown>
    </Popover>
  );
}
