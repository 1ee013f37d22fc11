/* Lists that go back as far as somebody wants: the newest first, older ones page by page. All pages are asked anew together, so that nothing is missing between them. */
import { Button } from '@mantine/core';
import { keepPreviousData, useInfiniteQuery, type UseQueryResult } from '@tanstack/react-query';
import { usePrefs } from '../prefs';

export interface Pages<T> {
  found: UseQueryResult<T[], Error>;
  /** Asks for older ones; nothing where there are none. */
  older: (() => void) | undefined;
  busy: boolean;
}

export function usePages<T extends { id: string }>(key: readonly unknown[], page: number, ask: (before: string | undefined, signal: AbortSignal) => Promise<T[]>): Pages<T> {
  const { every } = usePrefs();
  const found = useInfiniteQuery({
    queryKey: [...key, 'pages'],
    queryFn: ({ pageParam, signal }) => ask(pageParam, signal),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (last: T[]) => (last.length < page ? undefined : last.at(-1)?.id),
    select: (data) => data.pages.flat(),
    // Events bring what is new; this is for what comes without one.
    refetchInterval: every > 0 ? Math.max(30_000, every * 3) : false,
    placeholderData: keepPreviousData,
  });
  return { found: found as unknown as UseQueryResult<T[], Error>, older: found.hasNextPage ? () => void found.fetchNextPage() : undefined, busy: found.isFetchingNextPage };
}

export function ShowOlder({ of: { older, busy } }: { of: Pages<never> | Pages<{ id: string }> }) {
  return older ? <div className="panel-rest"><Button size="xs" variant="default" loading={busy} onClick={older}>Show older</Button></div> : null;
}
