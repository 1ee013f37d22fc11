/* Watchfire itself: parts, ingest by protocol and service, what was refused and why, the log and the engine, queues, how long things are kept, keys, scrape targets. */
import type { UseQueryResult } from '@tanstack/react-query';
import { useRef, type ReactNode } from 'react';
import { ApiError, get, prom, request, sql } from '../api/client';
import type { Check, KeyList, ScrapeTarget, Status, SystemView } from '../api/types';
import { useAsk, useListKeys } from '../hooks';
import { bytes, count, short, weightSql } from '../lib/format';
import { readExposition, sumOf, type Reading } from '../lib/exposition';
import { formatSeconds } from '../lib/time';
import { Answer, Empty, Facts, Go, PageHead, Panel, StatusTag, Tag, Trouble, When, type Tone } from '../parts/basics';
import { Freshness } from './Home';

interface Shot {
  at: number;
  all: Reading[];
  /** Per second since the shot before; by name and labels. */
  rates: Map<string, number>;
}

const keyOf = (one: Reading): string => `${one.name}${JSON.stringify(one.labels)}`;

const HEALTH: Record<string, Tone> = { healthy: 'good', degraded: 'warning', down: 'critical' };

/** A table that may be wider than its place; its rows (`data-item`) are walked with arrows or j/k. */
function Walk({ label, children }: { label: string; children: ReactNode }) {
  return <div className="scroll-x" tabIndex={0} role="region" aria-label={label} {...useListKeys()}><table className="data">{children}</table></div>;
}

const ROW = { tabIndex: -1, 'data-item': true } as const;

/** What is asked from outside; nothing where nothing is configured. */
function Checks() {
  const found = useAsk(['checks'], (signal) => get<{ checks: Check[] }>('/api/watchfire/v1/checks', signal), { live: 2 });
  if (found.error) return <Trouble error={found.error} />;
  if ((found.data?.checks.length ?? 0) === 0) return null;
  return (
    <Panel title="Checks from outside" flush>
      <ul className="list">
        {found.data?.checks.map((one) => (
          <li key={one.check} className="item">
            <Tag tone={HEALTH[one.health] ?? 'quiet'}>{one.health}</Tag>
            <span className="item-main"><span className="item-title">{one.check}</span><span className="item-sub">{one.reason && <span>{one.reason}</span>}<span>checked <When at={one.checked_at} />, took {formatSeconds(one.seconds)}</span></span></span>
            {one.since && <span className="small">since <When at={one.since} /></span>}
          </li>
        ))}
      </ul>
    </Panel>
  );
}

/** How long things are kept, and where. */
function Kept({ system }: { system: UseQueryResult<SystemView, Error> }) {
  return (
    <Answer of={system} height={180}>
      {(data) => <Facts of={[
        ...(['spans', 'logs', 'metrics', 'errors'] as const).map((signal): [string, React.ReactNode] => [`${signal[0]?.toUpperCase()}${signal.slice(1)}`, `${count(data.retention_days[signal])} days`]),
        ['Deliveries, timers', `${formatSeconds(data.finished_work_seconds)} after their end`],
        ['Telemetry', data.telemetry === 'embedded' ? 'ClickHouse, embedded' : 'a ClickHouse server'],
        ['State', data.state === 'sqlite' ? 'SQLite' : `PostgreSQL; ${data.leads ? 'this node leads' : 'another node leads'}`],
        ['Tail sampling', data.sampling.tail ? 'on' : 'off'], ['Redaction', data.sampling.redaction ? 'on' : 'off'],
      ]} />}
    </Answer>
  );
}

/** What is wrong with the log or the engine, in sentences; nothing where all is well. */
function Troubles({ system }: { system: SystemView | undefined }) {
  if (!system) return null;
  const { log, engine } = system;
  const said = [
    ...(engine && !engine.up ? [`The engine is down: ${engine.trouble ?? 'no reason is known'}`] : []),
    ...(log.disk_error ? [`The log cannot be written: ${log.disk_error}`] : []),
    ...Object.entries(log.insert_errors).map(([table, error]) => `Rows of ${table} wait because their insert fails: ${error}`),
    ...(log.quarantined > 0 ? [`${count(log.quarantined)} inserts are in quarantine: accepted rows that somebody must look at`] : []),
    ...(log.damaged > 0 ? [`${count(log.damaged)} damaged places were found in the log`] : []),
    ...(log.bytes > log.max_bytes * 0.8 ? [`The log is ${Math.round((log.bytes / log.max_bytes) * 100)} % full: intake is refused when it is full`] : []),
  ];
  return <>{said.map((one) => <div key={one} className="trouble" role="alert">{one}</div>)}</>;
}

