/* Small parts that every screen uses: tags, moments, labels, states of a question, empty lists with a snippet. */
import { ActionIcon, Anchor, Skeleton, Tooltip } from '@mantine/core';
import { IconCheck, IconCopy } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import type { UseQueryResult } from '@tanstack/react-query';
import { useEffect, useState, type ComponentType, type ReactNode } from 'react';
import { hasKey } from '../api/client';
import type { Labels, Severity } from '../api/types';
import { useListKeys, useNow } from '../hooks';
import { formatClock, formatSeconds, relative, wholeMoment } from '../lib/time';
import { localZone, useZone } from '../prefs';
import { toast } from './Toasts';

export type Tone = 'critical' | 'high' | 'warning' | 'info' | 'good' | 'quiet';

export function Tag({ tone = 'quiet', plain, children }: { tone?: Tone; plain?: boolean; children: ReactNode }) {
  return <span className={`tag tone-${tone}${plain ? ' plain' : ''}`}>{children}</span>;
}

export const SeverityTag = ({ severity }: { severity: Severity }) => <Tag tone={severity}>{severity}</Tag>;

const TONES: Record<string, Tone> = {
  open: 'critical', firing: 'critical', dead: 'critical', down: 'critical', regressed: 'critical', err: 'critical', handed_over: 'critical', exhausted: 'critical', ERROR: 'critical',
  acknowledged: 'warning', pending: 'warning', acting: 'warning', settling: 'warning', undoing: 'warning', awaiting_approval: 'warning', planned: 'warning', running: 'warning', refused: 'warning',
  resolved: 'good', done: 'good', ok: 'good', up: 'good', verified: 'good', active: 'info', dry_run: 'info',
};
export const StatusTag = ({ status }: { status: string }) => <Tag tone={TONES[status] ?? 'quiet'}>{status.replaceAll('_', ' ')}</Tag>;

/** For keyboards and fingers: a time that no link or button holds takes the focus, and then `Moments` says date, time and zone. */
export function reachable(node: HTMLElement | null): void {
  if (node && !node.closest('a, button, summary, label, [role=option]')) node.tabIndex = 0;
}

/** A moment: how long ago, with date, time and zone on hover, focus and tap. */
export function When({ at, clock, both }: { at: string | number | null | undefined; clock?: boolean; both?: boolean }) {
  const now = useNow();
  const zone = useZone();
  if (at === null || at === undefined || at === '' || (typeof at === 'string' && at.startsWith('0001-'))) return <span className="muted">never</span>;
  const moment = typeof at === 'number' ? at : Date.parse(at);
  const all = wholeMoment(moment, zone, localZone);
  const [whole] = all;
  const ago = relative(moment, now);
  return (
    <time ref={reachable} dateTime={new Date(moment).toISOString()} title={[...all, ...(clock ? [ago] : [])].join(', ')} className="nums">
      {clock ? formatClock(moment, zone) : both ? `${whole} (${ago})` : ago}
    </time>
  );
}

export function Since({ from, to }: { from: string; to?: string | null }) {
  const now = useNow(1_000);
  return <span className="nums">{formatSeconds(Math.max(0, Math.floor(((to ? Date.parse(to) : now) - Date.parse(from)) / 1_000)))}</span>;
}

export function LabelSet({ labels, without = [] }: { labels: Labels; without?: string[] }) {
  const entries = Object.entries(labels).filter(([name]) => !without.includes(name));
  if (entries.length === 0) return null;
  return (
    <span className="row" style={{ gap: 4 }}>
      {entries.map(([name, value]) => <span key={name} className="label">{name}={value}</span>)}
    </span>
  );
}

/** Without HTTPS a page from another machine has no clipboard: then what is selected is copied, as by hand. */
async function toClipboard(text: string, near: HTMLElement): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.readOnly = true;
    area.setAttribute('aria-hidden', 'true');
    area.style.cssText = 'position:fixed;top:0;left:0;opacity:0;pointer-events:none';
    // Beside the button, since a dialog takes the focus back from what is outside of it.
    near.after(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    near.focus();
    return done;
  }
}

export function Copy({ text, label = 'Copy' }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 1_500);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = (near: HTMLElement): void => void toClipboard(text, near).then((done) => (done ? setCopied(true) : toast('It could not be copied: select it and copy it by hand', true)));
  return (
    <Tooltip label={copied ? 'Copied' : label}>
      <ActionIcon variant="subtle" color="gray" size="sm" onClick={(event) => copy(event.currentTarget)} aria-label={copied ? 'Copied' : label}>
        {copied ? <IconCheck size={15} /> : <IconCopy size={15} />}
      </ActionIcon>
    </Tooltip>
  );
}

export function Snippet({ text }: { text: string }) {
  return (
    <div className="snippet">
      <pre tabIndex={0}>{text}</pre>
      <Copy text={text} label="Copy the snippet" />
    </div>
  );
}

