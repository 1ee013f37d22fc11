/* Remediation runs: what was tried, what the alert's own expression said afterwards, what was undone. */
import { Button, SegmentedControl } from '@mantine/core';
import { get, send, withQuery } from '../api/client';
import type { Remediation } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { Answer, Empty, Go, LabelSet, PageHead, Panel, StatusTag, Tag, When, type Tone } from '../parts/basics';

export function Remediations() {
  const { status = 'all' } = useAddress();
  const set = useSetAddress();
  const found = useAsk(['remediations', status], (signal) => get<{ runs: Remediation[] }>(withQuery('/api/watchfire/v1/remediations', { status }), signal));
  return (
    <>
      <PageHead title="Remediation runs">
        <SegmentedControl size="xs" aria-label="Status" value={status} onChange={(value) => set({ status: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'live', label: 'At work' }, { value: 'verified', label: 'Verified' }, { value: 'handed_over', label: 'Handed over' }]} />
      </PageHead>
      <Answer of={found} height={300}>
        {({ runs }) => runs.length === 0
          ? <Panel><Empty title="No remediation ran" snippet={'# watchfire.yaml; a rule names it with `remediation: restart-service`\nremediation:\n  remediations:\n    - name: restart-service\n      dry_run: true\n      rungs:\n        - name: restart\n          action: { type: http, method: POST, url: "http://127.0.0.1:9000/restart/{{labels.service_name}}" }\n          settle: 30s\n          verify_timeout: 5m'}>A plan is tried rung by rung; after each, the alert&apos;s own expression decides whether it helped.</Empty></Panel>
          : <div className="stack">{runs.map((run) => <RunCard key={run.id} run={run} />)}</div>}
      </Answer>
    </>
  );
}

const text = (value: unknown): string => (typeof value === 'string' ? value : value === undefined || value === null ? '' : JSON.stringify(value));

function sentence(event: Remediation['history'][number]['event']): { text: string; tone: Tone } {
  const rung = text(event.rung);
  switch (event.kind) {
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

export function RunCard({ run }: { run: Remediation }) {
  const stop = useCommand(() => send('POST', `/api/watchfire/v1/remediations/${run.id}/stop`, { reason: 'from the console' }), 'Stopped');
  const live = ['planned', 'acting', 'settling', 'undoing'].includes(run.status);
  return (
    <Panel title={run.remediation} extra={<>{run.dry_run && <Tag tone="info">dry run</Tag>}<StatusTag status={run.status} />{live && <Button size="xs" color="red" variant="default" loading={stop.busy} onClick={() => stop.go(undefined)}>Stop</Button>}</>}>
      <div className="row small" style={{ marginBottom: 8 }}>
        <When at={run.created_at} both />
        <LabelSet labels={run.target} />
        <Go to={`/alerts/${run.alert}`}>Alert</Go>
        {run.incident && <Go to={`/incidents/${run.incident}`}>Incident</Go>}
      </div>
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
    </Panel>
  );
}
