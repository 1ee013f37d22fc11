/* Ctrl-K: pages, what has a name (incidents, alerts, rules, errors, services, silences, receivers, users, boards, metrics), what can be done from anywhere, and what was typed itself: a trace id, an incident's number, a search in the logs. Asks once something is typed. */
import { Modal, TextInput, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDebouncedValue } from '@mantine/hooks';
import { useNavigate } from '@tanstack/react-router';
import { useMemo, useState } from 'react';
import { get, prom, send, withQuery } from '../api/client';
import type { AlertView, BoardList, Delivery, Incident, IssueList, OnCall, RuleGroup, Silence } from '../api/types';
import { useAsk, useCommand } from '../hooks';
import { promString } from '../lib/format';
import { rank } from '../lib/promql';
import { fieldText } from '../lib/search';
import { setPrefs, usePrefs } from '../prefs';
import { PAGES } from './pages';

interface Command {
  name: string;
  detail: string;
  to?: string;
  search?: Record<string, string>;
  act?: () => void;
}

/** What can be begun from anywhere. */
const ACTS: { name: string; to: string; words: string; search?: Record<string, string> }[] = [
  { name: 'Write a new rule', to: '/rules/edit', words: 'write a new rule alert editor test replay' },
  { name: 'Watch log lines as they arrive', to: '/logs', search: { view: 'live' }, words: 'watch log lines as they arrive live tail follow' },
  { name: 'Take a turn on call', to: '/on-call', search: { take: '1' }, words: 'take a turn on call override shift swap' },
  { name: 'Remediations that wait for a yes', to: '/remediations', search: { status: 'awaiting_approval' }, words: 'remediations that wait for a yes approve approval' },
  { name: 'Dead letters', to: '/paging', search: { state: 'dead' }, words: 'dead letters failed notifications' },
  { name: 'Silence alerts…', to: '/silences', search: { make: '1' }, words: 'silence alerts mute new silence quiet' },
  { name: 'Retention and API keys', to: '/system', words: 'retention and api keys days' },
];

/** The pace of screens that were paused from here, to go on with. */
const USUAL_PACE = 5_000;

