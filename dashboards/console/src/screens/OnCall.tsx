/* Who is on call and who will be: the turns of two weeks, the people with what reaches them, and a turn taken from somebody else. */
import { Button, Modal, Select, TextInput } from '@mantine/core';
import { useState } from 'react';
import { send } from '../api/client';
import type { OnCall, OnCallOverride, OnCallSchedule, Shift } from '../api/types';
import { useAddress, useCommand, useNow, useSetAddress } from '../hooks';
import { actorName } from '../lib/format';
import { barsOf, behind, midnights, zonesDiffer } from '../lib/oncall';
import { formatClock, formatDay, formatMoment, momentIn, type Range } from '../lib/time';
import { Answer, Empty, Go, LinkList, PageHead, Panel, Tag } from '../parts/basics';
import { IAm, Moment, MyTurn, Nobody, useMe, useOnCall } from '../parts/OnDuty';
import { useZone } from '../prefs';
import { SERIES } from '../theme';

const SNIPPET = `# watchfire.yaml
alerting:
  users: [{ name: ada, receivers: [ada-sms, ada-mail] }]
  schedules:
  - name: primary
    time_zone: Europe/Berlin
    layers: [{ users: [ada, bob], from: "2026-01-05 09:00", turn: 7d }]
  escalations:
  - { name: critical, steps: [{ after: 0s, notify: [primary] }] }`;

/** Days that the server is asked for. */
const DAYS = 14;

/** What the form begins with. */
interface Wish {
  schedule?: string;
  shift?: Shift;
}

export function OnCallPage() {
  const { take } = useAddress();
  const set = useSetAddress();
  const found = useOnCall();
  const me = useMe(found.data);
  const [wish, setWish] = useState<Wish | null>(null);
  const asked = wish ?? (take ? {} : null);
  const close = (): void => {
    setWish(null);
    if (take) set({ take: undefined }, true);
  };
  return (
    <>
      <PageHead title="On call">
        {found.data && <IAm onCall={found.data} />}
        {(found.data?.schedules.length ?? 0) > 0 && <Button size="xs" onClick={() => setWish({})}>Take a turn…</Button>}
      </PageHead>
      <Answer of={found} height={420}>
        {(onCall) => (
          <div className="stack">
            {asked && onCall.schedules.length > 0 && <TakeTurn onCall={onCall} wish={asked} me={me} close={close} />}
            {me !== null && onCall.schedules.length > 0 && <Panel title={me}><MyTurn onCall={onCall} me={me} /></Panel>}
            {onCall.schedules.length === 0 && <Panel><Empty title="No schedule is configured" snippet={SNIPPET}>A schedule says whose turn it is; a ladder&apos;s step names it like a receiver, and whoever has the turn then is told.</Empty></Panel>}
            {onCall.schedules.map((schedule) => <ScheduleView key={schedule.name} onCall={onCall} schedule={schedule} take={(shift) => setWish({ schedule: schedule.name, ...(shift ? { shift } : {}) })} />)}
            {onCall.schedules.length > 0 && <Overrides of={onCall} />}
            {(onCall.users.length > 0 || onCall.teams.length > 0) && <People onCall={onCall} me={me} />}
          </div>
        )}
      </Answer>
    </>
  );
}

/** A colour that a user keeps on all schedules. */
const tintOf = (onCall: OnCall, user: string): string => SERIES[Math.max(onCall.users.findIndex((one) => one.name === user), 0) % SERIES.length] ?? '#5b8def';

function ScheduleView({ onCall, schedule, take }: { onCall: OnCall; schedule: OnCallSchedule; take: (shift?: Shift) => void }) {
  const zone = useZone();
  const now = useNow(60_000);
  const [all, setAll] = useState(false);
  const start = Date.parse(onCall.at);
  const span: Range = { from: start, to: start + DAYS * 86_400_000 };
  const few = 5;
  const shown = all ? schedule.shifts : schedule.shifts.slice(0, few);
  const elsewhere = zonesDiffer(now, zone, schedule.time_zone);
  return (
    <Panel flush title={<>{schedule.name}{schedule.user !== null && <>: {schedule.user}</>}</>} extra={<>
      {schedule.user === null && <Nobody />}
      <span className="small muted">{schedule.time_zone}{elsewhere && `, where it is ${formatClock(now, schedule.time_zone).slice(0, 5)}`}</span>
    </>}>
      <div className="small" style={{ padding: '0 16px 8px' }}>
        {schedule.until ? <>until <Moment at={schedule.until} of={schedule.time_zone} ago />{schedule.next && <>, then <b>{schedule.next.user ?? 'nobody'}</b></>}</> : 'no change in the weeks to come'}
      </div>
      <Turns onCall={onCall} schedule={schedule} span={span} zone={zone} />
      <LinkList label={`Turns of ${schedule.name}`}>
        {shown.map((shift) => (
          <li key={shift.from}>
            <button type="button" className="item turn" data-item onClick={() => take(shift)}>
              <span className="swatch tall" style={shift.user === null ? { background: 'var(--wf-critical)' } : { background: tintOf(onCall, shift.user) }} />
              <span className="item-main">
                <span className="item-title">{shift.user ?? 'nobody'}</span>
                <span className="item-sub"><span>{Date.parse(shift.from) <= start ? 'now' : <Moment at={shift.from} of={schedule.time_zone} />} to <Moment at={shift.to} of={schedule.time_zone} /></span></span>
              </span>
              {shift.override !== null && <Tag tone="info">taken</Tag>}
              {shift.user === null && <Tag tone="critical">nobody</Tag>}
              <span className="small muted hide-small">Take it…</span>
            </button>
          </li>
        ))}
      </LinkList>
      {schedule.shifts.length > few && <div style={{ padding: '4px 12px 10px' }}><Button size="compact-xs" variant="default" aria-expanded={all} onClick={() => setAll(!all)}>{all ? 'Show fewer' : `All ${schedule.shifts.length} turns of ${DAYS} days`}</Button></div>}
    </Panel>
  );
}

