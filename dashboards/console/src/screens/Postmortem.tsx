/* The postmortem of an incident: read, finish beside its preview, save. Who saves after somebody else did is told, and loses nothing. */
import { Button, SegmentedControl, Textarea } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { lazy, Suspense, useState } from 'react';
import { ApiError, get, request, send } from '../api/client';
import type { Incident, Postmortem } from '../api/types';
import { useAsk } from '../hooks';
import { Answer, Copy, Empty, Panel, Trouble, When } from '../parts/basics';
import { toast } from '../parts/Toasts';

const Markdown = lazy(() => import('../parts/Markdown'));

interface Read {
  postmortem: Postmortem | null;
  version: number;
}

interface Draft {
  text: string;
  version: number;
}

export function PostmortemView({ incident }: { incident: Incident }) {
  const [draft, setDraft] = useState<Draft | null>(null);
  const path = `/api/watchfire/v1/incidents/${incident.number}/postmortem`;
  const found = useAsk(['postmortem', incident.number, incident.status], async (signal): Promise<Read> => {
    try {
      return await get<Read>(path, signal);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return { postmortem: null, version: 0 };
      throw error;
    }
  });
  const invite = async (): Promise<void> => {
    const calendar = await (await request(`/api/watchfire/v1/incidents/${incident.number}/review.ics`)).blob();
    const link = document.createElement('a');
    link.href = URL.createObjectURL(calendar);
    link.download = `incident-${incident.number}.ics`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <Panel>
      <Answer of={found} height={300}>
        {({ postmortem, version }) => postmortem === null ? <Empty title="There is no postmortem yet">It is drafted from the records within seconds when the incident resolves.</Empty> : (
          <>
            <div className="panel-head">
              <span className="small muted">drafted <When at={postmortem.created_at} />, review <When at={postmortem.review_at} both /></span>
              <span className="grow" />
              <Copy text={draft?.text ?? postmortem.markdown} label="Copy as Markdown" />
              {draft === null && <Button size="xs" variant="default" onClick={() => void invite()}>Review invitation (.ics)</Button>}
              {draft === null && <Button size="xs" onClick={() => setDraft({ text: postmortem.markdown, version })}>Edit</Button>}
            </div>
            {draft === null
              ? <Suspense fallback={null}><Markdown text={postmortem.markdown} /></Suspense>
              : <Editor path={path} draft={draft} setDraft={setDraft} now={{ text: postmortem.markdown, version }} />}
          </>
        )}
      </Answer>
    </Panel>
  );
}

function Editor({ path, draft, setDraft, now }: { path: string; draft: Draft; setDraft: (draft: Draft | null) => void; now: Draft }) {
  const client = useQueryClient();
  const [shown, setShown] = useState('both');
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<Error | null>(null);
  const save = async (version: number): Promise<void> => {
    setBusy(true);
    setFailed(null);
    try {
      const answer = await send<{ message: string }>('PUT', path, { markdown: draft.text, version });
      await client.invalidateQueries();
      toast(answer.message);
      setDraft(null);
    } catch (error) {
      setFailed(error instanceof Error ? error : new Error(String(error)));
    } finally {
      setBusy(false);
    }
  };
  const overtaken = !busy && now.version !== draft.version;
  return (
    <form className="stack" onSubmit={(event) => { event.preventDefault(); void save(draft.version); }}>
      <div className="row">
        <SegmentedControl size="xs" aria-label="What is shown" value={shown} onChange={setShown} data={[{ value: 'text', label: 'Text' }, { value: 'both', label: 'Both' }, { value: 'preview', label: 'Preview' }]} />
        <span className="grow" />
        <Button size="xs" variant="default" onClick={() => setDraft(null)}>Leave without saving</Button>
        <Button size="xs" type="submit" loading={busy} disabled={draft.text.trim() === '' || overtaken}>Save</Button>
      </div>
      {overtaken && (
        <div className="note" role="alert">
          Somebody saved this postmortem while you wrote. Your text is still here.
          <div className="row" style={{ marginTop: 8 }}>
            <Copy text={draft.text} label="Copy my text" />
            <Button size="xs" variant="default" onClick={() => setDraft(now)}>Take theirs</Button>
            <Button size="xs" variant="default" loading={busy} onClick={() => void save(now.version)}>Save mine over theirs</Button>
          </div>
        </div>
      )}
      {failed && <Trouble error={failed} />}
      <div className={shown === 'both' ? 'editor-both' : ''}>
        {shown !== 'preview' && <Textarea aria-label="Postmortem, Markdown" value={draft.text} onChange={(event) => setDraft({ ...draft, text: event.currentTarget.value })} readOnly={busy} autosize minRows={20} maxRows={shown === 'both' ? 40 : 60} classNames={{ input: 'mono' }} data-autofocus />}
        {shown !== 'text' && <div className="preview"><Suspense fallback={null}><Markdown text={draft.text} /></Suspense></div>}
      </div>
    </form>
  );
}
