/*
 * Log lines as they arrive. In: a search line. Out: the newest lines, newest first, at most so many. Read with fetch, so that the key stays in a header;
 * a stream that ends (after some minutes, or when the network does) is taken up again.
 */
import { useCallback, useEffect, useRef, useState } from 'react';
import { readEvents } from '../lib/sse';
import { parseSearch } from '../lib/search';
import { ApiError, isLocked, request, withQuery } from './client';
import type { ArrivedLines, LogLine } from './types';

const MOST = 5_000;

/** Puts lines that came before the others, newest first; they come in the order of their requests, which is nearly that of their times. */
export function merged(fresh: readonly LogLine[], before: readonly LogLine[], most = MOST): LogLine[] {
  const newest = fresh.toSorted((a, b) => (a.nanos.length - b.nanos.length || (a.nanos < b.nanos ? -1 : a.nanos > b.nanos ? 1 : 0)) * -1);
  return [...newest, ...before].slice(0, most);
}

export interface LiveTail {
  lines: LogLine[];
  /** Came while held still. */
  heldBack: number;
  /** Were too many to be sent. */
  leftOut: number;
  /** `open`, `waiting`, or why there is no stream. */
  state: string;
  paused: boolean;
  pause: () => void;
  clear: () => void;
}

export function useLiveTail(q: string): LiveTail {
  const [lines, setLines] = useState<LogLine[]>([]);
  const [leftOut, setLeftOut] = useState(0);
  const [state, setState] = useState('waiting');
  const [paused, setPaused] = useState(false);
  const [heldBack, setHeldBack] = useState(0);
  const held = useRef<LogLine[]>([]);
  const still = useRef(false);
  useEffect(() => {
    const stop = new AbortController();
    const clean = (): void => {
      held.current = [];
      setLines([]);
      setHeldBack(0);
      setLeftOut(0);
    };
    clean();
    const run = async (): Promise<void> => {
      let wait = 500;
      while (!stop.signal.aborted && !isLocked()) {
        try {
          setState('waiting');
          const answer = await request(withQuery('/api/watchfire/v1/logs/tail', { search: JSON.stringify(parseSearch(q)) }), { headers: { accept: 'text/event-stream' }, signal: stop.signal, cache: 'no-store' });
          setState('open');
          wait = 500;
          await readEvents(answer, (event) => {
            if (event.data === undefined) return;
            const came = JSON.parse(event.data) as ArrivedLines;
            if (came.left_out + came.lost_batches > 0) setLeftOut((before) => before + came.left_out + came.lost_batches);
            if (still.current) {
              held.current = merged(came.lines, held.current);
              setHeldBack((before) => before + came.lines.length);
            } else setLines((before) => merged(came.lines, before));
          });
        } catch (error) {
          if (stop.signal.aborted) return;
          // What is wrong with the search stays wrong.
          if (error instanceof ApiError && error.status !== 0 && error.status !== 503) {
            setState(error.message);
            return;
          }
          setState(error instanceof Error ? error.message : String(error));
        }
        await new Promise((then) => setTimeout(then, wait));
        wait = Math.min(wait * 2, 10_000);
      }
    };
    void run();
    return () => stop.abort();
  }, [q]);
  const pause = useCallback(() => {
    still.current = !still.current;
    setPaused(still.current);
    if (!still.current) {
      const came = held.current;
      held.current = [];
      setHeldBack(0);
      setLines((before) => merged(came, before));
    }
  }, []);
  const clear = useCallback(() => {
    setLines([]);
    setLeftOut(0);
  }, []);
  return { lines, heldBack, leftOut, state, paused, pause, clear };
}
