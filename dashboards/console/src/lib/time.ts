/* Time: what `now-1h` means, and how moments and lengths are written. Pure; `now` is an argument. Milliseconds unless named. */

const UNITS: Record<string, number> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** A moment as it stands in an address: `now`, `now-15m`, or milliseconds since 1970. Nothing where it is neither. */
export function parseMoment(text: string, now: number): number | undefined {
  if (text === 'now') return now;
  const ago = /^now-(\d+)([smhdw])$/.exec(text);
  if (ago) return now - Number(ago[1]) * (UNITS[ago[2] ?? ''] ?? 0);
  if (/^\d{10,14}$/.test(text)) return Number(text);
  const parsed = Date.parse(text);
  return Number.isNaN(parsed) ? undefined : parsed;
}

export interface Range {
  from: number;
  to: number;
}

export const DEFAULT_FROM = 'now-1h';
export const DEFAULT_TO = 'now';

/** The time span of an address; what cannot be read, or runs backwards, is the last hour. */
export function resolveRange(from: string | undefined, to: string | undefined, now: number): Range {
  const end = parseMoment(to ?? DEFAULT_TO, now) ?? now;
  const start = parseMoment(from ?? DEFAULT_FROM, now) ?? end - 3_600_000;
  return start < end ? { from: start, to: end } : { from: end - 3_600_000, to: end };
}

/** Whether a time span moves on with the clock. */
export const isLive = (to: string | undefined): boolean => to === undefined || to === 'now';

/** What a time span is called. */
export function rangeName(from: string | undefined, to: string | undefined, zone: string): string {
  const ago = /^now-(\d+)([smhdw])$/.exec(from ?? DEFAULT_FROM);
  if (ago && isLive(to)) {
    const words: Record<string, string> = { s: 'second', m: 'minute', h: 'hour', d: 'day', w: 'week' };
    const count = Number(ago[1]);
    const word = words[ago[2] ?? ''] ?? '';
    return count === 1 ? `Last ${word}` : `Last ${count} ${word}s`;
  }
  const { from: start, to: end } = resolveRange(from, to, Date.now());
  return `${formatMoment(start, zone)} to ${isLive(to) ? 'now' : formatMoment(end, zone)}`;
}

/** Steps of a plot: the smallest nice one that gives at most `points` points. In seconds. */
export function stepFor(range: Range, points: number): number {
  const least = (range.to - range.from) / 1_000 / Math.max(points, 1);
  const nice = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];
  return nice.find((step) => step >= least) ?? Math.ceil(least / 86_400) * 86_400;
}

/** The window of a rate that fits a step: four steps, at least a minute. As PromQL writes it. */
export const rateWindow = (step: number): string => `${Math.max(60, step * 4)}s`;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatter(zone: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = zone + JSON.stringify(options);
  let found = formats.get(key);
  if (!found) {
    found = new Intl.DateTimeFormat('en-GB', { ...options, timeZone: zone, hourCycle: 'h23' });
    formats.set(key, found);
  }
  return found;
}

function fields(at: number, zone: string): Record<string, string> {
  const options: Intl.DateTimeFormatOptions = {
    year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit',
  };
  return Object.fromEntries(formatter(zone, options).formatToParts(at).map((part) => [part.type, part.value]));
}

/** `2026-11-21 12:25:54` in a zone. */
export function formatMoment(at: number, zone: string): string {
  const f = fields(at, zone);
  return `${f.year}-${f.month}-${f.day} ${f.hour}:${f.minute}:${f.second}`;
}

/** `12:25:54.123` in a zone. */
export function formatClock(at: number, zone: string, millis = false): string {
  const f = fields(at, zone);
  const rest = millis ? `.${String(Math.floor(((at % 1_000) + 1_000) % 1_000)).padStart(3, '0')}` : '';
  return `${f.hour}:${f.minute}:${f.second}${rest}`;
}

/** `2026-11-21 12:00:00` in a zone, as a moment. */
export function momentIn(text: string, zone: string): number | undefined {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?:[ T](\d\d):(\d\d)(?::(\d\d))?)?$/.exec(text.trim());
  if (!found) return parseMoment(text.trim(), Date.now());
  const [year, month, day, hour, minute, second] = found.slice(1).map((part) => Number(part ?? 0));
  const wanted = Date.UTC(year ?? 0, (month ?? 1) - 1, day, hour, minute, second);
  // Twice, because the zone's offset may differ between the guess and the moment.
  let at = wanted;
  for (let round = 0; round < 2; round += 1) at += wanted - Date.parse(`${formatMoment(at, zone).replace(' ', 'T')}Z`);
  return at;
}

/** `Mon 23 Nov, 09:00` in a zone: for what comes within weeks. */
export function formatDay(at: number, zone: string): string {
  const f = Object.fromEntries(formatter(zone, { weekday: 'short', day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).formatToParts(at).map((part) => [part.type, part.value]));
  return `${f.weekday} ${f.day} ${f.month}, ${f.hour}:${f.minute}`;
}

/** The zone's short name at a moment: `CET`, `UTC`, `GMT+5:30`. */
export function zoneName(at: number, zone: string): string {
  if (zone === 'UTC') return 'UTC';
  return formatter(zone, { timeZoneName: 'short' }).formatToParts(at).find((part) => part.type === 'timeZoneName')?.value ?? zone;
}

/** A moment with date, time and zone: in the chosen zone, and in UTC beside it (or, where UTC is chosen, in this machine's zone). */
export function wholeMoment(at: number, zone: string, own: string): string[] {
  const write = (one: string): string => `${formatMoment(at, one)} ${zoneName(at, one)}`;
  return [...new Set([write(zone), write(zone === 'UTC' ? own : 'UTC')])];
}

/** A length in at most two units: `44s`, `2m 5s`, `3h 12m`, `5d 1h`. */
export function formatSeconds(seconds: number): string {
  if (!Number.isFinite(seconds)) return '-';
  const sign = seconds < 0 ? '-' : '';
  const s = Math.abs(seconds);
  if (s < 0.001) return s === 0 ? '0s' : `${sign}${trim(s * 1e6)}µs`;
  if (s < 1) return `${sign}${trim(s * 1e3)}ms`;
  if (s < 60) return `${sign}${trim(s)}s`;
  const whole = Math.round(s);
  const [d, h, m, rest] = [Math.floor(whole / 86_400), Math.floor(whole / 3_600) % 24, Math.floor(whole / 60) % 60, whole % 60];
  if (d > 0) return `${sign}${d}d${h ? ` ${h}h` : ''}`;
  if (h > 0) return `${sign}${h}h${m ? ` ${m}m` : ''}`;
  return `${sign}${m}m${rest ? ` ${rest}s` : ''}`;
}

function trim(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1).replace(/\.0$/, '') : value.toFixed(2).replace(/\.?0+$/, '');
}

/** `4m ago`, `in 2h`, `just now`. */
export function relative(at: number, now: number): string {
  const seconds = (now - at) / 1_000;
  const size = Math.abs(seconds);
  if (size < 5) return 'just now';
  const text = size < 60 ? `${Math.floor(size)}s` : size < 3_600 ? `${Math.floor(size / 60)}m` : size < 86_400 ? `${Math.floor(size / 3_600)}h` : `${Math.floor(size / 86_400)}d`;
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}
