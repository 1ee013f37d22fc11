/* The rules by group, with state, health and the expression plotted. The address names the open one. */
import { SegmentedControl, TextInput } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';
import { get } from '../api/client';
import type { PromRule, RuleGroup } from '../api/types';
import { useAddress, useAsk, useListKeys, useSetAddress } from '../hooks';
import { isPromql } from '../lib/alerts';
import { formatSeconds, resolveRange } from '../lib/time';
import { Answer, Empty, Facts, firstData, Go, LabelSet, PageHead, Panel, StatusTag, Tag, When } from '../parts/basics';
import { ExprPlot } from '../parts/ExprPlot';

export function Rules() {
  const { q = '', show = 'all', rule: opened } = useAddress();
  const set = useSetAddress();
  const keys = useListKeys();
  const found = useAsk(['rules', 'full'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules', signal));
  const fits = (rule: PromRule): boolean => `${rule.name} ${rule.query}`.toLowerCase().includes(q.toLowerCase()) && (show === 'all' || (show === 'trouble' ? rule.health === 'err' || rule.noData === true : rule.state === show));
  return (
    <>
      <PageHead title="Rules">
        <Go to="/rules/edit">New rule</Go>
        <TextInput size="xs" aria-label="Filter" placeholder="Filter by name or expression" value={q} onChange={(event) => set({ q: event.currentTarget.value }, true)} />
        <SegmentedControl size="xs" aria-label="Which rules" value={show} onChange={(value) => set({ show: value === 'all' ? undefined : value })} data={[{ value: 'all', label: 'All' }, { value: 'firing', label: 'Firing' }, { value: 'pending', label: 'Pending' }, { value: 'trouble', label: 'In trouble' }]} />
      </PageHead>
      <Answer of={found} height={300}>
        {({ data }) => {
          const groups = data.groups.map((group) => ({ ...group, rules: group.rules.filter(fits) })).filter((group) => group.rules.length > 0);
          if (groups.length === 0) return <Panel>{data.groups.length === 0 ? <Empty title="There are no rules yet" snippet={firstData.rules}>Rule files are Prometheus rule files; they are taken up within seconds when they change.</Empty> : <Empty title="No rule fits" />}</Panel>;
          return (
            <div className="stack" {...keys}>
              {groups.map((group) => (
                <Panel key={`${group.file}/${group.name}`} flush title={group.name} extra={<><span className="small muted">{group.file} · every {formatSeconds(group.interval)} · took {formatSeconds(group.evaluationTime)} · <When at={group.lastEvaluation} /></span><Go to="/rules/edit" search={{ file: group.file }} aria-label={`Edit, test, replay: ${group.file}`}><span className="small">Edit, test, replay</span></Go></>}>
                  <ul className="list">{group.rules.map((rule) => {
                    const id = `${group.file}/${group.name}/${rule.name}${severities(rule)}`;
                    const searched = q !== '' && rule.name === q;
                    const open = opened === undefined ? searched : opened === id;
                    return <RuleItem key={rule.name + rule.query} group={group.name} rule={rule} open={open} linked={opened === id} toggle={() => set({ rule: !open ? id : searched ? 'none' : undefined }, true)} />;
                  })}</ul>
                </Panel>
              ))}
            </div>
          );
        }}
      </Answer>
    </>
  );
}

/** Rules of one name differ in their severity. */
const severities = (rule: PromRule): string => (rule.labels.severity ? `:${rule.labels.severity}` : '');

function RuleItem({ group, rule, open, linked, toggle }: { group: string; rule: PromRule; open: boolean; linked: boolean; toggle: () => void }) {
  const item = useRef<HTMLLIElement>(null);
  const toThere = useRef(linked);
  useEffect(() => {
    // Who opens one with the hand has it before the eyes.
    if (toThere.current) item.current?.scrollIntoView({ block: 'nearest' });
  }, []);
  return (
    <li ref={item}>
      <button type="button" className="item" data-item aria-expanded={open} onClick={toggle} style={{ width: '100%', border: 0, background: 'none', font: 'inherit', textAlign: 'left', cursor: 'pointer' }}>
        <span className="item-main">
          <span className="item-title">{rule.name}</span>
          <span className="item-sub mono cut" style={{ display: 'block' }}>{rule.query}</span>
        </span>
        {rule.type === 'recording' ? <Tag plain>recording</Tag> : <StatusTag status={rule.state ?? 'inactive'} />}
        {rule.health === 'err' && <Tag tone="critical">fails</Tag>}
        {rule.noData && <Tag tone="warning">no data</Tag>}
        {(rule.alerts?.length ?? 0) > 0 && <span className="small nums">{rule.alerts?.length} open</span>}
      </button>
      {open && <RuleDetail group={group} rule={rule} />}
    </li>
  );
}

function RuleDetail({ group, rule }: { group: string; rule: PromRule }) {
  const promql = isPromql(rule.question);
  const [length, setLength] = useState('now-1h');
  return (
    <div style={{ padding: '0 16px 16px' }} className="stack">
      {rule.lastError && <div className="trouble">{rule.lastError}</div>}
      {rule.noData && <div className="note">No selector of the expression matched any series: the rule can never fire until there is such data.</div>}
      <div className="row"><SegmentedControl size="xs" aria-label="How far back" value={length} onChange={setLength} data={[{ value: 'now-1h', label: '1 h' }, { value: 'now-6h', label: '6 h' }, { value: 'now-1d', label: '1 day' }, { value: 'now-7d', label: '7 days' }]} />{promql && <Go to="/metrics-explorer" search={{ q: rule.query }}>Open in Metrics</Go>}</div>
      <ExprPlot expr={rule.query} question={rule.question} rule={rule.source === undefined ? undefined : { source: rule.source, group, name: rule.name }} thresholds={rule.thresholds} span={{ id: length, live: promql, resolve: () => resolveRange(length, 'now', Date.now()) }} label={`Values of ${rule.name}`} />
      <pre className="code" tabIndex={0}>{rule.query}</pre>
      <Facts of={[
        ...(rule.type === 'alerting' ? [['For', formatSeconds(rule.duration ?? 0)], ['Keeps firing', formatSeconds(rule.keepFiringFor ?? 0)]] as [string, string][] : []),
        ...(rule.thresholds ? [['Conditions', Object.entries(rule.thresholds).map(([severity, text]) => `${severity} ${text}`).join(', ')]] as [string, string][] : []),
        ['Labels', Object.keys(rule.labels).length ? <LabelSet key="l" labels={rule.labels} /> : '-'],
        ...Object.entries(rule.annotations ?? {}).map(([name, value]): [string, React.ReactNode] => [name, <span key={name} className="wrap">{value}</span>]),
        ['Last evaluated', <When key="e" at={rule.lastEvaluation} both />],
      ]} />
    </div>
  );
}
