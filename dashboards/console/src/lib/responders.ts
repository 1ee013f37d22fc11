/* Who had to do with an incident: those whom its ladders reached, and those who did something. Pure. */
import type { Incident, LadderRun, OnCall, TimelineLine } from '../api/types';
import { actorName } from './format';

export interface Deed {
  what: string;
  /** When last, and how often. */
  at: string;
  times: number;
}

export interface Responder {
  name: string;
  /** Whether the incident is theirs at present. */
  has: boolean;
  /** The newest first. */
  deeds: Deed[];
}

const WORDS: Record<string, string> = {
  incident_acknowledged: 'acknowledged', incident_unacknowledged: 'gave it back', incident_mitigated: 'contained the harm', incident_resolved: 'resolved it', incident_closed: 'closed it', incident_cancelled: 'cancelled it',
  incident_escalated: 'escalated', incident_updated: 'posted an update', incident_noted: 'wrote a note', repair_requested: 'started a remediation', repair_approved: 'approved a remediation', alert_acknowledged: 'took an alert', alert_unacknowledged: 'gave an alert back',
};

/** The people of a ladder's step, `ada (on call on primary), eve`, each with why; where it names none, its receivers. */
export function reached(text: string): { people: { name: string; why: string }[]; receivers: string[] } {
  const told = /: notifies ([\s\S]*)$/.exec(text)?.[1];
  if (told === undefined) return { people: [], receivers: [] };
  const cut = told.lastIndexOf(': ');
  const list = (part: string): string[] => part.split(/,\s+(?![^(]*\))/).map((one) => one.trim()).filter((one) => one !== '');
  const people = cut < 0 ? [] : list(told.slice(0, cut)).map((one) => {
    const found = /^(.*?)\s+\(([\s\S]*)\)$/.exec(one);
    return { name: found?.[1] ?? one, why: found?.[2] ?? '' };
  });
  return { people, receivers: list(cut < 0 ? told : told.slice(cut + 2)) };
}

/** Watchfire itself is no responder. */
const isPerson = (actor: string): boolean => actor !== '' && actor !== '-' && !/^watchfire\b/.test(actor);

export function respondersOf(incident: Pick<Incident, 'id' | 'alerts' | 'acknowledged' | 'resolved_by' | 'clocks'>, timeline: readonly TimelineLine[], runs: readonly LadderRun[], onCall: OnCall | undefined): Responder[] {
  const found = new Map<string, Map<string, Deed>>();
  const add = (name: string, what: string, at: string): void => {
    const deeds = found.get(name) ?? new Map<string, Deed>();
    found.set(name, deeds);
    const known = deeds.get(what);
    if (known) {
      known.times += 1;
      if (at > known.at) known.at = at;
    } else deeds.set(what, { what, at, times: 1 });
  };
  /** Whose receiver it is; one that is nobody's stands for itself. */
  const owners = (receiver: string): string[] => {
    const users = (onCall?.users ?? []).filter((one) => one.receivers.includes(receiver)).map((one) => one.name);
    return users.length > 0 ? users : [receiver];
  };
  const told = new Set<string>();
  for (const line of timeline) {
    if (line.kind === 'ladder_step_taken') {
      const { people, receivers } = reached(line.text);
      for (const one of receivers) told.add(one);
      for (const { name, why } of people) add(name, why === '' ? 'paged' : `paged (${why})`, line.at);
      if (people.length === 0) for (const name of new Set(receivers.flatMap(owners))) add(name, 'paged', line.at);
    } else if (isPerson(line.actor) && !/^(?:alert_(?:fired|resolved|severity)|notification_)/.test(line.kind)) add(line.actor, WORDS[line.kind] ?? line.kind.replaceAll('_', ' '), line.at);
  }
  // What the journal's lines do not have (any more).
  for (const run of runs) {
    if (run.subject.id !== incident.id && !incident.alerts.includes(run.subject.id)) continue;
    for (const receiver of run.notified) if (!told.has(receiver)) for (const name of owners(receiver)) add(name, 'paged', run.started_at);
  }
  const has = incident.acknowledged && isPerson(actorName(incident.acknowledged.by)) ? actorName(incident.acknowledged.by) : undefined;
  if (incident.acknowledged && has !== undefined && !found.get(has)?.has('acknowledged')) add(has, 'acknowledged', incident.acknowledged.at);
  const ended = incident.resolved_by ? actorName(incident.resolved_by) : '';
  if (isPerson(ended) && incident.clocks.resolved && !found.get(ended)?.has('resolved it')) add(ended, 'resolved it', incident.clocks.resolved);
  const acted = (one: Responder): boolean => one.deeds.some((deed) => !deed.what.startsWith('paged'));
  return [...found]
    .map(([name, deeds]): Responder => ({ name, has: name === has, deeds: [...deeds.values()].sort((a, b) => Date.parse(b.at) - Date.parse(a.at)) }))
    .sort((a, b) => Number(b.has) - Number(a.has) || Number(acted(b)) - Number(acted(a)) || Date.parse(b.deeds[0]?.at ?? '') - Date.parse(a.deeds[0]?.at ?? ''));
}
