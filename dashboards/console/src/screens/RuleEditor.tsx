/* One rule file: written with the server's judgement beside it, tested, replayed over the stored history, and then saved where that is allowed; else copied or downloaded, with the reason. What is written stays in this tab until it is saved or thrown away. */
import { Button, SegmentedControl, Select, Textarea, TextInput } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useMemo, useRef, useState } from 'react';
import { ApiError, get, send } from '../api/client';
import type { RuleFiles, RuleReplay, RuleTestReport, RuleVerdict, RuleWritten } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { count } from '../lib/format';
import { lineOf, nameProblem, newRule, newTest, spanOfLine, strip } from '../lib/rulefile';
import { formatMoment, resolveRange, zoneName } from '../lib/time';
import { Answer, Copy, Empty, Go, LabelSet, PageHead, Panel, SeverityTag, Tag, Trouble, When } from '../parts/basics';
import { toast } from '../parts/Toasts';
import { useZone } from '../prefs';

const DRAFTS = 'watchfire-rule-draft:';
const ROUTE = '/api/watchfire/v1/rules';

export function RuleEditor() {
  const { file, expr } = useAddress();
  const found = useAsk(['rules', 'files'], (signal) => get<RuleFiles>(`${ROUTE}/files`, signal), { live: false });
  return (
    <Answer of={found} height={500}>
      {(data) => <Editor key={`${file ?? ''}\u0000${expr ?? ''}`} files={data} file={file} expr={expr} />}
    </Answer>
  );
}

interface Draft {
  text: string;
  /** The version that it began from; null: a new file. */
  version: string | null;
}

const kept = (name: string): Draft | null => {
  try {
    const draft = JSON.parse(sessionStorage.getItem(DRAFTS + name) ?? 'null') as Partial<Draft> | null;
    return draft && typeof draft.text === 'string' ? { text: draft.text, version: typeof draft.version === 'string' ? draft.version : null } : null;
  } catch {
    return null;
  }
};
const keep = (name: string, draft: Draft | null): void => {
  try {
    if (draft === null) sessionStorage.removeItem(DRAFTS + name);
    else sessionStorage.setItem(DRAFTS + name, JSON.stringify(draft));
  } catch {
    // Storage is full or off: it holds for this page.
  }
};

