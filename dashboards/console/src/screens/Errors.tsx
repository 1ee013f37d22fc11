/* Error issues: what goes wrong in code, grouped; by status, service and words. */
import { Button, Select, SegmentedControl, TextInput } from '@mantine/core';
import { useEffect, useState } from 'react';
import { get, prom, withQuery } from '../api/client';
import type { IssueList } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { count } from '../lib/format';
import { Answer, Empty, firstData, Go, LinkList, PageHead, Panel, Spark, StatusTag, When } from '../parts/basics';

const PAGE = 50;

export function Errors() {
  const { status = 'open', sort = 'last_seen', service, q = '', window = '14d', assignee, offset = '0' } = useAddress();
  const set = useSetAddress();
  const [typed, setTyped] = useState(q);
  useEffect(() => setTyped(q), [q]);
  const services = useAsk(['services', 'names'], (signal) => prom<string[]>('/api/v1/label/service_name/values', signal), { live: false });
  const found = useAsk(['errors', status, sort, service ?? '', q, window, assignee ?? '', offset], (signal) => get<IssueList>(withQuery('/api/watchfire/v1/errors', { status, sort, service, text: q, window, assignee, limit: PAGE, offset }), signal));
  const change = (to: Record<string, string | undefined>): void => set({ ...to, offset: undefined });
  return (
    <>
      <PageHead title="Errors">
        <SegmentedControl size="xs" aria-label="Status" value={status} onChange={(value) => change({ status: value === 'open' ? undefined : value })} data={[{ value: 'open', label: 'Open' }, { value: 'regressed', label: 'Regressed' }, { value: 'resolved', label: 'Resolved' }, { value: 'ignored', label: 'Ignored' }, { value: 'all', label: 'All' }]} />
      </PageHead>
      <form className="row" style={{ marginBottom: 12 }} onSubmit={(event) => { event.preventDefault(); change({ q: typed }); }}>
        <TextInput size="xs" className="grow" style={{ minWidth: 200 }} aria-label="Words in title, message or place" placeholder="Words in title, message or place" value={typed} onChange={(event) => setTyped(event.currentTarget.value)} onBlur={() => typed !== q && change({ q: typed })} />
        <Select size="xs" w={170} aria-label="Service" placeholder="Every service" clearable searchable data={[...new Set([...(services.data ?? []), ...(service ? [service] : [])])]} value={service ?? null} onChange={(value) => change({ service: value ?? undefined })} clearButtonProps={{ 'aria-label': 'Every service' }} />
        <Select size="xs" w={130} aria-label="Order" allowDeselect={false} data={[{ value: 'last_seen', label: 'Last seen' }, { value: 'first_seen', label: 'Newest' }, { value: 'events', label: 'Most events' }, { value: 'users', label: 'Most users' }]} value={sort} onChange={(value) => change({ sort: value === 'last_seen' ? undefined : (value ?? undefined) })} />
        <Select size="xs" w={110} aria-label="Counted over" allowDeselect={false} data={[{ value: '1h', label: 'Last hour' }, { value: '1d', label: 'Last day' }, { value: '14d', label: '14 days' }, { value: '90d', label: '90 days' }]} value={window} onChange={(value) => change({ window: value === '14d' ? undefined : (value ?? undefined) })} />
      </form>
      <Panel flush>
        <Answer of={found} height={300}>
          {({ issues, warnings, total, next_offset: next }) => (
            <>
              {warnings.map((text) => <div key={text} className="note" style={{ margin: 12 }}>{text}</div>)}
              {issues.length === 0
                ? <Empty title={status === 'open' && q === '' && !service ? 'No open error issue' : 'No issue fits'} {...(status === 'open' && q === '' && !service ? { snippet: firstData.sentry } : {})}>Exceptions in spans and logs, and events of Sentry&apos;s SDKs, are grouped here.</Empty>
                : (
                  <LinkList label="Error issues">
                    {issues.map((one) => (
                      <li key={one.id}>
                        <Go to={`/errors/${one.number}`} className="item" data-item>
                          <span className="item-main">
                            <span className="item-title">{one.title}</span>
                            <span className="item-sub"><span className="mono">{one.culprit}</span><span>{one.services.join(', ')}</span>{one.last_release && <span>release {one.last_release}</span>}<span>first <When at={one.first_seen} /></span>{one.assignee && <span>{one.assignee}</span>}</span>
                          </span>
                          <span style={{ width: 110 }} className="hide-small" title="events an hour, last day">{one.hourly && <Spark values={one.hourly} color="#e5484d" />}</span>
                          <span className="nums small" style={{ minWidth: 74, textAlign: 'right' }}>{one.events === null ? '-' : `${count(one.events)} events`}<br /><span className="muted">{one.users === null ? '' : `${count(one.users)} users`}</span></span>
                          <StatusTag status={one.status} />
                          <span className="small" style={{ minWidth: 64, textAlign: 'right' }}><When at={one.last_seen} /></span>
                        </Go>
                      </li>
                    ))}
                  </LinkList>
                )}
              {total > PAGE && (
                <div className="row small" style={{ padding: 12, borderTop: '1px solid var(--wf-edge)' }}>
                  <span className="muted nums">{Number(offset) + 1} to {Number(offset) + issues.length} of {count(total)}</span><span className="grow" />
                  <Button size="compact-xs" variant="default" disabled={offset === '0'} onClick={() => set({ offset: Number(offset) > PAGE ? String(Number(offset) - PAGE) : undefined })}>Before</Button>
                  <Button size="compact-xs" variant="default" disabled={next === null} onClick={() => set({ offset: String(next) })}>Next</Button>
                </div>
              )}
            </>
          )}
        </Answer>
      </Panel>
    </>
  );
}
