/* One error issue: the newest event's stack, how often and whom it hits, and what is done about it. */
import { Button, Menu, Modal, SegmentedControl, TextInput } from '@mantine/core';
import { useParams } from '@tanstack/react-router';
import { useState } from 'react';
import { get, send } from '../api/client';
import type { IssueDetail, StackFrame } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { count } from '../lib/format';
import { fieldText } from '../lib/search';
import { Answer, Copy, Empty, Facts, Go, PageHead, Panel, Spark, StatusTag, Trouble, When } from '../parts/basics';

export function IssuePage() {
  const { issue: reference } = useParams({ strict: false }) as { issue: string };
  const found = useAsk(['error', reference], (signal) => get<IssueDetail>(`/api/watchfire/v1/errors/${encodeURIComponent(reference)}`, signal), { keep: false });
  if (found.data === undefined) return found.error ? <Trouble error={found.error} /> : <Answer of={found} height={400}>{() => null}</Answer>;
  const { issue, latest, breakdowns, hourly, daily, history, events, users, warnings } = found.data;
  const tags = (breakdowns as Record<string, unknown> | null | undefined)?.tags as Record<string, { value: string; events: number }[]> | undefined;
  const groups: [string, { value: string; events: number }[]][] = [
    ...Object.entries((breakdowns ?? {}) as Record<string, { value: string; events: number }[]>).filter(([name, values]) => name !== 'tags' && Array.isArray(values)),
    ...Object.entries(tags ?? {}),
  ];
  const moment = latest ? Date.parse(latest.at) : 0;
  return (
    <>
      <PageHead title={issue.title}><Commands detail={found.data} /></PageHead>
      <div className="row" style={{ marginBottom: 12, gap: '6px 14px' }}>
        <StatusTag status={issue.status} />
        <span className="small">issue {issue.number}</span>
        <span className="small mono wrap">{issue.culprit}</span>
        {issue.assignee && <span className="small">{issue.assignee} has it</span>}
        {issue.regressions > 0 && <span className="small">came back {issue.regressions} {issue.regressions === 1 ? 'time' : 'times'}</span>}
      </div>
      {warnings.map((text) => <div key={text} className="note" style={{ marginBottom: 12 }}>{text}</div>)}
      {issue.status === 'merged' && <div className="note">This issue was merged into <Go to={`/errors/${String(issue.state.into_number)}`}>issue {String(issue.state.into_number)}</Go>.</div>}
      <div className="grid">
        <div className="span-8 stack">
          {latest ? (
            <>
              <Panel title="The newest event" extra={<span className="small"><When at={latest.at} both /></span>}>
                <div className="wrap" style={{ fontWeight: 560, marginBottom: 8 }}>{latest.type}: {latest.message}</div>
                <div className="row small" style={{ marginBottom: 10 }}>
                  <span>{latest.service}</span>{latest.release && <span>release {latest.release}</span>}{latest.environment && <span>{latest.environment}</span>}{latest.user && <span>user {latest.user}</span>}<span className="muted">from {latest.source.replaceAll('_', ' ')}</span>
                  {latest.trace_id && <Go to={`/traces/${latest.trace_id}`} search={{ span: latest.span_id || undefined }}>Its trace</Go>}
                  <Go to="/logs" search={{ q: fieldText('service', '=', latest.service), from: String(moment - 30_000), to: String(moment + 30_000) }}>Logs around it</Go>
                </div>
                <Stack frames={latest.frames} text={latest.stack} />
              </Panel>
              {Object.keys(latest.tags).length > 0 && <Panel title="Tags of the event"><Facts of={Object.entries(latest.tags).map(([name, value]) => [name, <span key={name} className="mono wrap">{value}</span>])} /></Panel>}
            </>
          ) : <Panel><Empty title="No event within the window">The events of this issue are older than the window or the retention.</Empty></Panel>}
          <Panel title="What happened to the issue">
            <ol className="timeline">{history.toReversed().map((one, at) => <li key={at}><When at={one.at} /><span className="wrap">{one.text}<span className="muted small"> · {one.by}</span></span></li>)}</ol>
          </Panel>
        </div>
        <div className="span-4 stack">
          <Panel title="How often">
            <div className="row" style={{ gap: 26, marginBottom: 10 }}>
              <div><div className="big">{events === null || events === undefined ? '-' : count(events)}</div><div className="small muted">events</div></div>
              <div><div className="big">{users === null || users === undefined ? '-' : count(users)}</div><div className="small muted">users</div></div>
            </div>
            {hourly && <><Spark values={hourly} color="#e5484d" /><div className="small muted">an hour, last day; at most {count(Math.max(...hourly, 0))}</div></>}
            {daily && <div style={{ marginTop: 8 }}><Spark values={daily} /><div className="small muted">a day, {daily.length} days</div></div>}
          </Panel>
          <Panel title="Facts">
            <Facts of={[
              ['First seen', <When key="f" at={issue.first_seen} both />], ['Last seen', <When key="l" at={latest?.at ?? issue.last_seen} both />],
              ['First release', issue.first_release ?? '-'], ['Last release', issue.last_release ?? '-'],
              ['Services', issue.services.join(', ') || '-'], ['Grouped', <span key="g" className="wrap">{issue.grouped_by}</span>],
              ['Fingerprint', <span key="p" className="mono wrap">{issue.fingerprints.join(', ')}</span>],
            ]} />
          </Panel>
          {groups.map(([name, values]) => (
            <Panel key={name} title={name}>
              <div className="stack" style={{ gap: 6 }}>
                {values.slice(0, 8).map((one) => {
                  const all = values.reduce((sum, value) => sum + value.events, 0);
                  return <div key={one.value}><div className="row small" style={{ flexWrap: 'nowrap' }}><span className="cut grow" title={one.value}>{one.value || '(none)'}</span><span className="nums">{count(one.events)}</span></div><div className="meter"><i style={{ width: `${(one.events / Math.max(all, 1)) * 100}%` }} /></div></div>;
                })}
              </div>
            </Panel>
          ))}
        </div>
      </div>
    </>
  );
}

