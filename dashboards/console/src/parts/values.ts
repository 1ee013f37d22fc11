/* What an alerting rule says over a time, whatever its question is. The server answers one such question at a time: this page's wait for one another here, and for those of others. */
import { ApiError, get, withQuery } from '../api/client';
import type { AlertView, RuleValues } from '../api/types';
import type { Range } from '../lib/time';

/** At so many moments a rule is asked: each costs a question, and the server takes only so long. */
const POINTS = 40;
const TRIES = 30;
let last: Promise<unknown> = Promise.resolve();

const pause = (signal: AbortSignal): Promise<void> => new Promise((then) => {
  const timer = setTimeout(then, 500 + Math.random() * 500);
  signal.addEventListener('abort', () => { clearTimeout(timer); then(); }, { once: true });
});

async function ask(path: string, signal: AbortSignal): Promise<RuleValues> {
  for (let tries = 1; ; tries += 1) {
    signal.throwIfAborted();
    try {
      return await get<RuleValues>(path, signal);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409 || tries === TRIES) throw error;
      await pause(signal);
    }
  }
}

export function ruleValues(rule: AlertView['rule'], range: Range, signal: AbortSignal): Promise<RuleValues> {
  const iso = (at: number): string => new Date(at).toISOString();
  const path = withQuery('/api/watchfire/v1/rules/values', { source: rule.source, group: rule.group, name: rule.name, from: iso(range.from), to: iso(range.to), points: POINTS });
  const mine = last.then(() => ask(path, signal));
  last = mine.catch(() => undefined);
  return mine;
}