function Editor({ files, file, expr }: { files: RuleFiles; file: string | undefined; expr: string | undefined }) {
  const set = useSetAddress();
  const client = useQueryClient();
  const stored = files.files.find((one) => one.name === file);
  const begun = (): Draft => (stored ? { text: stored.text, version: stored.version } : { text: newRule(expr ?? ''), version: null });
  const slot = stored?.name ?? `new ${expr ?? ''}`;
  const [draft, setDraft] = useState<Draft>(() => kept(slot) ?? begun());
  const [name, setName] = useState(stored?.name ?? 'new.yml');
  const [saving, setSaving] = useState(false);
  const [refused, setRefused] = useState<Error | null>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  // What is written goes on while it is being saved.
  const newest = useRef(draft);
  const put = (next: Draft): void => {
    newest.current = next;
    setDraft(next);
  };
  const changed = stored ? draft.text !== stored.text : true;
  const overtaken = !saving && stored !== undefined && draft.version !== null && draft.version !== stored.version && changed;
  const wrongName = stored || saving ? undefined : nameProblem(name) ?? (files.files.some((one) => one.name === name) ? 'There is a file of this name: choose it above' : undefined);
  const write = (text: string): void => {
    const next = { ...newest.current, text };
    put(next);
    setRefused(null);
    keep(slot, text === begun().text ? null : next);
  };
  const [settled, setSettled] = useState(draft.text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(draft.text), 400);
    return () => clearTimeout(timer);
  }, [draft.text]);
  const verdict = useAsk(['rules', 'check', name, settled], () => send<RuleVerdict>('POST', `${ROUTE}/check`, { name, text: settled }), { live: false, enabled: wrongName === undefined });
  const problems = wrongName === undefined ? verdict.data?.problems ?? [] : [];
  const jump = (line: number): void => {
    const [start, end] = spanOfLine(draft.text, line);
    area.current?.focus();
    area.current?.setSelectionRange(start, end);
  };
  const save = async (version: string | null): Promise<void> => {
    setSaving(true);
    setRefused(null);
    try {
      const answer = await send<RuleWritten>('PUT', `${ROUTE}/files`, { name, text: draft.text, ...(version === null ? {} : { version }) });
      toast(answer.message);
      await client.invalidateQueries({ queryKey: ['rules', 'files'] });
      const next = { text: newest.current.text, version: answer.version };
      put(next);
      keep(slot, null);
      if (next.text !== draft.text) keep(name, next);
      if (!stored) set({ file: name, expr: undefined }, true);
      void client.invalidateQueries();
    } catch (error) {
      setRefused(error instanceof Error ? error : new Error(String(error)));
      if (error instanceof ApiError && error.status === 409) await client.invalidateQueries({ queryKey: ['rules', 'files'] });
    } finally {
      setSaving(false);
    }
  };
  const download = (): void => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([draft.text], { type: 'application/yaml' }));
    link.download = name.split('/').at(-1) ?? 'rules.yml';
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <>
      <PageHead title={stored ? `Rules of ${stored.name}` : 'New rules'}>
        <Go to="/rules">All rules</Go>
        <Select size="xs" aria-label="File" data={[{ value: '', label: 'New file' }, ...files.files.map((one) => ({ value: one.name, label: one.name }))]} value={stored?.name ?? ''} onChange={(value) => set({ file: value || undefined, expr: undefined })} allowDeselect={false} searchable={files.files.length > 8} />
      </PageHead>
      <div className="split wide">
        <div className="stack">
          <Panel>
            {!stored && <TextInput size="xs" label="File name" value={name} onChange={(event) => setName(event.currentTarget.value)} error={wrongName} mb={10} />}
            <Textarea ref={area} aria-label="Rules, YAML" value={draft.text} onChange={(event) => write(event.currentTarget.value)} autosize minRows={18} maxRows={34} spellCheck={false} classNames={{ input: 'mono' }} aria-describedby="rule-problems" error={problems.length > 0} styles={{ input: { color: 'var(--mantine-color-text)' } }} />
            <div id="rule-problems" role="status" aria-live="polite" style={{ marginTop: 8 }}>
              {verdict.error && <Trouble error={verdict.error} />}
              {problems.map((problem) => {
                const line = lineOf(problem, name);
                return <div key={problem} className="trouble" style={{ marginBottom: 6 }}>{problem} {line !== undefined && <button type="button" className="inline" onClick={() => jump(line)}>Go to line {line}</button>}</div>;
              })}
              {verdict.data && problems.length === 0 && wrongName === undefined && !verdict.isPlaceholderData && <span className="row small"><Tag tone="good">right</Tag>{rulesText(verdict.data.groups.reduce((sum, group) => sum + group.rules, 0))} in {verdict.data.groups.map((group) => group.name).join(', ') || 'no group'}; right together with all other files.</span>}
            </div>
            {overtaken && (
              <div className="note" role="alert" style={{ marginTop: 8 }}>
                The stored file was changed while you wrote. Your text is still here.
                <div className="row" style={{ marginTop: 8 }}>
                  <Button size="xs" variant="default" onClick={() => { put(begun()); keep(slot, null); }}>Take the stored one</Button>
                  {files.editable && <Button size="xs" variant="default" loading={saving} onClick={() => void save(stored.version)}>Save mine over it</Button>}
                </div>
              </div>
            )}
            {refused && <div style={{ marginTop: 8 }}><Trouble error={refused} /></div>}
            <div className="row" style={{ marginTop: 10 }}>
              {files.editable && <Button size="xs" loading={saving} disabled={!changed || problems.length > 0 || wrongName !== undefined || overtaken} onClick={() => void save(draft.version)}>Save</Button>}
              <Button size="xs" variant="default" onClick={download}>Download</Button>
              <Copy text={draft.text} label="Copy the YAML" />
              {changed && stored && <Button size="xs" variant="subtle" color="gray" onClick={() => { put(begun()); keep(slot, null); }}>Throw my changes away</Button>}
            </div>
            {!files.editable && <div className="note" style={{ marginTop: 10 }}>It cannot be saved from here: {files.read_only_because}. Copy or download it, and put it where your rules are kept; a changed file is taken up within seconds.</div>}
          </Panel>
        </div>
        <div className="stack">
          <Replay name={name} text={draft.text} ready={problems.length === 0 && wrongName === undefined} />
          <Tests name={name} text={draft.text} ready={problems.length === 0 && wrongName === undefined} slot={slot} />
        </div>
      </div>
    </>
  );
}