/** One lane; the list below says the same in words. */
function Turns({ onCall, schedule, span, zone }: { onCall: OnCall; schedule: OnCallSchedule; span: Range; zone: string }) {
  const days = midnights(span, zone);
  const leftOf = (at: number): string => `${((at - span.from) / (span.to - span.from)) * 100}%`;
  // A name at the very end would be cut.
  const named = days.filter((at) => at < span.to - 86_400_000);
  return (
    <div className="turns" role="img" aria-label={`Turns of ${schedule.name} in the next ${DAYS} days, as the list below tells them`}>
      <div className="turns-lane">
        {days.map((at) => <i key={at} style={{ left: leftOf(at) }} />)}
        {barsOf(schedule.shifts, span).map(({ shift, left, width }) => (
          <div key={shift.from} className={`turns-bar${shift.user === null ? ' none' : ''}${shift.override === null ? '' : ' taken'}`} style={{ left: `${left}%`, width: `${width}%`, ...(shift.user === null ? {} : { '--tint': tintOf(onCall, shift.user) } as React.CSSProperties) }} title={`${shift.user ?? 'nobody'}: ${formatDay(Date.parse(shift.from), zone)} to ${formatDay(Date.parse(shift.to), zone)}`}>
            <span className="cut">{shift.user ?? 'nobody'}</span>
          </div>
        ))}
      </div>
      <div className="turns-days small muted">{named.map((at, index) => <span key={at} className={index % 3 > 0 ? 'hide-small' : ''} style={{ left: leftOf(at) }}>{formatDay(at, zone).split(' ').slice(0, 2).join(' ')}</span>)}</div>
    </div>
  );
}

const LENGTHS = ['30m', '1h', '2h', '4h', '8h', '12h', '1d', '2d', '3d', '7d', '14d'];
const UNITS: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };
const lengthOf = (text: string): number => Number(text.slice(0, -1)) * (UNITS[text.slice(-1)] ?? 0);

function TakeTurn({ onCall, wish, me, close }: { onCall: OnCall; wish: Wish; me: string | null; close: () => void }) {
  const zone = useZone();
  const now = useNow();
  const [schedule, setSchedule] = useState(wish.schedule ?? onCall.schedules[0]?.name ?? '');
  const [user, setUser] = useState<string | null>(me);
  const [from, setFrom] = useState(wish.shift && Date.parse(wish.shift.from) > Date.now() ? formatMoment(Date.parse(wish.shift.from), zone).slice(0, 16) : 'now');
  const [length, setLength] = useState(wish.shift ? 'whole' : '2h');
  const [comment, setComment] = useState('');
  const start = from.trim() === 'now' ? now : momentIn(from, zone);
  const end = start === undefined ? undefined : length === 'whole' && wish.shift ? Date.parse(wish.shift.to) : start + lengthOf(length);
  const theirs = onCall.schedules.find((one) => one.name === schedule)?.time_zone ?? zone;
  const wrong = start === undefined ? 'write 2026-11-23 20:00, or now' : end !== undefined && (end <= start || end <= now) ? 'that is over already' : undefined;
  const take = useCommand(async () => {
    const starts = from.trim() === 'now' || start === undefined ? {} : { starts_at: new Date(start).toISOString() };
    const ends = length === 'whole' && wish.shift ? { ends_at: wish.shift.to } : { duration: length };
    await send('POST', '/api/watchfire/v1/on-call/overrides', { schedule, user, ...starts, ...ends, comment: comment.trim() });
    close();
  }, `${user ?? ''} has the turn on ${schedule}`);
  return (
    <Modal opened onClose={close} title="Take a turn" size="md">
      <form className="stack" onSubmit={(event) => { event.preventDefault(); if (!wrong) take.go(undefined); }}>
        <Select label="Schedule" data={onCall.schedules.map((one) => one.name)} value={schedule} onChange={(value) => value && setSchedule(value)} allowDeselect={false} />
        <Select label="Who has the turn" placeholder="a user" data={onCall.users.map((one) => one.name)} value={user} onChange={setUser} allowDeselect={false} searchable />
        <TextInput label={`From (times of ${zone})`} value={from} onChange={(event) => setFrom(event.currentTarget.value)} error={wrong} />
        <Select label="For" data={[...(wish.shift ? [{ value: 'whole', label: `the whole turn, until ${formatDay(Date.parse(wish.shift.to), zone)}` }] : []), ...LENGTHS.map((one) => ({ value: one, label: one }))]} value={length} onChange={(value) => value && setLength(value)} allowDeselect={false} />
        <TextInput label="Why" placeholder="a swap, a doctor's visit" value={comment} onChange={(event) => setComment(event.currentTarget.value)} maxLength={1_000} />
        {!wrong && start !== undefined && end !== undefined && <div className="small muted"><Moment at={start} of={theirs} /> to <Moment at={end} of={theirs} /></div>}
        <Button type="submit" loading={take.busy} disabled={wrong !== undefined || user === null}>{user === null || user === me ? 'Take the turn' : `Give the turn to ${user}`}</Button>
      </form>
    </Modal>
  );
}

