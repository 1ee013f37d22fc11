/* What a person prefers on this machine: the zone of times, how often screens ask again, and who they are where no key says so. Kept in localStorage, shared between tabs. */
import { useSyncExternalStore } from 'react';

interface Prefs {
  /** An IANA zone, or `local`. */
  zone: string;
  /** Milliseconds between looks; 0: only when asked. */
  every: number;
  /** A user of the configuration; empty: nobody was picked. */
  me: string;
}

const KEY = 'watchfire-prefs';
const usual: Prefs = { zone: 'local', every: 5_000, me: '' };
const listeners = new Set<() => void>();
let current = read();

function read(): Prefs {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? '{}') as Partial<Prefs>;
    return {
      zone: typeof stored.zone === 'string' && isZone(stored.zone) ? stored.zone : usual.zone,
      every: typeof stored.every === 'number' && stored.every >= 0 ? stored.every : usual.every,
      me: typeof stored.me === 'string' ? stored.me : usual.me,
    };
  } catch {
    return usual;
  }
}

export function isZone(zone: string): boolean {
  if (zone === 'local') return true;
  try {
    new Intl.DateTimeFormat('en-GB', { timeZone: zone });
    return true;
  } catch {
    return false;
  }
}

window.addEventListener('storage', (event) => {
  if (event.key === KEY) {
    current = read();
    for (const listener of listeners) listener();
  }
});

export function setPrefs(change: Partial<Prefs>): void {
  current = { ...current, ...change };
  try {
    localStorage.setItem(KEY, JSON.stringify(current));
  } catch {
    // Storage is full or off: it holds for this page.
  }
  for (const listener of listeners) listener();
}

/** Milliseconds between looks; 0: paused. */
export const paceOf = (): number => current.every;

export function usePrefs(): Prefs {
  return useSyncExternalStore(
    (then) => {
      listeners.add(then);
      return () => listeners.delete(then);
    },
    () => current,
  );
}

export const localZone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

export function useZone(): string {
  const { zone } = usePrefs();
  return zone === 'local' ? localZone : zone;
}
