/* A remediation by a person's hand: starting one for an incident or an alert, and the yes or no to one that waits for it. */
import { Button, Modal, Radio, Tooltip } from '@mantine/core';
import { useState } from 'react';
import { get, send } from '../api/client';
import type { Remediation, RemediationPlan } from '../api/types';
import { useAsk, useCommand } from '../hooks';
import { Answer, Go, LabelSet, Tag, When } from './basics';

/** What to repair: an incident's number, or an alert's id. */
export type RemedyFor = { incident: string } | { alert: string };

export function RunRemediation({ of, firing }: { of: RemedyFor; firing: boolean }) {
  const [open, setOpen] = useState(false);
  const found = useAsk(['remediations', 'plans'], (signal) => get<{ plans: RemediationPlan[] }>('/api/watchfire/v1/remediations/plans', signal), { live: 12 });
  const why = !firing ? 'nothing fires that it could repair' : found.data?.plans.length === 0 ? 'none is configured under remediation.remediations' : undefined;
  if (why === undefined) {
    return (
      <>
        <Button size="sm" variant="default" onClick={() => setOpen(true)}>Run a remediation…</Button>
        <Modal opened={open} onClose={() => setOpen(false)} title="Run a remediation">
          <Answer of={found} height={140}>{({ plans }) => <Choice plans={plans} of={of} close={() => setOpen(false)} />}</Answer>
        </Modal>
      </>
    );
  }
  // Not `disabled`: a button that cannot be reached cannot tell why.
  return <Tooltip label={`Not possible: ${why}`} events={{ hover: true, focus: true, touch: true }}><Button size="sm" variant="default" data-disabled aria-disabled aria-label={`Run a remediation: not possible, ${why}`} onClick={(event) => event.preventDefault()}>Run a remediation…</Button></Tooltip>;
}

function Choice({ plans, of, close }: { plans: RemediationPlan[]; of: RemedyFor; close: () => void }) {
  const [name, setName] = useState(plans.length === 1 ? (plans[0]?.name ?? '') : '');
  const chosen = plans.find((one) => one.name === name);
  const run = useCommand(async () => {
    const answer = await send<{ message?: string }>('POST', '/api/watchfire/v1/remediations', { remediation: name, ...of });
    close();
    return answer;
  }, `${name} runs`);
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); run.go(undefined); }}>
      <Radio.Group label="Plan" value={name} onChange={setName}>
        <div className="stack" style={{ gap: 10, marginTop: 6 }}>
          {plans.map((plan) => <Radio key={plan.name} value={plan.name} label={<span className="wrap">{plan.name} {plan.dry_run && <Tag tone="info">dry run</Tag>}</span>} description={`${plan.rungs.length === 1 ? 'rung' : 'rungs'}: ${plan.rungs.join(', then ')}${plan.approval ? '; waits for a yes where an alert asks for it' : ''}`} />)}
        </div>
      </Radio.Group>
      <div className="small muted">{chosen?.dry_run ? 'It only writes down what it would do.' : 'It begins at once: who starts it has said yes to it. Its guards are asked all the same.'}</div>
      <Button type="submit" loading={run.busy} disabled={name === ''}>{name === '' ? 'Run' : `Run ${name}`}</Button>
    </form>
  );
}

export const isLive = (run: Remediation): boolean => ['planned', 'awaiting_approval', 'acting', 'settling', 'undoing'].includes(run.status);

/** What a run would do, as it said when it began to wait. */
const wouldOf = (run: Remediation): string[] => {
  const would = run.history.findLast((past) => past.event.kind === 'repair_awaits_approval')?.event.would;
  return Array.isArray(would) ? would.map(String) : run.rungs.map((rung) => `${rung.name}: ${rung.action}`);
};
const untilOf = (run: Remediation): string | undefined => (typeof run.state.until === 'string' ? run.state.until : undefined);

/** The buttons of a run that is at work or waits. */
export function RunButtons({ run }: { run: Remediation }) {
  const approve = useCommand(() => send('POST', `/api/watchfire/v1/remediations/${run.id}/approve`), 'Approved: it begins');
  const stop = useCommand(() => send('POST', `/api/watchfire/v1/remediations/${run.id}/stop`, { reason: 'from the console' }), 'Stopped');
  if (!isLive(run)) return null;
  return (
    <>
      {run.status === 'awaiting_approval' && <Button size="xs" loading={approve.busy} disabled={stop.busy} onClick={() => approve.go(undefined)} aria-label={`Approve ${run.remediation}`}>Approve</Button>}
      <Button size="xs" color="red" variant="default" loading={stop.busy} disabled={approve.busy} onClick={() => stop.go(undefined)} aria-label={`Stop ${run.remediation}`}>Stop</Button>
    </>
  );
}

/** What a run waits for: what it would do, and until when somebody can say yes. */
export function WouldDo({ run }: { run: Remediation }) {
  const until = untilOf(run);
  return (
    <>
      <div className="small">It would do this{until && <>, if somebody approves it until <When at={until} both /></>}:</div>
      <ul className="small" style={{ margin: '4px 0 0', paddingLeft: 18 }}>{wouldOf(run).map((one, at) => <li key={at} className="wrap">{one}</li>)}</ul>
    </>
  );
}

/** Runs that wait for somebody's yes, to stand above everything else. */
export function Waiting({ runs }: { runs: readonly Remediation[] }) {
  const waiting = runs.filter((run) => run.status === 'awaiting_approval');
  if (waiting.length === 0) return null;
  return (
    <div className="stack" style={{ gap: 10, marginBottom: 14 }}>
      {waiting.map((run) => (
        <section key={run.id} className="panel waiting" aria-label={`${run.remediation} waits for approval`}>
          <div className="row">
            <h2>{run.remediation}</h2>
            <Tag tone="warning">waits for approval</Tag>
            {run.dry_run && <Tag tone="info">dry run</Tag>}
            <LabelSet labels={run.target} />
            <span className="grow" />
            <RunButtons run={run} />
          </div>
          <div style={{ marginTop: 6 }}><WouldDo run={run} /></div>
          {run.incident && <div className="small" style={{ marginTop: 4 }}><Go to={`/incidents/${run.incident}`} search={{ tab: 'repairs' }}>The run</Go></div>}
        </section>
      ))}
    </div>
  );
}