function Keys() {
  const found = useAsk(['keys'], (signal) => get<KeyList>('/api/watchfire/v1/keys', signal), { live: 6 });
  return (
    <Panel flush title="API keys">
      {/* Who may not see them is told so; that is no failure of this page. */}
      {found.error instanceof ApiError && found.error.status === 403 ? <Empty title="Only a key with admin sees the keys" snippet="watchfire keys list">Or ask at the machine itself.</Empty> : (
        <Answer of={found} height={120}>
          {({ keys }) => keys.length === 0 ? <Empty title="There is no key yet" snippet={'watchfire keys create team-a --permission read --permission respond'}>Without one only this machine may connect. From the first key on every request needs one.</Empty> : (
            <Walk label="API keys"><thead><tr><th>Name</th><th>May</th><th>Made</th><th>State</th><th className="hide-small">Id</th></tr></thead>
              <tbody>{keys.map((one) => <tr key={one.id} {...ROW}><td className="wrap">{one.name}{one.user && <div className="small muted">of {one.user}</div>}</td><td>{one.permissions.join(', ')}</td><td><When at={one.created_at} /></td><td>{one.revoked_at ? <Tag>revoked</Tag> : <Tag tone="good">live</Tag>}</td><td className="mono wrap hide-small">{one.id}</td></tr>)}</tbody></Walk>
          )}
        </Answer>
      )}
    </Panel>
  );
}

