/*
 * Asking the server. In: a path. Out: JSON, or an `ApiError` with the server's own sentence. A key is kept for this tab only
 * (sessionStorage) and is sent in a header, never in an address; without cookies there is nothing for another site to ride on.
 */
import type { QueryAnswer, QueryData, SqlAnswer } from './types';

const KEY = 'watchfire-key';

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

type Listener = () => void;
const listeners = new Set<Listener>();
let locked = false;

/** Whether the server asks for a key. */
export const isLocked = (): boolean => locked;

/** Calls `then` when the answer of `isLocked` changes; returns how to stop. */
export function onLockChange(then: Listener): () => void {
  listeners.add(then);
  return () => listeners.delete(then);
}

function setLocked(now: boolean): void {
  if (locked !== now) {
    locked = now;
    for (const listener of listeners) listener();
  }
}

export const hasKey = (): boolean => sessionStorage.getItem(KEY) !== null;

export function useKey(key: string | null): void {
  if (key === null) sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, key.trim());
}

/** Asks for the status with a key and keeps the key if the server takes it. */
export async function unlock(key: string): Promise<void> {
  const answer = await fetch('/api/watchfire/v1/status', { headers: { 'x-api-key': key.trim() } });
  if (!answer.ok) throw await problem(answer);
  useKey(key);
  setLocked(false);
}

export function lock(): void {
  useKey(null);
  setLocked(true);
}

async function problem(answer: Response): Promise<ApiError> {
  const text = await answer.text().catch(() => '');
  let said = '';
  try {
    const body = JSON.parse(text) as { error?: unknown };
    if (typeof body.error === 'string') said = body.error;
  } catch {
    said = text.length < 400 && !text.startsWith('<') ? text.trim() : '';
  }
  return new ApiError(answer.status, said || `the server answered ${answer.status} ${answer.statusText}`.trim());
}

export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = sessionStorage.getItem(KEY);
  if (key !== null) headers.set('x-api-key', key);
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers });
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, 'the server does not answer: is it running, and is this machine connected?');
  }
  if (answer.status === 401) setLocked(true);
  if (!answer.ok) throw await problem(answer);
  return answer;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await request(path, { headers: { accept: 'application/json' }, signal: signal ?? null });
  return (await answer.json()) as T;
}

/** A command. `body` is sent as JSON. */
export async function send<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body?: unknown): Promise<T> {
  const init: RequestInit = { method, headers: { accept: 'application/json' } };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { accept: 'application/json', 'content-type': 'application/json' };
  }
  return (await (await request(path, init)).json()) as T;
}

/** A path with its query; what is `undefined` or empty is left out. */
export function withQuery(path: string, parameters: Record<string, string | number | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== '') query.set(name, String(value));
  }
  const text = query.toString();
  return text === '' ? path : `${path}?${text}`;
}

interface Envelope {
  data: QueryData;
  warnings?: string[];
  infos?: string[];
}

async function promql(path: string, form: Record<string, string>, signal?: AbortSignal): Promise<QueryAnswer> {
  const init: RequestInit = { method: 'POST', body: new URLSearchParams(form), signal: signal ?? null };
  const body = (await (await request(path, init)).json()) as Envelope;
  return { data: body.data, warnings: body.warnings ?? [], infos: body.infos ?? [] };
}

export const instant = (query: string, time: number, signal?: AbortSignal): Promise<QueryAnswer> =>
  promql('/api/v1/query', { query, time: String(time) }, signal);

export const range = (query: string, start: number, end: number, step: number, signal?: AbortSignal): Promise<QueryAnswer> =>
  promql('/api/v1/query_range', { query, start: String(start), end: String(end), step: String(step) }, signal);

/** The data of one of Prometheus's metadata routes. */
export async function prom<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await get<{ data: T }>(path, signal)).data;
}

/** Whole numbers beyond 2^53 stay exact, as text. */
export function parseExact(text: string): unknown {
  const keep = (_name: string, value: unknown, context?: { source?: string }): unknown =>
    typeof value === 'number' && context?.source !== undefined && Number.isInteger(value) && !Number.isSafeInteger(value) ? context.source : value;
  return JSON.parse(text, keep as (this: unknown, key: string, value: unknown) => unknown);
}

/** One SELECT. Read times as `toString(toUnixTimestamp64Nano(ts))`: nanoseconds do not fit a JSON number everywhere. */
export async function sql(statement: string, signal?: AbortSignal): Promise<SqlAnswer> {
  const answer = await request('/api/watchfire/v1/sql?format=JSONCompact', { method: 'POST', body: statement, signal: signal ?? null });
  return parseExact(await answer.text()) as SqlAnswer;
}
