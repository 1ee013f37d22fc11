/* Ladders with their runs, and every notification with its attempts; dead letters can be sent again. */
import { SegmentedControl, Tabs } from '@mantine/core';
import { get, send, withQuery } from '../api/client';
import type { Delivery, Ladder, LadderRun } from '../api/types';
import { useAddress, useAsk, useCommand, useSetAddress } from '../hooks';
import { Answer, Empty, Go, PageHead, Panel, SeverityTag, StatusTag, When } from '../parts/basics';
import { Deliveries } from './Alert';

export function Paging() {
  const { tab = 'deliveries', state = 'all' } = useAddress();
  const set = useSetAddress();
  const deliveries = useAsk(['deliveries', state], (signal) => get<{ deliveries: Delivery[] }>(withQuery('/api/watchfire/v1/deliveries', { state: state === 'all' ? undefined : state, limit: 500 }), signal));
  const ladders = useAsk(['ladders', 'all'], (signal) => get<{ ladders: Ladder[]; runs: LadderRun[] }>('/api/watchfire/v1/ladders', signal));
  const replay = useCommand((one: Delivery) => send('POST', `/api/watchfire/v1/deliveries/${one.id}/replay`), 'It is sent again');
  return (
    <>
      <PageHead title="Paging" />
      <Tabs value={tab} onChange={(value) => set({ tab: value === 'deliveries' || value === null ? undefined : value }, true)} keepMounted={false}>
        <Tabs.List mb={14}><Tabs.Tab value="deliveries">Deliveries</Tabs.Tab><Tabs.Tab value="ladders">Ladders</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="deliveries">
          <Panel flush title="Notifications" extra={<SegmentedControl size="xs" aria-label="State" value={state} onChange={(value) => set({ state: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'pending', label: 'Waiting' }, { value: 'done', label: 'Delivered' }, { value: 'dead', label: 'Dead letters' }]} />}>
            <Answer of={deliveries} height={240}>
              {(found) => found.deliveries.length === 0
                ? state === 'dead' ? <Empty title="No dead letter">What could not be delivered within a day would stand here, to be sent again.</Empty> : <Empty title="No notification" snippet={'# watchfire.yaml\nreceivers:\n  - name: pagerduty\n    type: pagerduty\n    routing_key: ${PAGERDUTY_ROUTING_KEY}'}>Receivers are where notifications go.</Empty>
                : <Deliveries of={found.deliveries} replay={replay.go} />}
            </Answer>
          </Panel>
        </Tabs.Panel>
        <Tabs.Panel value="ladders">
          <Answer of={ladders} height={240}>
            {(found) => (
              <div className="stack">
                <div className="tiles">
                  {found.ladders.map((ladder) => (
                    <div key={ladder.name} className="panel">
                      <b>{ladder.name}</b>
                      <ol style={{ margin: '6px 0 0', paddingLeft: 18 }} className="small">{ladder.steps.map((step, at) => <li key={at}>after {step.after}: {step.notify.join(', ')}</li>)}</ol>
                      {ladder.repeat > 0 && <div className="small muted">then {ladder.repeat} times again</div>}
                    </div>
                  ))}
                </div>
                <Panel flush title="Runs">
                  {found.runs.length === 0 ? <Empty title="No ladder ran yet">A ladder starts when an alert fires whose rule names it with <code>escalation:</code>.</Empty> : (
                    <ul className="list">
                      {found.runs.map((run) => (
                        <li key={run.id} className="item">
                          <SeverityTag severity={run.severity} />
                          <span className="item-main"><span className="item-title">{run.title}</span><span className="item-sub"><span>{run.ladder.name}: step {Math.min(run.step, run.ladder.steps.length)} of {run.ladder.steps.length}</span><span>told: {run.notified.join(', ') || 'nobody yet'}</span><Go to={run.subject.about === 'incident' ? `/incidents/${run.subject.id}` : `/alerts/${run.subject.id}`} plain>{run.subject.about}</Go></span></span>
                          {run.next_at && <span className="small">next <When at={run.next_at} /></span>}
                          <StatusTag status={run.status} />
                          <span className="small"><When at={run.started_at} /></span>
                        </li>
                      ))}
                    </ul>
                  )}
                </Panel>
              </div>
            )}
          </Answer>
        </Tabs.Panel>
      </Tabs>
    </>
  );
}
