/* The incidents, newest first, by status. */
import { SegmentedControl } from '@mantine/core';
import { Button } from '@mantine/core';
import { useState } from 'react';
import { get, withQuery } from '../api/client';
import type { Incident } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { Answer, Empty, firstData, LinkList, PageHead, Panel } from '../parts/basics';
import { IncidentItem } from './Home';

export function Incidents() {
  const { status = 'all' } = useAddress();
  const set = useSetAddress();
  const [limit, setLimit] = useState(100);
  const found = useAsk(['incidents', status, limit], (signal) => get<{ incidents: Incident[] }>(withQuery('/api/watchfire/v1/incidents', { status, limit }), signal));
  return (
    <>
      <PageHead title="Incidents">
        <SegmentedControl size="xs" aria-label="Status" value={status} onChange={(value) => set({ status: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'open', label: 'Open' }, { value: 'resolved', label: 'Resolved' }, { value: 'closed', label: 'Closed' }]} />
      </PageHead>
      <Panel flush>
        <Answer of={found} height={300}>
          {({ incidents }) => incidents.length === 0 ? (
            status === 'all'
              ? <Empty title="There was no incident yet" snippet={firstData.rules}>Alerts of severity high and critical open one. Rules decide what is an alert.</Empty>
              : <Empty title={`No incident is ${status}`} />
          ) : (
            <>
              <LinkList label="Incidents">{incidents.map((one) => <IncidentItem key={one.id} incident={one} />)}</LinkList>
              {incidents.length >= limit && limit < 1_000 && <div style={{ padding: 12, textAlign: 'center' }}><Button variant="default" size="xs" onClick={() => setLimit(1_000)}>Show older ones</Button></div>}
            </>
          )}
        </Answer>
      </Panel>
    </>
  );
}