export function Empty({ title, children, snippet }: { title: string; children?: ReactNode; snippet?: string }) {
  return (
    <div className="empty">
      <h3>{title}</h3>
      {children && <p>{children}</p>}
      {snippet && <Snippet text={snippet} />}
    </div>
  );
}

/** Where programs send OTLP: this very server, over HTTP, on the port of this page; with a key where one is used. */
const otlp = (): string => `export OTEL_EXPORTER_OTLP_ENDPOINT=${location.origin}
export OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf${hasKey() ? '\nexport OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer <your key>"' : ''}`;
const tried = (what: string): string => `# or generated data for a try:
watchfire load ${what} --rate 200 --duration 1m --protocol http --target ${location.origin}`;

/** The commands that bring the first data, for this very server. Read when they are shown: a key may have come meanwhile. */
export const firstData = {
  get otlp() {
    return `# any program with an OpenTelemetry SDK\n${otlp()}\n${tried('spans')}`;
  },
  get logs() {
    return `${otlp()}\nexport OTEL_LOGS_EXPORTER=otlp\n${tried('logs')}`;
  },
  get metrics() {
    return `# prometheus.yml
remote_write:
  - url: ${location.origin}/api/v1/write${hasKey() ? '\n    authorization: { credentials: <your key> }' : ''}
${tried('metrics')}`;
  },
  sentry: `# keep the Sentry SDK, change its DSN to what this prints
watchfire keys create shop --dsn 1`,
  rules: `# watchfire.yaml
alerting:
  rules: rules   # a folder of Prometheus rule files; deploy/rules has some to start from`,
};

export function Trouble({ error }: { error: Error }) {
  return <div className="trouble" role="alert">{error.message}</div>;
}

/** The states of a question: waiting (in the size of what will come), failed, answered. A failure beside an older answer shows both. */
export function Answer<T>({ of, height = 120, children }: { of: UseQueryResult<T, Error>; height?: number; children: (data: T) => ReactNode }) {
  if (of.data === undefined) return of.error ? <Trouble error={of.error} /> : <Skeleton height={height} aria-label="Loading" />;
  return (
    <>
      {of.error && <div style={{ marginBottom: 8 }}><Trouble error={of.error} /></div>}
      {children(of.data)}
    </>
  );
}

export function Panel({ title, extra, flush, className = '', children }: { title?: ReactNode; extra?: ReactNode; flush?: boolean; className?: string; children: ReactNode }) {
  return (
    <section className={`panel${flush ? ' flush' : ''} ${className}`}>
      {(title || extra) && (
        <div className="panel-head">
          {title && <h2>{title}</h2>}
          <span className="grow" />
          {extra}
        </div>
      )}
      {children}
    </section>
  );
}

export function PageHead({ title, children }: { title: ReactNode; children?: ReactNode }) {
  return (
    <div className="page-head">
      <h1>{title}</h1>
      <span className="grow" />
      {children}
    </div>
  );
}

/** A list whose items are links: arrows or j/k move, Enter opens. */
export function LinkList({ label, children }: { label: string; children: ReactNode }) {
  const keys = useListKeys();
  return <ul className="list" aria-label={label} {...keys}>{children}</ul>;
}

export function Facts({ of }: { of: [name: string, value: ReactNode][] }) {
  return (
    <dl className="kv">
      {of.map(([name, value]) => (
        <div key={name} style={{ display: 'contents' }}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The router's link without its types of addresses: ours come from data. */
const AnyLink = Link as unknown as ComponentType<{ children?: ReactNode; [property: string]: unknown }>;

/** A link inside the console; keeps the time span. `search` adds or replaces parameters. */
export function Go({ to, search, children, plain, ...rest }: { to: string; search?: Record<string, string | undefined>; children: ReactNode; plain?: boolean; className?: string; title?: string; 'data-item'?: boolean; 'aria-label'?: string }) {
  const props = {
    to,
    search: (before: Record<string, string>) =>
      Object.fromEntries(Object.entries({ from: before.from, to: before.to, ...search }).filter(([, value]) => value !== undefined && value !== '')),
    ...rest,
  };
  return plain || rest.className ? <AnyLink {...props}>{children}</AnyLink> : <Anchor renderRoot={(root: object) => <AnyLink {...root} {...props} />}>{children}</Anchor>;
}

/** A series as a small picture; says nothing to screen readers that its neighbours do not say. */
export function Spark({ values, color = '#5b8def' }: { values: readonly number[]; color?: string }) {
  const top = Math.max(...values, 1e-9);
  const width = 100 / Math.max(values.length, 1);
  return (
    <svg className="spark" viewBox="0 0 100 26" preserveAspectRatio="none" aria-hidden="true">
      {values.map((value, at) => {
        const height = value > 0 ? Math.max(1.5, (value / top) * 25) : 0.6;
        return <rect key={at} x={at * width} y={26 - height} width={Math.max(width - 0.7, 0.3)} height={height} fill={color} opacity={value > 0 ? 0.9 : 0.35} />;
      })}
    </svg>
  );
}