const rulesText = (rules: number): string => `${count(rules)} ${rules === 1 ? 'rule' : 'rules'}`;

interface Run<T> {
  data: T | null;
  error: Error | null;
  busy: boolean;
  /** The text that it was about. */
  about: string;
}

/** Something that is computed when a person asks for it; an older answer never comes after a newer one. */
function useRun<T>(): [Run<T>, (about: string, ask: () => Promise<T>) => void] {
  const [run, setRun] = useState<Run<T>>({ data: null, error: null, busy: false, about: '' });
  const number = useRef(0);
  const go = (about: string, ask: () => Promise<T>): void => {
    number.current += 1;
    const mine = number.current;
    setRun((before) => ({ ...before, error: null, busy: true }));
    const end = (next: Partial<Run<T>>): void => { if (mine === number.current) setRun({ data: null, error: null, about, ...next, busy: false }); };
    ask().then((data) => end({ data }), (error: unknown) => end({ error: error instanceof Error ? error : new Error(String(error)) }));
  };
  return [run, go];
}

const SPANS = [['now-1h', '1 h'], ['now-6h', '6 h'], ['now-1d', '1 day'], ['now-7d', '7 days']] as const;

function Replay({ name, text, ready }: { name: string; text: string; ready: boolean }) {
  const [length, setLength] = useState('now-6h');
  const [run, go] = useRun<RuleReplay & { from: number; to: number }>();
  const start = (): void => {
    const range = resolveRange(length, 'now', Date.now());
    go(text + length, async () => ({ ...(await send<RuleReplay>('POST', `${ROUTE}/replay`, { name, text, from: new Date(range.from).toISOString(), to: new Date(range.to).toISOString() })), ...range }));
  };
  return (
    <Panel title="When would it have fired?" extra={<SegmentedControl size="xs" aria-label="How far back" value={length} onChange={setLength} data={SPANS.map(([value, label]) => ({ value, label }))} />}>
      <div className="row" style={{ marginBottom: 8 }}><Button size="xs" variant="default" loading={run.busy} disabled={!ready} onClick={start}>Replay over the history</Button>{!ready && <span className="small muted">when the rules are right</span>}{run.data && run.about !== text + length && <Tag tone="warning">of an older text or span</Tag>}</div>
      <div role="status" aria-live="polite">
        {run.error && <Trouble error={run.error} />}
        {run.data ? <Replayed replay={run.data} /> : !run.error && <div className="small muted">The stored history is gone through tick by tick, as the server would have done it. Nothing is stored, nobody is told.</div>}
      </div>
    </Panel>
  );
}

function Replayed({ replay }: { replay: RuleReplay & { from: number; to: number } }) {
  const zone = useZone();
  const names = useMemo(() => [...Map.groupBy(replay.alerts, (alert) => alert.name)], [replay]);
  const fired = replay.alerts.filter((alert) => alert.fired !== null).length;
  const before = replay.alerts.filter((alert) => alert.began_before).length;
  const pages = replay.pages.filter((page) => !page.began_before);
  return (
    <div className="stack" style={{ gap: 10 }}>
      <div className="small"><b>{fired === 0 ? 'Nothing would have fired' : `${count(fired)} ${fired === 1 ? 'alert' : 'alerts'} would have fired`}</b>{replay.alerts.length > fired && `, ${count(replay.alerts.length - fired)} more were true but not for long enough`}. {pages.length > 0 ? `${count(pages.length)} messages to ${[...new Set(pages.map((page) => page.receiver))].join(', ')}.` : 'Nobody would have been told anew.'} {before > 0 && `${count(before)} began before the span: when, and what was sent for ${before === 1 ? 'it' : 'them'}, is not known.`} <span className="muted">{count(replay.evaluations)} evaluations; nobody acknowledges in a replay.</span></div>
      {Object.entries(replay.failures).map(([rule, [times, error]]) => <div key={rule} className="trouble">{rule} could not be evaluated {times > 0 ? `${count(times)} times` : ''}: {error}</div>)}
      {names.length > 0 && (
        <div>
          {names.map(([name, alerts]) => (
            <div key={name} style={{ marginBottom: 6 }}>
              <div className="small">{name}</div>
              <div className="strip" role="img" aria-label={`${name}: ${alerts.filter((alert) => alert.fired !== null).length} times firing`}>
                {alerts.map((alert, at) => {
                  const { pending, firing } = strip(alert, replay.from, replay.to);
                  return [pending && <i key={`p${at}`} className="pending" style={{ left: `${pending[0] * 100}%`, width: `${(pending[1] - pending[0]) * 100}%` }} />, firing && <i key={`f${at}`} className="firing" style={{ left: `${firing[0] * 100}%`, width: `${(firing[1] - firing[0]) * 100}%` }} />];
                })}
              </div>
            </div>
          ))}
          <div className="row small muted nums" style={{ justifyContent: 'space-between' }}><span>{formatMoment(replay.from, zone)}</span><span>{formatMoment(replay.to, zone)} {zoneName(replay.to, zone)}</span></div>
        </div>
      )}
      {replay.alerts.length > 0 && (
        <ul className="list" style={{ maxHeight: 300, overflow: 'auto' }} tabIndex={0} aria-label="Alerts of the replay">
          {replay.alerts.slice(0, 200).map((alert, at) => (
            <li key={at} style={{ padding: '6px 0' }}>
              <div className="row small"><SeverityTag severity={alert.severity} /><b>{alert.name}</b>{alert.fired === null ? <Tag>never fired</Tag> : <span>fired {alert.began_before && 'no later than '}<When at={alert.fired} both /></span>}<span className="muted">true since {alert.began_before && 'no later than '}<When at={alert.pending} both />{alert.ended === null ? ', goes on' : <>, ended <When at={alert.ended} both /></>}</span></div>
              <LabelSet labels={alert.labels} without={['alertname', 'severity']} />
            </li>
          ))}
        </ul>
      )}
    </div>
  );
}

