/* Making a silence: matchers from an alert's labels, a length, a reason. */
import { Button, Checkbox, Modal, Select, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { send } from '../api/client';
import type { Labels } from '../api/types';
import { useCommand } from '../hooks';
import { promString } from '../lib/format';

const LENGTHS = ['30m', '1h', '2h', '4h', '8h', '1d', '7d'];

export function Silencer({ labels, close }: { labels: Labels; close: () => void }) {
  const names = Object.keys(labels);
  const [chosen, setChosen] = useState<string[]>(names.filter((name) => name !== 'severity'));
  const [own, setOwn] = useState('');
  const [length, setLength] = useState('2h');
  const [comment, setComment] = useState('');
  const silence = useCommand(async () => {
    const matchers = [...chosen.map((name) => ({ name, op: '=', value: labels[name] ?? '' })), ...own.split('\n').map((line) => line.trim()).filter((line) => line !== '')];
    await send('POST', '/api/watchfire/v1/silences', { matchers, duration: length, comment });
    close();
  }, `Silenced for ${length}`);
  return (
    <Modal opened onClose={close} title="Silence alerts" size="md">
      <form className="stack" onSubmit={(event) => { event.preventDefault(); silence.go(undefined); }}>
        {names.length > 0 && (
          <Checkbox.Group label="Alerts with all of these labels" value={chosen} onChange={setChosen}>
            <div className="stack" style={{ gap: 6, marginTop: 6 }}>
              {names.map((name) => <Checkbox key={name} value={name} label={<span className="mono wrap">{name}={promString(labels[name] ?? '')}</span>} />)}
            </div>
          </Checkbox.Group>
        )}
        <Textarea label={names.length > 0 ? 'And with' : 'Alerts with all of these labels'} description={'One matcher a line, for example service_name="checkout" or region=~"eu-.*"'} value={own} onChange={(event) => setOwn(event.currentTarget.value)} autosize minRows={names.length > 0 ? 1 : 2} classNames={{ input: 'mono' }} />
        <Select label="For" data={LENGTHS} value={length} onChange={(value) => value && setLength(value)} allowDeselect={false} />
        <TextInput label="Why" placeholder="what is going on" value={comment} onChange={(event) => setComment(event.currentTarget.value)} />
        <Button type="submit" loading={silence.busy} disabled={chosen.length === 0 && own.trim() === ''}>Silence for {length}</Button>
      </form>
    </Modal>
  );
}
