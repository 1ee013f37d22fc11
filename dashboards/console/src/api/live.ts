/*
 * The server's journal as it is written: what happens to alerts, incidents, pages, repairs and errors is asked anew when it happened, not at a pace.
 * In: server-sent events, read with fetch so that the key stays in a header. One tab of this browser holds the stream (browsers open few connections
 * to a server) and tells the others, if they use the same key. Where a browser cannot do that (a page over plain HTTP from another machine has no locks),
 * each tab that is seen holds its own. While the stream is cut, screens ask at their pace.
 */
import type { QueryClient } from '@tanstack/react-query';
import { isLocked, onLockChange, request } from './client';
import { readEvents } from '../lib/sse';
import { paceOf } from '../prefs';

/** The first word of questions whose answers only change with an event. */
const OF_STATE = new Set(['alerts', 'deployments', 'incident', 'incidents', 'ladders', 'postmortem', 'remediations', 'silences']);
/** And those that change with one, and without. */
const TOUCHED = new Set([...OF_STATE, 'alert', 'deliveries', 'error', 'errors', 'on-call', 'rules', 'status']);

export const isOfState = (key: readonly unknown[]): boolean => typeof key[0] === 'string' && OF_STATE.has(key[0]);

/** How long a tab believes the one that holds the stream. */
const BELIEF = 25_000;
let heard = 0;
const listeners = new Set<() => void>();
let told = false;

/** Whether events come. */
export const isStreaming = (): boolean => told;
export function onStreamChange(then: () => void): () => void {
  listeners.add(then);
  return () => listeners.delete(then);
}

function tell(): void {
  const now = Date.now() - heard < BELIEF;
  if (now === told) return;
  told = now;
  for (const listener of listeners) listener();
}

interface Word {
  beat?: true;
  changed?: true;
}

/** A name for what this tab's key may see, that says nothing of the key. */
async function room(): Promise<string> {
  const key = sessionStorage.getItem('watchfire-key') ?? '';
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(`watchfire events ${key}`));
  return `watchfire-events-${[...new Uint8Array(digest).slice(0, 8)].map((byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

const pause = (millis: number, signal: AbortSignal): Promise<void> =>
  new Promise((then) => {
    const timer = setTimeout(then, millis);
    signal.addEventListener('abort', () => { clearTimeout(timer); then(); }, { once: true });
  });

/** Holds the stream until `signal`; comes back where it was cut. */
async function hold(say: (word: Word) => void, signal: AbortSignal): Promise<void> {
  let last: string | null = null;
  let wait = 500;
  while (!signal.aborted) {
    try {
      const answer = await request('/api/watchfire/v1/events', { headers: new Headers([['accept', 'text/event-stream'], ...(last === null ? [] : [['last-event-id', last] as [string, string]])]), signal, cache: 'no-store' });
      wait = 500;
      say({ beat: true });
      await readEvents(answer, (event) => {
        last = event.id ?? last;
        say(event.data === undefined ? { beat: true } : { beat: true, changed: true });
      });
    } catch {
      if (signal.aborted || isLocked()) return;
      await pause(wait, signal);
      wait = Math.min(wait * 2, 30_000);
    }
  }
}

/** Listens as long as the page lives. */
export function listen(client: QueryClient): void {
  const shared = 'locks' in navigator && 'BroadcastChannel' in window && Boolean(crypto.subtle);
  let timer: ReturnType<typeof setTimeout> | undefined;
  const hear = (word: Word): void => {
    if (word.beat) heard = Date.now();
    tell();
    if (word.changed && timer === undefined && paceOf() > 0) {
      // Events come in swarms.
      timer = setTimeout(() => {
        timer = undefined;
        void client.invalidateQueries({ predicate: (query) => typeof query.queryKey[0] === 'string' && TOUCHED.has(query.queryKey[0]) });
      }, 200);
    }
  };
  setInterval(tell, 5_000);
  let stop = new AbortController();
  const begin = async (): Promise<void> => {
    stop.abort();
    heard = 0;
    tell();
    if (isLocked() || (!shared && document.hidden)) return;
    stop = new AbortController();
    const { signal } = stop;
    if (!shared) {
      void hold((word) => { if (!signal.aborted) hear(word); }, signal);
      return;
    }
    const name = await room();
    const channel = new BroadcastChannel(name);
    channel.onmessage = (message: MessageEvent<Word>) => hear(message.data);
    signal.addEventListener('abort', () => channel.close(), { once: true });
    const say = (word: Word): void => {
      if (signal.aborted) return;
      hear(word);
      channel.postMessage(word);
    };
    try {
      await navigator.locks.request(name, { signal }, () => hold(say, signal));
    } catch {
      // Aborted while it waited for its turn.
    }
  };
  onLockChange(() => void begin());
  // A hidden tab's stream would only take one of the few connections; what was missed meanwhile is asked anew.
  if (!shared) {
    document.addEventListener('visibilitychange', () => {
      void begin();
      if (!document.hidden) hear({ changed: true });
    });
  }
  void begin();
}
