/* Ctrl-K: pages, open incidents, services, metrics, and what was typed itself: a trace id, an incident's number, a search in the logs. */
import { Modal, TextInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { get, prom } from '../api/client';
import type { BoardList, Incident } from '../api/types';
import { useAsk } from '../hooks';
import { rank } from '../lib/promql';
import { fieldText } from '../lib/search';
import { PAGES } from './pages';

interface Command {
  name: string;
  detail: string;
  to: string;
  search?: Record<string, string>;
}

/** What can be begun from anywhere. */
const ACTS: { name: string; to: string; words: string; search?: Record<string, string> }[] = [
  { name: 'Write a new rule', to: '/rules/edit', words: 'write a new rule alert editor test replay' },
  { name: 'Watch log lines as they arrive', to: '/logs', search: { view: 'live' }, words: 'watch log lines as they arrive live tail follow' },
  { name: 'Dead letters', to: '/paging', search: { state: 'dead' }, words: 'dead letters failed notifications' },
  { name: 'Retention and API keys', to: '/system', words: 'retention and api keys days' },
];

export default function Palette({ close }: { close: () => void }) {
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const navigate = useNavigate();
  const incidents = useAsk(['incidents', 'palette'], (signal) => get<{ incidents: Incident[] }>('/api/watchfire/v1/incidents?limit=50', signal), { live: false });
  const services = useAsk(['services', 'names'], (signal) => prom<string[]>('/api/v1/label/service_name/values', signal), { live: false });
  const metrics = useAsk(['metrics', 'names'], (signal) => prom<string[]>('/api/v1/label/__name__/values', signal), { live: false });
  const boards = useAsk(['boards'], (signal) => get<BoardList>('/api/watchfire/v1/dashboards', signal), { live: false });
  const commands = useMemo(() => {
    const text = typed.trim();
    const found: Command[] = [];
    if (/^[0-9a-f]{32}$/i.test(text)) found.push({ name: `Trace ${text.slice(0, 12)}…`, detail: 'open the trace', to: `/traces/${text.toLowerCase()}` });
    const number = /^(?:#|incident[- ]?)?(\d{1,9})$/i.exec(text)?.[1];
    if (number) found.push({ name: `Incident ${number}`, detail: 'by number', to: `/incidents/${number}` }, { name: `Error issue ${number}`, detail: 'by number', to: `/errors/${number}` });
    if (/^inc_[0-9a-f]{32}$/.test(text)) found.push({ name: 'Incident', detail: text, to: `/incidents/${text}` });
    if (/^alr_[0-9a-f]{32}$/.test(text)) found.push({ name: 'Alert', detail: text, to: `/alerts/${text}` });
    const wanted = text.toLowerCase();
    const pages = PAGES.flatMap((group) => group.pages).filter((page) => wanted === '' || `${page.name} ${page.words}`.toLowerCase().includes(wanted));
    pages.sort((a, b) => Number(b.name.toLowerCase().startsWith(wanted)) - Number(a.name.toLowerCase().startsWith(wanted)));
    found.push(...pages.map((page): Command => ({ name: page.name, detail: 'page', to: page.to })));
    found.push(...ACTS.filter((act) => wanted !== '' && act.words.includes(wanted)).map(({ name, to, search }): Command => ({ name, detail: 'do', to, ...(search ? { search } : {}) })));
    if (wanted !== '') {
      for (const name of rank(services.data ?? [], wanted, 6)) {
        found.push({ name, detail: 'service', to: `/services/${encodeURIComponent(name)}` }, { name: `Logs of ${name}`, detail: 'service', to: '/logs', search: { q: fieldText('service', '=', name) } });
      }
      for (const one of (incidents.data?.incidents ?? []).filter((one) => one.title.toLowerCase().includes(wanted)).slice(0, 5)) found.push({ name: `#${one.number} ${one.title}`, detail: `incident, ${one.status}`, to: `/incidents/${one.number}` });
      for (const one of (boards.data?.dashboards ?? []).filter((one) => `${one.title} ${one.name}`.toLowerCase().includes(wanted)).slice(0, 5)) found.push({ name: one.title, detail: 'dashboard', to: `/dashboards/${encodeURIComponent(one.name)}` });
      for (const name of rank(metrics.data ?? [], wanted, 6)) found.push({ name, detail: 'metric', to: '/metrics-explorer', search: { q: name } });
      found.push({ name: `Search logs for “${text}”`, detail: 'logs', to: '/logs', search: { q: text.includes(' ') ? `"${text.replaceAll('"', '')}"` : text } });
    }
    return found.slice(0, 40);
  }, [typed, incidents.data, services.data, metrics.data, boards.data]);
  const chosen = Math.min(at, commands.length - 1);
  const go = (command: Command | undefined): void => {
    if (!command) return;
    close();
    void navigate({ to: command.to, search: command.search ?? {} } as never);
  };
  return (
    <Modal opened onClose={close} withCloseButton={false} size="lg" yOffset="10vh" centered={false} padding={8} aria-label="Find anything">
      <TextInput
        data-autofocus
        placeholder="Page, service, metric, trace id, incident number, words in the logs"
        aria-label="Find anything"
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-options"
        aria-activedescendant={chosen >= 0 ? `palette-${chosen}` : undefined}
        value={typed}
        onChange={(event) => { setTyped(event.currentTarget.value); setAt(0); }}
        onKeyDown={(event) => {
          const move = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          if (move !== undefined) {
            event.preventDefault();
            const next = (chosen + move + commands.length) % Math.max(commands.length, 1);
            setAt(next);
            document.getElementById(`palette-${next}`)?.scrollIntoView({ block: 'nearest' });
          } else if (event.key === 'Enter') go(commands[chosen]);
        }}
      />
      <ul id="palette-options" role="listbox" aria-label="Matches" className="options" style={{ position: 'static', border: 0, boxShadow: 'none', maxHeight: '50vh', marginTop: 6 }}>
        {commands.map((command, index) => (
          <li key={`${command.to}${command.name}`} id={`palette-${index}`} role="option" aria-selected={index === chosen} onMouseMove={() => setAt(index)} onClick={() => go(command)} style={{ padding: '7px 10px' }}>
            <span className="wrap">{command.name}</span>
            <span className="muted small" style={{ marginLeft: 'auto', whiteSpace: 'nowrap' }}>{command.detail}</span>
          </li>
        ))}
      </ul>
    </Modal>
  );
}
