/* Who is on call, who looks, and whose pages they are: what the start, the on-call screen and the ladders share. */
import { Button } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import { get, send } from '../api/client';
import type { AlertView, Incident, LadderRun, OnCall } from '../api/types';
import { useAsk, useCommand, useNow } from '../hooks';
import { actorName } from '../lib/format';
import { behind, meOf, pagesOf, standing, zonesDiffer } from '../lib/oncall';
import { formatDay, relative, wholeMoment, zoneName } from '../lib/time';
import { localZone, setPrefs, usePrefs, useZone } from '../prefs';
import { Answer, Empty, Go, LinkList, Panel, reachable, SeverityTag, Tag, When } from './basics';

/** One question for all who want to know. */
export const useOnCall = (): UseQueryResult<OnCall, Error> => useAsk(['on-call'], (signal) => get<OnCall>('/api/watchfire/v1/on-call?days=14', signal), { live: 3 });

export function useMe(onCall: OnCall | undefined): string | null {
  const { me } = usePrefs();
  return meOf(onCall, me);
}

/** A moment of the coming weeks; where it is another time of day in a schedule's zone, that too. */
export function Moment({ at, of, ago }: { at: string | number; of?: string; ago?: boolean }) {
  const zone = useZone();
  const now = useNow();
  const moment = typeof at === 'number' ? at : Date.parse(at);
  return (
    <time ref={reachable} dateTime={new Date(moment).toISOString()} title={wholeMoment(moment, zone, localZone).join(', ')} className="nums">
      {formatDay(moment, zone)}{of && zonesDiffer(moment, zone, of) && <span className="muted"> ({formatDay(moment, of)} {zoneName(moment, of)})</span>}{ago && ` (${relative(moment, now)})`}
    </time>
  );
}

export const Nobody = () => <Tag tone="critical">nobody is on call</Tag>;

/** Who looks, where no key says so. Kept on this machine. */
export function IAm({ onCall }: { onCall: OnCall }) {
  const me = useMe(onCall);
  if (onCall.you !== null || onCall.users.length === 0) return null;
  // A plain one: the start needs no other field, and waits for none.
  return (
    <select className="choice" aria-label="I am" value={me ?? ''} onChange={(event) => setPrefs({ me: event.currentTarget.value })}>
      <option value="">{me === null ? 'I am …' : 'none of them'}</option>
      {onCall.users.map((one) => <option key={one.name} value={one.name}>I am {one.name}</option>)}
    </select>
  );
}

/** That I am on call, or when my turn comes. */
export function MyTurn({ onCall, me }: { onCall: OnCall; me: string }) {
  const now = useNow();
  const mine = standing(onCall, me, now);
  if (onCall.schedules.length === 0) return null;
  return (
    <div className="small">
      {mine.now.map((one) => <div key={one.schedule}><Tag tone="info">you are on call</Tag> {one.schedule}, until <Moment at={one.to} ago /></div>)}
      <div className="muted">{mine.next ? <>Your next turn: {mine.next.schedule}, <Moment at={mine.next.from} ago /></> : 'No other turn of yours within 14 days.'}</div>
    </div>
  );
}

/** Each schedule: who has it, until when, who is next. */
export function OnCallPanel({ of, className }: { of: UseQueryResult<OnCall, Error>; className: string }) {
  if (of.data?.schedules.length === 0) return null;
  return (
    <Panel className={className} flush title="On call" extra={<Go to="/on-call"><span className="small">Turns and people</span></Go>}>
      <Answer of={of} height={96}>
        {({ schedules }) => (
          <LinkList label="On call">
            {schedules.map((one) => (
              <li key={one.name}>
                <Go to="/on-call" className="item" data-item>
                  <span className="item-main">
                    <span className="item-title">{one.name}{one.user !== null && <>: {one.user}</>}</span>
                    <span className="item-sub"><span>{one.until ? <>until <Moment at={one.until} ago /></> : 'for the weeks to come'}</span>{one.next && <span>then {one.next.user ?? 'nobody'}</span>}</span>
                  </span>
                  {one.user === null && <Nobody />}
                </Go>
              </li>
            ))}
          </LinkList>
        )}
      </Answer>
    </Panel>
  );
}

/** The ladder runs that told me, with what can be done about them from here. */
export function MyPages({ onCall, runs, incidents, alerts, className }: { onCall: OnCall | undefined; runs: readonly LadderRun[]; incidents: readonly Incident[]; alerts: readonly AlertView[]; className: string }) {
  const me = useMe(onCall);
  const acknowledge = useCommand((run: LadderRun) => send('POST', `/api/watchfire/v1/${run.subject.about}s/${encodeURIComponent(run.subject.id)}/acknowledge`), 'You have it: its ladder stops');
  if (!onCall || onCall.users.length === 0) return null;
  const mine = me === null ? [] : pagesOf(runs, onCall, me);
  const taken = (run: LadderRun) => (run.subject.about === 'incident' ? incidents.find((one) => one.id === run.subject.id) : alerts.find((one) => one.id === run.subject.id))?.acknowledged ?? null;
  return (
    <Panel className={className} flush title={`My pages${mine.length ? ` (${mine.length})` : ''}`} extra={<>{onCall.you !== null && <span className="small muted">{onCall.you}</span>}<IAm onCall={onCall} /></>}>
      {me === null ? <div className="panel-rest small muted">Say who you are, and the pages that went to you stand here.</div> : (
        <>
          {mine.length === 0 ? <Empty title="No page of yours is open" /> : (
            <LinkList label="My pages">
              {mine.map((run) => {
                const by = taken(run);
                return (
                  <li key={run.id} className="item roomy">
                    <Go to={`/${run.subject.about}s/${run.subject.id}`} className="item-main bare" data-item>
                      <span className="item-title">{run.title}</span>
                      <span className="item-sub"><span>{run.subject.about}, paged <When at={run.started_at} /></span><span>ladder {run.ladder.name}</span>{run.reason === 'muted' && <span>silenced</span>}{run.status === 'exhausted' && <span>its ladder has no further step</span>}</span>
                    </Go>
                    <SeverityTag severity={run.severity} />
                    {by || run.reason === 'acknowledged' ? <Tag tone="good">{by ? `${actorName(by.by)} has it` : 'acknowledged'}</Tag> : <>
                      <Tag tone="critical">not acknowledged</Tag>
                      <span className="grow" />
                      <Button size="xs" loading={acknowledge.busy} onClick={() => acknowledge.go(run)} aria-label={`Acknowledge ${run.title}`}>Acknowledge</Button>
                    </>}
                  </li>
                );
              })}
            </LinkList>
          )}
          <div className="panel-rest"><MyTurn onCall={onCall} me={me} /></div>
        </>
      )}
    </Panel>
  );
}

/** A name that a ladder's step has, with whom it means now. */
export function StepTarget({ name, onCall }: { name: string; onCall: OnCall | undefined }) {
  const { people, known } = behind(name, onCall);
  return <span className="label">{name}{known && <>: {people.length > 0 ? people.join(', ') : <b style={{ color: 'var(--wf-critical)' }}>nobody</b>}</>}</span>;
}