function Stack({ frames, text }: { frames: StackFrame[]; text: string }) {
  const ours = frames.some((frame) => frame.in_app);
  const { stack } = useAddress();
  const set = useSetAddress();
  const usual = frames.length === 0 ? 'text' : ours ? 'ours' : 'all';
  const can: Record<string, boolean> = { ours, all: frames.length > 0, text: text !== '' };
  const view = stack !== undefined && can[stack] ? stack : usual;
  if (frames.length === 0 && text === '') return <div className="small muted">The event has no stack.</div>;
  const shown = view === 'ours' ? frames.filter((frame) => frame.in_app) : frames;
  return (
    <>
      <div className="row" style={{ marginBottom: 6 }}>
        <SegmentedControl size="xs" aria-label="Which frames" value={view} onChange={(value) => set({ stack: value === usual ? undefined : value }, true)} data={[...(ours ? [{ value: 'ours', label: 'Our code' }] : []), ...(frames.length > 0 ? [{ value: 'all', label: `All frames (${frames.length})` }] : []), ...(text !== '' ? [{ value: 'text', label: 'As text' }] : [])]} />
        <span className="grow" />{text !== '' && <Copy text={text} label="Copy the stack" />}
      </div>
      {view === 'text' ? <pre className="code" tabIndex={0}>{text}</pre> : (
        <div>{shown.map((frame, at) => <div key={at} className={`frame ${frame.in_app ? 'ours' : 'theirs'}`}><b>{frame.function}</b> {frame.file}{frame.line > 0 && `:${frame.line}`}</div>)}</div>
      )}
    </>
  );
}

function Commands({ detail: { issue } }: { detail: IssueDetail }) {
  const [asked, setAsked] = useState<'release' | 'assign' | null>(null);
  const [text, setText] = useState('');
  const command = useCommand(async ({ word, body }: { word: string; body?: unknown }) => {
    const answer = await send('POST', `/api/watchfire/v1/errors/${issue.number}/${word}`, body);
    setAsked(null);
    return answer;
  }, 'Done');
  if (issue.status === 'merged') return null;
  const open = issue.status === 'open' || issue.status === 'regressed';
  return (
    <div className="row">
      {open && <Button size="sm" loading={command.busy} onClick={() => command.go({ word: 'resolve' })}>Resolve</Button>}
      {open && <Button size="sm" variant="default" onClick={() => { setText(issue.last_release ?? ''); setAsked('release'); }}>Resolve in a release…</Button>}
      {!open && <Button size="sm" loading={command.busy} onClick={() => command.go({ word: 'unresolve' })}>Open again</Button>}
      {open && (
        <Menu position="bottom-end">
          <Menu.Target><Button size="sm" variant="default">Ignore…</Button></Menu.Target>
          <Menu.Dropdown>
            {[['for a day', { for: '1d' }], ['for a week', { for: '7d' }], ['until 100 more events', { events: 100 }], ['until 10 more users', { users: 10 }], ['for good', {}]].map(([name, body]) => <Menu.Item key={String(name)} onClick={() => command.go({ word: 'ignore', body })}>{String(name)}</Menu.Item>)}
          </Menu.Dropdown>
        </Menu>
      )}
      <Button size="sm" variant="default" onClick={() => { setText(issue.assignee ?? ''); setAsked('assign'); }}>Assign…</Button>
      <Modal opened={asked !== null} onClose={() => setAsked(null)} title={asked === 'assign' ? 'Who has it?' : 'In which release is it mended?'}>
        <form className="stack" onSubmit={(event) => { event.preventDefault(); command.go(asked === 'assign' ? { word: 'assign', body: { to: text.trim() || null } } : { word: 'resolve', body: { in_release: text.trim() } }); }}>
          <TextInput data-autofocus label={asked === 'assign' ? 'A name; nothing gives it back' : 'Release'} description={asked === 'release' ? 'It opens again as regressed if it comes back in this release or a newer one.' : undefined} value={text} onChange={(event) => setText(event.currentTarget.value)} />
          <Button type="submit" loading={command.busy} disabled={asked === 'release' && text.trim() === ''}>{asked === 'assign' ? 'Assign' : 'Resolve'}</Button>
        </form>
      </Modal>
    </div>
  );
}
