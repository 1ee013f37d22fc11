/* Remediation runs: what was tried, what the alert's own expression said afterwards, what was undone. */
import { Button, SegmentedControl } from '@mantine/core';
import { useState } from 'react';
import { get, withQuery } from '../api/client';
import type { Remediation } from '../api/types';
import { useAddress, useListKeys, useSetAddress } from '../hooks';
import { actorName } from '../lib/format';
import { Answer, Empty, Go, LabelSet, PageHead, Panel, StatusTag, Tag, When, type Tone } from '../parts/basics';
import { ShowOlder, usePages } from '../parts/Older';
import { RunButtons, WouldDo } from '../parts/Remedy';
import { RunEffect } from '../parts/RunEffect';

const PAGE = 100;
export const PLAN_SNIPPET = '# watchfire.yaml; a rule names it with `remediation: restart-service`\nremediation:\n  remediations:\n    - name: restart-service\n      dry_run: true\n      rungs:\n        - name: restart\n          action: { type: http, method: POST, url: "http://127.0.0.1:9000/restart/{{labels.service_name}}" }\n          settle: 30s\n          verify_timeout: 5m';

export function Remediations() {
  const { status = 'all' } = useAddress();
  const set = useSetAddress();
  const keys = useListKeys();
  const pages = usePages(['remediations', status], PAGE, async (before, signal) => (await get<{ runs: Remediation[] }>(withQuery('/api/watchfire/v1/remediations', { status, limit: PAGE, before }), signal)).runs);
  return (
    <>
      <PageHead title="Remediation runs">
        <SegmentedControl size="xs" aria-label="Status" value={status} onChange={(value) => set({ status: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'live', label: 'At work' }, { value: 'awaiting_approval', label: 'Waiting' }, { value: 'verified', label: 'Verified' }, { value: 'handed_over', label: 'Handed over' }]} />
      </PageHead>
      <Answer of={pages.found} height={300}>
        {(runs) => runs.length === 0
          ? status === 'awaiting_approval' ? <Panel><Empty title="No run waits for approval">A plan with <code>approval: true</code> waits for a person&apos;s yes where an alert asks for it.</Empty></Panel> : <Panel><Empty title="No remediation ran" snippet={PLAN_SNIPPET}>A plan is tried rung by rung; after each, the alert&apos;s own expression decides whether it helped.</Empty></Panel>
          : <div className="stack" {...keys}>{runs.map((run) => <RunCard key={run.id} run={run} linked />)}</div>}
      </Answer>
      <ShowOlder of={pages} />
    </>
  );
}

const text = (value: unknown): string => (typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value));

function sentence(event: Remediation['history'][number]['event']): { text: string; tone: Tone } {
  const rung = text(event.rung);
  switch (event.kind) {
    case 'repair_requested': return { text: 'Somebody asked for it', tone: 'info' };
    case 'repair_awaits_approval': return { text: `Waits for approval. It would: ${Array.isArray(event.would) ? event.would.map(text).join('; ') : text(event.would)}`, tone: 'warning' };
    case 'repair_approved': return { text: 'Approved', tone: 'good' };
    case 'repair_started': return { text: 'Started', tone: 'info' };
    case 'repair_acted': return { text: `${rung}: ${text(event.result)}`, tone: event.ok === false ? 'critical' : 'high' };
    case 'repair_checked': return { text: `${rung}: ${text(event.detail)}`, tone: event.cleared === true ? 'good' : 'warning' };
    case 'repair_undone': return { text: `${rung} undone: ${text(event.result)}`, tone: event.ok === false ? 'critical' : 'high' };
    case 'repair_finished': {
      const outcome = event.outcome as { outcome?: string; rung?: string; reason?: string } | undefined;
      return { text: `${text(outcome?.outcome).replaceAll('_', ' ')}${outcome?.rung ? ` by ${outcome.rung}` : ''}${outcome?.reason ? `: ${outcome.reason}` : ''}`, tone: outcome?.outcome === 'verified' ? 'good' : 'critical' };
    }
    default: {
      const rest = Object.entries(event).filter(([name]) => name !== 'kind' && name !== 'run').map(([name, value]) => `${name} ${text(value)}`);
      return { text: `${event.kind.replaceAll('_', ' ')}${rest.length ? `: ${rest.join(', ')}` : ''}`, tone: 'quiet' };
    }
  }
}

/** `linked`: its name leads to what it repairs, and is walked to with the arrow keys. `plotted`: what came of it is shown without being asked for. */
export function RunCard({ run, linked, plotted = false }: { run: Remediation; linked?: boolean; plotted?: boolean }) {
  const [plot, setPlot] = useState(plotted);
  return (
    <Panel title={linked ? <Go to={run.incident ? `/incidents/${run.incident}` : `/alerts/${run.alert}`} {...(run.incident ? { search: { tab: 'repairs' } } : {})} data-item>{run.remediation}</Go> : run.remediation} extra={<>{run.dry_run && <Tag tone="info">dry run</Tag>}<StatusTag status={run.status} /><RunButtons run={run} /></>}>
      <div className="row small" style={{ marginBottom: 8 }}>
        <When at={run.created_at} both />
        <LabelSet labels={run.target} />
        <Go to={`/alerts/${run.alert}`}>Alert</Go>
        {run.incident && <Go to={`/incidents/${run.incident}`}>Incident</Go>}
        {run.approved_by && <span>approved by {actorName(run.approved_by)}</span>}
        {run.approval && !run.approved_by && run.status !== 'awaiting_approval' && <span className="muted">nobody approved it</span>}
      </div>
      {run.status === 'awaiting_approval' && <div className="said waits"><WouldDo run={run} /></div>}
      <ol className="list" style={{ marginBottom: 8 }}>
        {run.rungs.map((rung, at) => (
          <li key={rung.name} style={{ padding: '5px 0' }} className="small">
            <b>{at + 1}. {rung.name}</b> <span className="mono wrap">{rung.action}</span>{rung.undo && <span className="muted"> · undo: <span className="mono wrap">{rung.undo}</span></span>}
          </li>
        ))}
      </ol>
      <ol className="timeline">
        {run.history.map((past, at) => {
          const said = sentence(past.event);
          return <li key={at} className={`dot-${said.tone}`}><When at={past.at} clock /><span className="wrap">{said.text}</span></li>;
        })}
      </ol>
      {run.stop && <div className="note">{run.stop}</div>}
      <div style={{ marginTop: 10 }}>{plot ? <RunEffect run={run} /> : <Button size="xs" variant="default" onClick={() => setPlot(true)} aria-label={`Before and after ${run.remediation}`}>Before and after</Button>}</div>
    </Panel>
  );
}
