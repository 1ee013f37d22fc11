/* Notifications with their attempts. A dead letter can be sent again, and against the server's doubts too. */
import { Button } from '@mantine/core';
import { useMutation, useQueryClient } from '@tanstack/react-query';
import { Fragment, useId, useState } from 'react';
import { ApiError, get, send } from '../api/client';
import type { Delivery, DeliveryAttempt } from '../api/types';
import { useAsk, useListKeys } from '../hooks';
import { Answer, Go, StatusTag, Tag, When, type Tone } from './basics';
import { toast } from './Toasts';

/** Stays in sight where the table is wider than the screen. */
const STAYS = { position: 'sticky', left: 12, width: 'fit-content', maxWidth: 'calc(100vw - 64px)' } as const;

const what = (one: Delivery): string => `${one.action}${one.title ? `: ${one.title}` : ''}`;

export function Deliveries({ of, replay = false }: { of: readonly Delivery[]; replay?: boolean }) {
  const keys = useListKeys();
  return (
    <div className="scroll-x" tabIndex={0} role="region" aria-label="Deliveries" {...keys}>
      <table className="data">
        <thead><tr><th>Queued</th><th>Receiver</th><th>What</th><th>State</th><th className="num">Attempts</th><th>Trouble</th>{replay && <th><span className="skip">Commands</span></th>}</tr></thead>
        <tbody>{of.map((one) => <Row key={one.id} one={one} replay={replay} />)}</tbody>
      </table>
    </div>
  );
}

function Row({ one, replay }: { one: Delivery; replay: boolean }) {
  const [open, setOpen] = useState(false);
  const [doubt, setDoubt] = useState<string | null>(null);
  const below = useId();
  return (
    <Fragment>
      <tr>
        <td style={{ whiteSpace: 'nowrap' }}><When at={one.queued_at} /></td>
        <td>{one.receiver}</td>
        <td className="wrap" style={{ minWidth: 200 }}>{one.incident || one.alert ? <Go to={one.incident ? `/incidents/${one.incident}` : `/alerts/${one.alert}`} plain data-item>{what(one)}</Go> : what(one)}</td>
        <td><StatusTag status={one.state} /></td>
        <td className="num"><button type="button" className="inline" style={{ padding: '3px 4px' }} aria-expanded={open} aria-controls={open ? below : undefined} aria-label={`${one.attempts} ${one.attempts === 1 ? 'attempt' : 'attempts'} to deliver to ${one.receiver}`} onClick={() => setOpen(!open)}>{open ? '▾' : '▸'} {one.attempts}</button></td>
        <td className="wrap" style={{ minWidth: 160 }}>{one.unneeded ?? one.error ?? ''}{one.state === 'pending' && one.attempts > 0 && <> (next <When at={one.due_at} />)</>}</td>
        {replay && <td>{one.state === 'dead' && <Replay one={one} doubted={setDoubt} />}</td>}
      </tr>
      {doubt !== null && (
        <tr><td colSpan={replay ? 7 : 6}><div className="note row" role="alert" style={STAYS}><span className="wrap grow">{doubt}</span><Replay one={one} doubted={setDoubt} force /><Button size="compact-xs" variant="default" onClick={() => setDoubt(null)}>Leave it</Button></div></td></tr>
      )}
      {open && <tr id={below}><td colSpan={replay ? 7 : 6}><div style={STAYS}><Attempts of={one} /></div></td></tr>}
    </Fragment>
  );
}

/** Where the receiver would open something again that was over, the server asks back. */
function Replay({ one, doubted, force = false }: { one: Delivery; doubted: (why: string | null) => void; force?: boolean }) {
  const client = useQueryClient();
  const again = useMutation({
    mutationFn: () => send<{ message?: string }>('POST', `/api/watchfire/v1/deliveries/${one.id}/replay${force ? '?force=true' : ''}`),
    onSuccess: (answer) => {
      doubted(null);
      toast(answer.message ?? 'It is sent again');
      void client.invalidateQueries();
    },
    onError: (error) => (error instanceof ApiError && error.status === 409 && !force ? doubted(error.message) : toast(error.message, true)),
  });
  return <Button size="compact-xs" variant="default" loading={again.isPending} onClick={() => again.mutate()} aria-label={`${force ? 'Send it anyway' : 'Send again'}, to ${one.receiver}: ${what(one)}`}>{force ? 'Send it anyway' : 'Send again'}</Button>;
}

const TONES: Record<string, Tone> = { sent: 'good', failed: 'warning', dead: 'critical' };
const NAMES: Record<string, string> = { sent: 'delivered', failed: 'failed', dead: 'given up', unsent: 'not sent' };

function Attempts({ of }: { of: Delivery }) {
  const found = useAsk(['deliveries', 'one', of.id], (signal) => get<{ attempts: DeliveryAttempt[] }>(`/api/watchfire/v1/deliveries/${encodeURIComponent(of.id)}`, signal), { live: of.state === 'pending' ? 1 : false });
  return (
    <Answer of={found} height={28}>
      {({ attempts }) => attempts.length === 0 ? <span className="small muted">Nothing was tried yet.</span> : (
        <ol className="list" aria-label={`Attempts to deliver to ${of.receiver}`}>
          {attempts.map((one, at) => (
            <li key={at} className="row small" style={{ padding: '4px 0' }}>
              <When at={one.at} both />
              {one.attempt !== null && <span className="nums">attempt {one.attempt}</span>}
              <Tag tone={TONES[one.outcome] ?? 'quiet'}>{NAMES[one.outcome] ?? one.outcome}</Tag>
              {one.error && <span className="wrap">{one.error}</span>}
              {one.next_at && <span className="muted">tried again <When at={one.next_at} /></span>}
            </li>
          ))}
        </ol>
      )}
    </Answer>
  );
}