export function System() {
  const before = useRef<{ at: number; values: Map<string, number> } | null>(null);
  const status = useAsk(['status'], (signal) => get<Status>('/api/watchfire/v1/status', signal));
  const shot = useAsk(['own-metrics'], async (signal): Promise<Shot> => {
    const all = readExposition(await (await request('/metrics', { signal })).text());
    const at = Date.now();
    const values = new Map(all.map((one) => [keyOf(one), one.value]));
    const rates = new Map<string, number>();
    const past = before.current;
    // A counter that was not there before began at nothing.
    if (past && at > past.at) for (const [key, value] of values) rates.set(key, Math.max(0, (value - (past.values.get(key) ?? 0)) / ((at - past.at) / 1_000)));
    before.current = { at, values };
    return { at, all, rates };
  });
  const targets = useAsk(['targets'], async (signal) => ({ targets: (await prom<{ activeTargets: ScrapeTarget[] }>('/api/v1/targets?state=active', signal)).activeTargets }), { live: 2 });
  const byService = useAsk(['ingest', 'services'], async (signal) => ({ rows: (await sql(BY_SERVICE, signal)).data.map(([service, spans, logs, stored, newest]) => ({ service: String(service), spans: Number(spans), logs: Number(logs), stored: Number(stored), newest: Number(newest) })) }), { live: 3 });
  // Nothing else tells when the process began; where that cannot be asked, only the word is missing.
  const runtime = useAsk(['runtime'], (signal) => prom<{ startTime?: string }>('/api/v1/status/runtimeinfo', signal), { live: 12 });
  const began = runtime.data?.startTime;
  const system = useAsk(['system'], (signal) => get<SystemView>('/api/watchfire/v1/system', signal), { live: 2 });
  // Texts fold on small screens: what waits for them has their size.
  const narrow = window.innerWidth < 700;
  return (
    <>
      <PageHead title="System" />
      <div className="stack">
        <Troubles system={system.data} />
        <div className="grid">
          <Panel className="span-6" title="Parts" extra={status.data && <Tag tone={status.data.ready ? 'good' : 'critical'}>{status.data.ready ? 'ready' : 'not ready'}</Tag>}>
            <Answer of={status} height={narrow ? 217 : 150}>{(data) => <div className="stack" style={{ gap: 6 }}>{data.parts.map((part) => <div key={part.part} className="row"><Tag tone={part.healthy ? 'good' : 'critical'}>{part.part}</Tag><span className="small">{part.detail}</span></div>)}<div className="small muted">Watchfire {data.version}, its clock: <When at={data.now} both /></div></div>}</Answer>
          </Panel>
          <Panel className="span-6" title="Age of the newest row"><Answer of={status} height={narrow ? 250 : 126}>{(data) => <Freshness status={data} />}</Answer></Panel>
        </div>
        <div className="grid">
          <Panel className="span-6" flush title="Ingest by protocol">
            <Answer of={shot} height={220}>{(data) => <Table shot={data} name="watchfire_collector_requests_total" columns={['protocol', 'signal', 'code']} empty="No request has come yet" what="Requests" label="Ingest by protocol" />}</Answer>
          </Panel>
          <Panel className="span-6" flush title="Ingest by service, last 5 min">
            <Answer of={byService} height={220}>{({ rows }) => <Services rows={rows} />}</Answer>
          </Panel>
          <Panel className="span-6" flush title="Rows taken">
            <Answer of={shot} height={220}>{(data) => <Table shot={data} name="watchfire_collector_rows_total" columns={['signal']} empty="No rows yet" what="Rows" label="Rows taken" />}</Answer>
          </Panel>
          <Panel className="span-6" flush title="Refused, cut or left out" extra={<span className="small muted">{began ? <>since the process began, <When at={began} /></> : 'since the process began'}</span>}>
            <Answer of={shot} height={120}>{(data) => <Refused shot={data} />}</Answer>
          </Panel>
          <Panel className="span-6" title="Log and engine">
            <Answer of={shot} height={320}>
              {({ all }) => {
                const shown = (value: number | undefined, write: (value: number) => string): string => (value === undefined ? '-' : write(value));
                const mean = (name: string): string => {
                  const [sum, times] = [sumOf(all, `${name}_sum`), sumOf(all, `${name}_count`)];
                  return sum === undefined || !times ? '-' : formatSeconds(sum / times);
                };
                return <Facts of={[
                  ['Log holds', shown(sumOf(all, 'watchfire_wal_bytes'), bytes)], ['Blocks waiting', shown(sumOf(all, 'watchfire_wal_blocks'), count)], ['Segments', shown(sumOf(all, 'watchfire_wal_segments'), count)],
                  ['Behind', shown(sumOf(all, 'watchfire_writer_lag_seconds'), formatSeconds)], ['Sync takes', mean('watchfire_wal_fsync_seconds')], ['Insert takes', mean('watchfire_writer_insert_seconds')],
                  ['Corrupt records', shown(sumOf(all, 'watchfire_wal_corrupt_records_total'), count)],
                  ['Engine', shown(sumOf(all, 'watchfire_engine_up'), (up) => (up ? 'up' : 'DOWN'))], ['Engine memory', shown(sumOf(all, 'watchfire_engine_resident_bytes'), bytes)], ['Engine restarts', shown(sumOf(all, 'watchfire_engine_restarts_total'), count)],
                  ['Server memory', shown(sumOf(all, 'process_resident_memory_bytes'), bytes)], ['Open files', shown(sumOf(all, 'process_open_fds'), count)],
                ]} />;
              }}
            </Answer>
          </Panel>
          <Panel className="span-6" flush title="Queues" extra={<Go to="/paging"><span className="small">Deliveries</span></Go>}>
            <Answer of={status} height={140}>
              {(data) => (
                <Walk label="Queues"><thead><tr><th>Queue</th><th className="num">Waiting</th><th className="num">Dead</th><th className="num">Overdue</th></tr></thead>
                  <tbody>{data.queues.map((one) => <tr key={one.queue} {...ROW}><td>{one.queue}</td><td className="num">{count(one.pending)}</td><td className="num" style={one.dead > 0 ? { color: 'var(--wf-critical)', fontWeight: 600 } : undefined}>{count(one.dead)}</td><td className="num">{one.overdue_seconds > 0 ? formatSeconds(one.overdue_seconds) : '-'}</td></tr>)}</tbody></Walk>
              )}
            </Answer>
          </Panel>
        </div>
        <div className="grid">
          <Panel className="span-4" title="Kept for"><Kept system={system} /></Panel>
          <div className="span-8"><Keys /></div>
        </div>
        <Checks />
        <Panel flush title="Scrape targets">
          <Answer of={targets} height={120}>
            {(data) => data.targets.length === 0 ? <Empty title="Nothing is scraped" snippet={'# watchfire.yaml\nscrape:\n  scrape_config_files: [prometheus.yml]'}>Prometheus&apos;s scrape_configs are taken as they are.</Empty> : (
              <Walk label="Scrape targets"><thead><tr><th>Job</th><th>Target</th><th>State</th><th>Last</th><th className="num">Took</th><th>Trouble</th></tr></thead>
                <tbody>{data.targets.map((one) => <tr key={one.scrapePool + one.scrapeUrl} {...ROW}><td>{one.scrapePool}</td><td className="mono wrap">{one.scrapeUrl}</td><td><StatusTag status={one.health} /></td><td><When at={one.lastScrape} /></td><td className="num">{formatSeconds(one.lastScrapeDuration)}</td><td className="wrap">{one.lastError}</td></tr>)}</tbody></Walk>
            )}
          </Answer>
        </Panel>
      </div>
    </>
  );
}