/** Turns that were taken; each can be taken back. */
function Overrides({ of }: { of: OnCall }) {
  const back = useCommand((one: OnCallOverride) => send('DELETE', `/api/watchfire/v1/on-call/overrides/${encodeURIComponent(one.id)}`), 'The turn is taken back: the schedule holds again');
  const zoneOf = (one: OnCallOverride): string | undefined => of.schedules.find((schedule) => schedule.name === one.schedule)?.time_zone;
  return (
    <Panel flush title="Turns that were taken">
      {of.overrides.length === 0 ? <Empty title="None">Who takes somebody else&apos;s turn stands here until it is over.</Empty> : (
        <ul className="list" aria-label="Turns that were taken">
          {of.overrides.map((one) => {
            const zone = zoneOf(one);
            return (
              <li key={one.id} className="item">
                <span className="item-main">
                  <span className="item-title">{one.user} on {one.schedule}</span>
                  <span className="item-sub"><span><Moment at={one.starts_at} {...(zone ? { of: zone } : {})} /> to <Moment at={one.ends_at} {...(zone ? { of: zone } : {})} /></span>{one.comment && <span>{one.comment}</span>}<span>by {actorName(one.created_by)}</span></span>
                </span>
                <Button size="compact-xs" variant="default" loading={back.busy} onClick={() => back.go(one)} aria-label={`Take back: ${one.user} on ${one.schedule}`}>Take back</Button>
              </li>
            );
          })}
        </ul>
      )}
    </Panel>
  );
}

function People({ onCall, me }: { onCall: OnCall; me: string | null }) {
  return (
    <div className="grid">
      <Panel className="span-7" flush title="People">
        <div className="scroll-x" tabIndex={0} role="region" aria-label="People"><table className="data"><thead><tr><th>Name</th><th>On call for</th><th>Receivers</th></tr></thead>
          <tbody>{onCall.users.map((one) => (
            <tr key={one.name}>
              <td className="wrap"><span className="row" style={{ gap: 6 }}><i className="swatch tall" style={{ background: tintOf(onCall, one.name) }} />{one.name}{one.name === me && <Tag plain>you</Tag>}</span></td>
              <td className="wrap">{one.on_call.length > 0 ? <b>{one.on_call.join(', ')}</b> : <span className="muted">nothing now</span>}</td>
              <td className="wrap">{one.receivers.length > 0 ? one.receivers.join(', ') : <Tag tone="warning">nothing reaches them</Tag>}</td>
            </tr>
          ))}</tbody></table></div>
      </Panel>
      <Panel className="span-5" flush title="Teams" extra={<Go to="/paging" search={{ tab: 'ladders' }}><span className="small">Ladders</span></Go>}>
        {onCall.teams.length === 0 ? <Empty title="No team is configured">A team is a name for users and schedules that a ladder tells together.</Empty> : (
          <ul className="list">{onCall.teams.map((team) => (
            <li key={team.name} className="item"><span className="item-main"><span className="item-title">{team.name}</span><span className="item-sub"><span>members: {team.members.join(', ')}</span><span>now: {behind(team.name, onCall).people.join(', ') || 'nobody'}</span></span></span></li>
          ))}</ul>
        )}
      </Panel>
    </div>
  );
}
