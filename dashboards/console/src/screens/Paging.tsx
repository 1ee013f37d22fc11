/* Ladders with their runs, and every notification with its attempts; dead letters can be sent again. */
import { SegmentedControl, Tabs } from '@mantine/core';
import { get, withQuery } from '../api/client';
import type { Delivery, Ladder, LadderRun } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { Answer, Empty, Go, LinkList, PageHead, Panel, SeverityTag, StatusTag, When } from '../parts/basics';
import { Deliveries } from '../parts/Deliveries';
import { ShowOlder, usePages } from '../parts/Older';
import { StepTarget, useOnCall } from '../parts/OnDuty';

const PAGE = 200;
const LADDER = `# watchfire.yaml
receivers:
  - name: ada-phone
    type: pagerduty
    routing_key: \${PAGERDUTY_ROUTING_KEY}
  - name: team-mail
    type: webhook
    url: https://example.org/hook
alerting:
  escalations:
    - name: critical
      steps:
        - { after: 0s, notify: [ada-phone] }
        - { after: 10m, notify: [team-mail] }
      repeat: 2
# and in the rule, beside expr:
#   escalation: critical`;

export function Paging() {
  const { tab = 'deliveries', state = 'all' } = useAddress();
  const set = useSetAddress();
  const deliveries = usePages(['deliveries', state], PAGE, async (before, signal) => (await get<{ deliveries: Delivery[] }>(withQuery('/api/watchfire/v1/deliveries', { state: state === 'all' ? undefined : state, limit: PAGE, before }), signal)).deliveries);
  const ladders = useAsk(['ladders', 'all'], (signal) => get<{ ladders: Ladder[]; runs: LadderRun[] }>('/api/watchfire/v1/ladders', signal));
  const onCall = useOnCall();
  return (
    <>
      <PageHead title="Paging" />
      <Tabs value={tab} onChange={(value) => set({ tab: value === 'deliveries' || value === null ? undefined : value }, true)} keepMounted={false}>
        <Tabs.List mb={14}><Tabs.Tab value="deliveries">Deliveries</Tabs.Tab><Tabs.Tab value="ladders">Ladders</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="deliveries">
          <Panel flush title="Notifications" extra={<SegmentedControl size="xs" aria-label="State" value={state} onChange={(value) => set({ state: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'pending', label: 'Waiting' }, { value: 'done', label: 'Delivered' }, { value: 'dead', label: 'Dead letters' }]} />}>
            <Answer of={deliveries.found} height={240}>
              {(found) => found.length === 0
                ? state === 'dead' ? <Empty title="No dead letter">What could not be delivered within a day would stand here, to be sent again.</Empty> : <Empty title="No notification" snippet={'# watchfire.yaml\nreceivers:\n  - name: pagerduty\n    type: pagerduty\n    routing_key: ${PAGERDUTY_ROUTING_KEY}'}>Receivers are where notifications go.</Empty>
                : <Deliveries of={found} replay />}
            </Answer>
            <ShowOlder of={deliveries} />
          </Panel>
        </Tabs.Panel>
        <Tabs.Panel value="ladders">
          <Answer of={ladders} height={240}>
            {(found) => (
              <div className="stack">
                {found.ladders.length === 0 ? <Panel><Empty title="No ladder is configured" snippet={LADDER}>A ladder tells one after another until somebody acknowledges. A rule names it with <code>escalation:</code>; its steps name receivers, people, teams or schedules.</Empty></Panel> : (
                <div className="tiles">
                  {found.ladders.map((ladder) => (
                    <div key={ladder.name} className="panel">
                      <b>{ladder.name}</b>
                      <ol style={{ margin: '6px 0 0', paddingLeft: 18 }} className="small">{ladder.steps.map((step, at) => <li key={at}><span className="row" style={{ gap: 4 }}>after {step.after} {step.notify.map((name) => <StepTarget key={name} name={name} onCall={onCall.data} />)}</span></li>)}</ol>
                      {ladder.repeat > 0 && <div className="small muted">then {ladder.repeat} times again</div>}
                    </div>
                  ))}
                </div>
                )}
                <Panel flush title="Runs">
                  {found.runs.length === 0 ? <Empty title="No ladder ran yet">A ladder starts when an alert fires whose rule names it with <code>escalation:</code>.</Empty> : (
                    <LinkList label="Runs">
                      {found.runs.map((run) => (
                        <li key={run.id}>
                          <Go to={`/${run.subject.about}s/${run.subject.id}`} className="item" data-item>
                            <SeverityTag severity={run.severity} />
                            <span className="item-main"><span className="item-title">{run.title}</span><span className="item-sub"><span>{run.ladder.name}: step {Math.min(run.step, run.ladder.steps.length)} of {run.ladder.steps.length}</span><span>told: {run.notified.join(', ') || 'nobody yet'}</span><span>{run.subject.about}</span>{run.reason && <span>{run.reason}</span>}</span></span>
                            {run.next_at && <span className="small">next <When at={run.next_at} /></span>}
                            <StatusTag status={run.status} />
                            <span className="small"><When at={run.started_at} /></span>
                          </Go>
                        </li>
                      ))}
                    </LinkList>
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