/** What came within five minutes, and how many rows are stored of it; rows whose own time is older than ten are left out, so that little is read. */
const BY_SERVICE = ((): string => {
  const of = (table: string, spans: string, logs: string): string => `SELECT service, ${spans} AS spans, ${logs} AS logs, count() AS stored, max(received) AS newest FROM ${table} WHERE ts > now() - INTERVAL 10 MINUTE AND received > now() - INTERVAL 5 MINUTE GROUP BY service`;
  return `SELECT service, toString(sum(spans)), toString(sum(logs)), toString(sum(stored)), toString(toUnixTimestamp64Milli(max(newest))) FROM (${of('spans', `sum(${weightSql})`, '0')} UNION ALL ${of('logs', '0', `sum(${weightSql})`)}) GROUP BY service ORDER BY sum(spans) + sum(logs) DESC LIMIT 101`;
})();

function Services({ rows }: { rows: { service: string; spans: number; logs: number; stored: number; newest: number }[] }) {
  if (rows.length === 0) return <Empty title="No span and no line in five minutes">Metrics have no service of their own here: they are counted under “Rows taken”.</Empty>;
  return (
    <>
      <Walk label="Ingest by service"><thead><tr><th>Service</th><th className="num">Spans</th><th className="num">Lines</th><th className="num" title="Rows stored a second: sampling stores fewer than came">Rows/s</th><th>Newest</th></tr></thead>
        <tbody>{rows.slice(0, 100).map((one) => <tr key={one.service}><td className="wrap" style={{ minWidth: 130 }}>{one.service === '' ? <span className="muted">no service</span> : <Go to={`/services/${encodeURIComponent(one.service)}`} data-item>{one.service}</Go>}</td><td className="num">{count(one.spans)}</td><td className="num">{count(one.logs)}</td><td className="num">{short(one.stored / 300)}</td><td style={{ whiteSpace: 'nowrap' }}><When at={one.newest} /></td></tr>)}</tbody></Walk>
      {rows.length > 100 && <div className="panel-rest small muted">The busiest 100; there are more.</div>}
    </>
  );
}

function Table({ shot, name, columns, empty, what, label }: { shot: Shot; name: string; columns: string[]; empty: string; what: string; label: string }) {
  const rows = shot.all.filter((one) => one.name === name);
  if (rows.length === 0) return <Empty title={empty} />;
  return (
    <Walk label={label}><thead><tr>{columns.map((column) => <th key={column}>{column}</th>)}<th className="num">{what}</th><th className="num">now</th></tr></thead>
      <tbody>{rows.map((one) => <tr key={keyOf(one)} {...ROW}>{columns.map((column) => <td key={column}>{one.labels[column]?.replaceAll('_', ' ') ?? ''}</td>)}<td className="num">{count(one.value)}</td><td className="num">{now(shot, one)}</td></tr>)}</tbody></Walk>
  );
}

/** Per second, between the last two looks. */
const now = (shot: Shot, one: Reading): string => (shot.rates.has(keyOf(one)) ? `${short(shot.rates.get(keyOf(one)) ?? 0)}/s` : '-');

const NOT_TAKEN = /refused|rejected|dropped|truncated|cut|overflow|corrupt|torn|invalid|duplicate|rate_limited|faults|sampled_out|left_out|quarantined/;

/** Every counter of Watchfire that counts what was not taken as it came, and is not zero. */
function Refused({ shot }: { shot: Shot }) {
  const rows = shot.all.filter((one) => one.value > 0 && one.name.endsWith('_total') && (NOT_TAKEN.test(one.name) || (one.name.startsWith('watchfire_tail_sampling_') && one.labels.decision === 'dropped')));
  if (rows.length === 0) return <Empty title="Nothing was refused">Rows and requests that are not taken are counted here with the reason.</Empty>;
  return (
    <Walk label="Refused, cut or left out"><thead><tr><th>What</th><th>Why</th><th className="num">Count</th><th className="num">now</th></tr></thead>
      <tbody>{rows.map((one) => <tr key={keyOf(one)} {...ROW}><td className="wrap">{one.name.replace(/^watchfire_|_total$/g, '').replaceAll('_', ' ')}</td><td className="wrap">{Object.values(one.labels).join(', ').replaceAll('_', ' ')}</td><td className="num">{count(one.value)}</td><td className="num">{now(shot, one)}</td></tr>)}</tbody></Walk>
  );
}
