/* Hooks that screens share: the address's time span, the clock, questions that repeat, commands with their outcome. */
import { useMutation, useQuery, useQueryClient, keepPreviousData, type UseQueryResult } from '@tanstack/react-query';
import { useNavigate, useSearch } from '@tanstack/react-router';
import { useCallback, useEffect, useState, useSyncExternalStore } from 'react';
import { ApiError } from './api/client';
import { isOfState, isStreaming, onStreamChange } from './api/live';
import { isLive, resolveRange, type Range } from './lib/time';
import { usePrefs } from './prefs';
import { toast } from './parts/Toasts';

export interface Search {
  from?: string;
  to?: string;
  [key: string]: string | undefined;
}

/** The address's parameters. All are texts. */
export const useAddress = (): Search => useSearch({ strict: false }) as Search;

/** Changes parameters of the address; `undefined` and '' take one away. */
export function useSetAddress(): (change: Search, replace?: boolean) => void {
  const navigate = useNavigate();
  return useCallback(
    (change, replace = false) => {
      void navigate({
        to: '.',
        replace,
        search: (before: Search) =>
          Object.fromEntries(Object.entries({ ...before, ...change }).filter(([, value]) => value !== undefined && value !== '')),
      } as never);
    },
    [navigate],
  );
}

export interface TimeSpan {
  from: string | undefined;
  to: string | undefined;
  live: boolean;
  /** Milliseconds, at the time of the call. */
  resolve: () => Range;
}

export function useTimeSpan(): TimeSpan {
  const { from, to } = useAddress();
  return { from, to, live: isLive(to), resolve: () => resolveRange(from, to, Date.now()) };
}

/** The present, twice a minute or as often as asked; all who call it with one pace tick in one rhythm. */
export function useNow(every = 10_000): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

interface AskOptions {
  /** Ask again at the pace that the person chose (times this factor). */
  live?: boolean | number;
  enabled?: boolean;
  /** Show the former answer while another question is under way. */
  keep?: boolean;
}

/** A question to the server. Repeats while the page is visible. */
export function useAsk<T>(key: readonly unknown[], ask: (signal: AbortSignal) => Promise<T>, options: AskOptions = {}): UseQueryResult<T, Error> {
  const { every } = usePrefs();
  const streaming = useSyncExternalStore(onStreamChange, isStreaming);
  const factor = options.live === true || options.live === undefined ? 1 : options.live === false ? 0 : options.live;
  return useQuery<T, Error>({
    queryKey: key,
    queryFn: ({ signal }) => ask(signal),
    // What changes with events is asked anew when one comes; once a minute all the same.
    refetchInterval: every > 0 && factor > 0 ? (streaming && isOfState(key) ? Math.max(60_000, every * factor) : every * factor) : false,
    enabled: options.enabled ?? true,
    ...(options.keep === false ? {} : { placeholderData: keepPreviousData }),
  });
}

/** A question about a time span; asked again as the span moves on. */
export function useAskSpan<T>(key: readonly unknown[], ask: (range: Range, signal: AbortSignal) => Promise<T>, options: AskOptions = {}): UseQueryResult<T & { range: Range }, Error> {
  const span = useTimeSpan();
  const live = span.live ? (options.live ?? true) : false;
  return useAsk([...key, span.from ?? '', span.to ?? ''], async (signal) => {
    const range = span.resolve();
    return { ...(await ask(range, signal)), range };
  }, { ...options, live });
}

/** A command; its outcome is told in a corner, and everything on the screen is asked again. */
export function useCommand<A>(run: (argument: A) => Promise<unknown>, done: string | ((answer: unknown) => string)): { go: (argument: A) => void; busy: boolean } {
  const client = useQueryClient();
  const mutation = useMutation({
    mutationFn: run,
    onSuccess: (answer) => {
      const said = (answer as { message?: unknown } | null)?.message;
      toast(typeof said === 'string' ? said : typeof done === 'string' ? done : done(answer));
      void client.invalidateQueries();
    },
    onError: (error) => toast(error.message, true),
  });
  return { go: (argument) => mutation.mutate(argument), busy: mutation.isPending };
}

/** Whether asking again could help. */
export const worthRetrying = (failures: number, error: Error): boolean =>
  failures < 2 && error instanceof ApiError && (error.status === 0 || error.status === 503);

/** j/k, arrows, Home, End move through the links of a list; Enter opens, as of any link. */
export function useListKeys(): { onKeyDown: (event: React.KeyboardEvent<HTMLElement>) => void } {
  return {
    onKeyDown: (event) => {
      const links = [...event.currentTarget.querySelectorAll<HTMLElement>('[data-item]')];
      const at = links.indexOf(document.activeElement as HTMLElement);
      if (event.ctrlKey || event.metaKey || event.altKey || (document.activeElement as HTMLElement).matches('input, textarea')) return;
      const to = { ArrowDown: at + 1, j: at + 1, ArrowUp: at - 1, k: at - 1, Home: 0, End: links.length - 1 }[event.key];
      if (to === undefined || links.length === 0) return;
      event.preventDefault();
      links[Math.min(Math.max(to, 0), links.length - 1)]?.focus();
    },
  };
}

/** `j` where nothing has the focus goes to the first item of the page's lists; from there `useListKeys` moves on. */
export function useBodyKeys(): void {
  useEffect(() => {
    const key = (event: KeyboardEvent): void => {
      const at = document.activeElement;
      if (event.key !== 'j' || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || (at !== document.body && at?.id !== 'main') || document.querySelector('[aria-modal=true], [role=menu]')) return;
      const first = [...document.querySelectorAll<HTMLElement>('#main [data-item]')].find((one) => one.offsetParent !== null);
      if (!first) return;
      event.preventDefault();
      first.focus();
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  }, []);
}