function Tests({ name, text, ready, slot }: { name: string; text: string; ready: boolean; slot: string }) {
  const place = `test of ${slot}`;
  const [written, setWritten] = useState(() => kept(place)?.text);
  // Until somebody writes a test, it follows the rule.
  const test = useMemo(() => written ?? newTest(text), [written, text]);
  const [run, go] = useRun<RuleTestReport>();
  const write = (next: string | undefined): void => {
    setWritten(next);
    keep(place, next === undefined ? null : { text: next, version: null });
  };
  const report = run.data;
  return (
    <Panel title="Unit tests">
      <Textarea aria-label="Tests, YAML as promtool has it" value={test} onChange={(event) => write(event.currentTarget.value)} autosize minRows={8} maxRows={18} spellCheck={false} classNames={{ input: 'mono' }} />
      <div className="row" style={{ margin: '8px 0' }}>
        <Button size="xs" variant="default" loading={run.busy} disabled={!ready} onClick={() => go(text + test, () => send<RuleTestReport>('POST', `${ROUTE}/test`, { name, text, test }))}>Run the tests</Button>
        <Copy text={`rule_files: [${name}]\n${test}`} label="Copy as a file for watchfire rules test" />
        {written !== undefined && <Button size="xs" variant="subtle" color="gray" onClick={() => write(undefined)}>Begin anew from the rule</Button>}
        {report && run.about !== text + test && <Tag tone="warning">of an older text</Tag>}
      </div>
      <div role="status" aria-live="polite" className="stack" style={{ gap: 8 }}>
        {run.error && <Trouble error={run.error} />}
        {report?.errors.map((error) => <div key={error} className="trouble">{error}</div>)}
        {report?.warnings.map((warning) => <div key={warning} className="note">{warning}</div>)}
        {report && report.errors.length === 0 && (report.cases.length === 0 ? <Empty title="Nothing was checked">A test checks something with <code>alert_rule_test</code>, <code>promql_expr_test</code> or <code>delivery_test</code>.</Empty> : (
          <>
            <div><Tag tone={report.success ? 'good' : 'critical'}>{report.success ? `all ${report.cases.length} as expected` : `${report.cases.filter((one) => one.failure !== null).length} of ${report.cases.length} fail`}</Tag></div>
            <ul className="list">{report.cases.map((one, at) => <li key={at} style={{ padding: '6px 0' }} className="small"><Tag tone={one.failure === null ? 'good' : 'critical'}>{one.failure === null ? 'ok' : 'fails'}</Tag> {one.test}: {one.about}{one.line > 0 && <span className="muted"> line {one.line}</span>}{one.failure !== null && <pre className="code" tabIndex={0} style={{ marginTop: 4 }}>{one.failure}</pre>}</li>)}</ul>
          </>
        ))}
      </div>
    </Panel>
  );
}
