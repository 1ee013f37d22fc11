/* An editor for one PromQL expression: completion of functions, metrics, labels and values; Ctrl-Enter runs it. A combobox for screen readers. */
import { useEffect, useMemo, useRef, useState, useId } from 'react';
import { flushSync } from 'react-dom';
import { prom, withQuery } from '../api/client';
import type { Metadata } from '../api/types';
import { useAsk } from '../hooks';
import { apply, placeOf, suggest, type Place } from '../lib/promql';
import { promString } from '../lib/format';

interface Props {
  value: string;
  run: (expr: string) => void;
  invalid?: boolean;
  label: string;
  describedBy?: string;
}

export function PromEditor({ value, run, invalid, label, describedBy }: Props) {
  const [text, setText] = useState(value);
  const [place, setPlace] = useState<Place>({ kind: 'none' });
  const [at, setAt] = useState(0);
  const area = useRef<HTMLTextAreaElement>(null);
  const id = useId();
  useEffect(() => setText(value), [value]);
  const metrics = useAsk(['metrics', 'names'], (signal) => prom<string[]>('/api/v1/label/__name__/values', signal), { live: false });
  const metadata = useAsk(['metrics', 'metadata'], (signal) => prom<Metadata>('/api/v1/metadata', signal), { live: false });
  const help = useMemo(() => Object.fromEntries(Object.entries(metadata.data ?? {}).map(([name, all]) => [name, [all[0]?.type, all[0]?.help].filter(Boolean).join(': ')])), [metadata.data]);
  const metric = place.kind === 'label' || place.kind === 'value' ? place.metric : undefined;
  const selector = metric ? `{__name__=${promString(metric)}}` : undefined;
  const labels = useAsk(['labels', selector ?? ''], (signal) => prom<string[]>(withQuery('/api/v1/labels', { 'match[]': selector }), signal), { live: false, enabled: place.kind === 'label', keep: false });
  const wanted = place.kind === 'value' ? place.label : '';
  const values = useAsk(['values', wanted, selector ?? ''], (signal) => prom<string[]>(withQuery(`/api/v1/label/${encodeURIComponent(wanted)}/values`, { 'match[]': selector }), signal), { live: false, enabled: wanted !== '', keep: false });
  const options = useMemo(() => {
    const found = suggest(place, { metrics: metrics.data ?? [], help, labels: labels.data ?? [], values: values.data ?? [] });
    // What stands there already needs no suggestion.
    return found.length === 1 && place.kind !== 'none' && found[0]?.insert === place.text ? [] : found;
  }, [place, metrics.data, help, labels.data, values.data]);
  const open = options.length > 0;
  const chosen = Math.min(at, options.length - 1);

  const look = (target: HTMLTextAreaElement): void => {
    setPlace(target.selectionStart === target.selectionEnd ? placeOf(target.value, target.selectionStart) : { kind: 'none' });
    setAt(0);
  };
  const take = (index: number): void => {
    const option = options[index];
    const target = area.current;
    if (!option || !target || place.kind === 'none') return;
    const done = apply(text, place, target.selectionStart, option.insert);
    // At once: who types on must type at the cursor, not at the end.
    flushSync(() => {
      setText(done.text);
      setPlace({ kind: 'none' });
    });
    target.focus();
    target.setSelectionRange(done.cursor, done.cursor);
  };
  const onKeyDown = (event: React.KeyboardEvent<HTMLTextAreaElement>): void => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey || (!open && !event.shiftKey))) {
      event.preventDefault();
      setPlace({ kind: 'none' });
      run(text.trim());
    } else if (open && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      event.preventDefault();
      const next = (chosen + (event.key === 'ArrowDown' ? 1 : -1) + options.length) % options.length;
      setAt(next);
      document.getElementById(`${id}-${next}`)?.scrollIntoView({ block: 'nearest' });
    } else if (open && (event.key === 'Tab' || event.key === 'Enter')) {
      event.preventDefault();
      take(chosen);
    } else if (event.key === 'Escape' && open) {
      event.preventDefault();
      setPlace({ kind: 'none' });
    }
  };
  return (
    <div className="editor">
      <textarea
        ref={area}
        rows={1}
        spellCheck={false}
        autoCapitalize="off"
        autoComplete="off"
        placeholder="sum by (service_name) (rate(traces_span_metrics_calls_total[5m]))"
        aria-label={label}
        aria-invalid={invalid ?? false}
        aria-describedby={describedBy}
        role="combobox"
        aria-autocomplete="list"
        aria-expanded={open}
        aria-controls={`${id}-options`}
        aria-activedescendant={open ? `${id}-${chosen}` : undefined}
        value={text}
        onChange={(event) => { setText(event.currentTarget.value); look(event.currentTarget); }}
        onClick={(event) => { if (event.currentTarget.value !== '') look(event.currentTarget); }}
        onKeyDown={onKeyDown}
        onBlur={() => { setPlace({ kind: 'none' }); if (text.trim() !== value) run(text.trim()); }}
      />
      {open && (
        <ul className="options" role="listbox" id={`${id}-options`} aria-label="Suggestions">
          {options.map((option, index) => (
            <li key={`${option.kind}${option.text}`} id={`${id}-${index}`} role="option" aria-selected={index === chosen} onMouseDown={(event) => { event.preventDefault(); take(index); }} onMouseMove={() => setAt(index)}>
              <span className="mono">{option.text}</span>
              <span className="muted small cut" style={{ marginLeft: 'auto' }}>{option.detail || option.kind}</span>
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}