export default function Palette({ close, otherZone }: { close: () => void; otherZone: () => void }) {
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const navigate = useNavigate();
  const { every, zone } = usePrefs();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme() === 'dark';
  const wanted = typed.trim().toLowerCase();
  const [settled] = useDebouncedValue(typed.trim(), 250);
  const asks = { live: false, enabled: wanted !== '' } as const;
  const incidents = useAsk(['incidents', 'palette'], (signal) => get<{ incidents: Incident[] }>('/api/watchfire/v1/incidents?limit=50', signal), asks);
  const services = useAsk(['services', 'names'], (signal) => prom<string[]>('/api/v1/label/service_name/values', signal), asks);
  const metrics = useAsk(['metrics', 'names'], (signal) => prom<string[]>('/api/v1/label/__name__/values', signal), asks);
  const boards = useAsk(['boards'], (signal) => get<BoardList>('/api/watchfire/v1/dashboards', signal), asks);
  const alerts = useAsk(['alerts', 'palette'], (signal) => get<{ alerts: AlertView[] }>('/api/watchfire/v1/alerts?state=open&limit=1000', signal), asks);
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), asks);
  const silences = useAsk(['silences', 'active'], (signal) => get<{ silences: Silence[] }>('/api/watchfire/v1/silences?state=active', signal), asks);
  const onCall = useAsk(['on-call'], (signal) => get<OnCall>('/api/watchfire/v1/on-call?days=14', signal), asks);
  const sent = useAsk(['deliveries', 'home'], (signal) => get<{ deliveries: Delivery[] }>('/api/watchfire/v1/deliveries?limit=100', signal), asks);
  // The server looks for these itself, and not for every letter.
  const errors = useAsk(['errors', 'palette', settled], (signal) => get<IssueList>(withQuery('/api/watchfire/v1/errors', { text: settled, status: 'all', window: '14d', limit: 5 }), signal), { live: false, enabled: settled.length > 1 });
  const { go: acknowledge } = useCommand((one: Incident) => send('POST', `/api/watchfire/v1/incidents/${encodeURIComponent(one.id)}/acknowledge`), 'You have it: its ladder stops');
  const commands = useMemo(() => {
    const text = typed.trim();
    const has = (...words: (string | null | undefined)[]): boolean => words.some((one) => one?.toLowerCase().includes(wanted));
    const found: Command[] = [];
    if (/^[0-9a-f]{32}$/i.test(text)) found.push({ name: `Trace ${text.slice(0, 12)}…`, detail: 'open the trace', to: `/traces/${text.toLowerCase()}` });
    const number = /^(?:#|incident[- ]?)?(\d{1,9})$/i.exec(text)?.[1];
    if (number) found.push({ name: `Incident ${number}`, detail: 'by number', to: `/incidents/${number}` }, { name: `Error issue ${number}`, detail: 'by number', to: `/errors/${number}` });
    if (/^inc_[0-9a-f]{32}$/.test(text)) found.push({ name: 'Incident', detail: text, to: `/incidents/${text}` });
    if (/^alr_[0-9a-f]{32}$/.test(text)) found.push({ name: 'Alert', detail: text, to: `/alerts/${text}` });
    const pages = PAGES.flatMap((group) => group.pages).filter((page) => wanted === '' || has(`${page.name} ${page.words}`));
    pages.sort((a, b) => Number(b.name.toLowerCase().startsWith(wanted)) - Number(a.name.toLowerCase().startsWith(wanted)));
    found.push(...pages.map((page): Command => ({ name: page.name, detail: 'page', to: page.to })));
    if (wanted === '') return found;
    found.push(...ACTS.filter((act) => act.words.includes(wanted)).map(({ name, to, search }): Command => ({ name, detail: 'do', to, ...(search ? { search } : {}) })));
    const open = incidents.data?.incidents ?? [];
    // Only for who asks for it: Enter after an incident's name opens it.
    const ack = /^(?:ack[a-z]*|take)\b\s*(.*)$/.exec(wanted)?.[1];
    if (ack !== undefined) for (const one of open.filter((one) => one.status === 'open' && !one.acknowledged && `#${one.number} ${one.title}`.toLowerCase().includes(ack)).slice(0, 4)) found.push({ name: `Acknowledge #${one.number} ${one.title}`, detail: 'do', act: () => acknowledge(one) });
    const paused = every === 0;
    const own: [words: string, name: string, act: () => void][] = [
      ['light dark colours theme scheme mode', dark ? 'Light colours' : 'Dark colours', () => setColorScheme(dark ? 'light' : 'dark')],
      ['pause live stop refresh go on resume', paused ? 'Go on live, every 5 s' : 'Pause live', () => setPrefs({ every: paused ? USUAL_PACE : 0 })],
      ['choose time zone utc local times', 'Choose the time zone…', otherZone],
      ...(zone === 'UTC' ? [] : [['times in utc time zone', 'Times in UTC', () => setPrefs({ zone: 'UTC' })] as [string, string, () => void]]),
      ...(zone === 'local' ? [] : [["times in this machine's local time zone", "Times in this machine's zone", () => setPrefs({ zone: 'local' })] as [string, string, () => void]]),
    ];
    found.push(...own.filter(([words, name]) => has(words, name)).map(([, name, act]): Command => ({ name, detail: 'do', act })));
    for (const name of rank(services.data ?? [], wanted, 6)) {
      found.push({ name, detail: 'service', to: `/services/${encodeURIComponent(name)}` }, { name: `Logs of ${name}`, detail: 'service', to: '/logs', search: { q: fieldText('service', '=', name) } });
    }
    for (const one of open.filter((one) => has(one.title)).slice(0, 5)) found.push({ name: `#${one.number} ${one.title}`, detail: `incident, ${one.status}`, to: `/incidents/${one.number}` });
    for (const one of (alerts.data?.alerts ?? []).filter((one) => has(one.summary, one.rule.name, ...Object.values(one.labels))).slice(0, 5)) found.push({ name: one.summary ?? one.rule.name, detail: `alert ${one.rule.name}, ${one.state.state}`, to: `/alerts/${one.id}` });
    const names = new Set((rules.data?.data.groups ?? []).flatMap((group) => group.rules.map((rule) => rule.name)));
    for (const name of rank([...names], wanted, 5)) found.push({ name, detail: 'rule', to: '/rules', search: { q: name } });
    for (const one of settled.toLowerCase() === wanted && !errors.isPlaceholderData ? (errors.data?.issues ?? []) : []) found.push({ name: one.title, detail: `error, ${one.status}`, to: `/errors/${one.number}` });
    for (const one of (silences.data?.silences ?? []).map((one) => ({ ...one, text: one.matchers.map((matcher) => `${matcher.name}${matcher.op}${promString(matcher.value)}`).join(', ') })).filter((one) => has(one.text, one.comment, one.maintenance)).slice(0, 4)) found.push({ name: one.comment ? `${one.comment}: ${one.text}` : one.text, detail: 'silence', to: '/silences', search: { open: one.id } });
    for (const one of (onCall.data?.users ?? []).filter((one) => has(one.name)).slice(0, 4)) found.push({ name: one.name, detail: one.on_call.length > 0 ? `user, on call: ${one.on_call.join(', ')}` : 'user', to: '/on-call' });
    const receivers = new Set([...(onCall.data?.users ?? []).flatMap((one) => one.receivers), ...(sent.data?.deliveries ?? []).map((one) => one.receiver)]);
    for (const name of rank([...receivers], wanted, 4)) found.push({ name, detail: 'receiver', to: '/paging' });
    for (const one of (boards.data?.dashboards ?? []).filter((one) => has(`${one.title} ${one.name}`)).slice(0, 5)) found.push({ name: one.title, detail: 'dashboard', to: `/dashboards/${encodeURIComponent(one.name)}` });
    for (const name of rank(metrics.data ?? [], wanted, 6)) found.push({ name, detail: 'metric', to: '/metrics-explorer', search: { q: name } });
    const last: Command = { name: `Search logs for “${text}”`, detail: 'logs', to: '/logs', search: { q: text.includes(' ') ? `"${text.replaceAll('"', '')}"` : text } };
    return [...found.slice(0, 45), last];
  }, [typed, wanted, settled, every, zone, dark, setColorScheme, otherZone, acknowledge, incidents.data, services.data, metrics.data, boards.data, alerts.data, rules.data, silences.data, onCall.data, sent.data, errors.data, errors.isPlaceholderData]);
  const chosen = Math.min(at, commands.length - 1);
  const go = (command: Command | undefined): void => {
    if (!command) return;
    close();
    if (command.act) command.act();
    else void navigate({ to: command.to, search: command.search ?? {} } as never);
  };
  return (
    <Modal opened onClose={close} withCloseButton={false} size="lg" yOffset="10vh" centered={false} padding={8} attributes={{ content: { 'aria-label': 'Find anything' } }}>
      <TextInput
        data-autofocus
        placeholder="Page, service, alert, rule, person, metric, trace id, words in the logs"
        aria-label="Find anything"
        role="combobox"
        aria-expanded="true"
        aria-autocomplete="list"
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
          <li key={`${index} ${command.name}`} id={`palette-${index}`} role="option" aria-selected={index === chosen} onMouseMove={() => setAt(index)} onClick={() => go(command)} style={{ padding: '7px 10px' }}>
            <span className="wrap">{command.name}</span>
            <span className="muted small" style={{ marginLeft: 'auto', whiteSpace: 'nowrap' }}>{command.detail}</span>
          </li>
        ))}
      </ul>
    </Modal>
  );
}
