/* Boards: those of the folder and those that come with Watchfire; a board of Grafana becomes one of ours. */
import { Button, FileButton, Modal, Textarea, TextInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { get } from '../api/client';
import type { Board, BoardList } from '../api/types';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { fromGrafana, toYaml } from '../lib/boards';
import { Answer, Copy, Empty, Go, LinkList, PageHead, Panel, Tag, Trouble } from '../parts/basics';
import { hold } from './Board';

export function Boards() {
  const { q: find = '' } = useAddress();
  const set = useSetAddress();
  const [importing, setImporting] = useState(false);
  const found = useAsk(['boards'], (signal) => get<BoardList>('/api/watchfire/v1/dashboards', signal), { live: 6 });
  return (
    <>
      <PageHead title="Dashboards">
        <TextInput size="xs" aria-label="Filter by name" placeholder="Filter by name" value={find} onChange={(event) => set({ q: event.currentTarget.value }, true)} />
        <Button size="xs" variant="default" onClick={() => setImporting(true)}>Import from Grafana…</Button>
      </PageHead>
      <div className="stack">
        <Panel flush>
          <Answer of={found} height={200}>
            {({ dashboards }) => {
              const shown = dashboards.filter((one) => `${one.title} ${one.name}`.toLowerCase().includes(find.toLowerCase()));
              return shown.length === 0 ? <Empty title="No board has this name" /> : (
                <LinkList label="Boards">
                  {shown.map((one) => (
                    <li key={one.name}>
                      <Go to={`/dashboards/${encodeURIComponent(one.name)}`} className="item" data-item>
                        <span className="item-main"><span className="item-title">{one.title}</span><span className="item-sub"><span className="mono">{one.name}</span>{one.description && <span>{one.description}</span>}{one.error && <span style={{ color: 'var(--wf-critical)' }}>{one.error}</span>}</span></span>
                        <Tag tone={one.error ? 'critical' : 'quiet'}>{one.error ? 'cannot be read' : one.source}</Tag>
                      </Go>
                    </li>
                  ))}
                </LinkList>
              );
            }}
          </Answer>
        </Panel>
        {found.data && !found.data.has_folder && (
          <Panel title="Boards of your own">
            <Empty title="They are files beside the configuration" snippet={'# watchfire.yaml\ndashboards:\n  folder: dashboards\n\n# dashboards/shop.yaml\ntitle: Shop\nvariables:\n  - { name: service, query: "label_values(traces_span_metrics_calls_total, service_name)", all: true }\npanels:\n  - title: Requests\n    unit: per_second\n    queries:\n      - expr: sum by (service_name) (rate(traces_span_metrics_calls_total{service_name=~"$service"}[$__rate_interval]))\n        legend: "{{service_name}}"'}>A saved file shows at the next look. Grafana&apos;s JSON exports may lie there as they are.</Empty>
          </Panel>
        )}
      </div>
      <Modal opened={importing} onClose={() => setImporting(false)} title="Import from Grafana" size="lg"><Import /></Modal>
    </>
  );
}

function Import() {
  const navigate = useNavigate();
  const [text, setText] = useState('');
  let made: { board: Board; left: string[] } | undefined;
  let wrong: Error | undefined;
  if (text.trim() !== '') {
    try {
      made = fromGrafana(JSON.parse(text));
    } catch (error) {
      wrong = error instanceof SyntaxError ? new Error(`This is no JSON: ${error.message}`) : (error as Error);
    }
  }
  const yaml = made ? toYaml(made.board) : '';
  const save = (): void => {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([yaml], { type: 'application/yaml' }));
    link.download = `${(made?.board.title ?? 'board').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-|-$/g, '') || 'board'}.yaml`;
    link.click();
    URL.revokeObjectURL(link.href);
  };
  return (
    <div className="stack">
      <div className="row"><FileButton accept="application/json,.json" onChange={(file) => void file?.text().then(setText)}>{(props) => <Button size="xs" variant="default" {...props}>Choose a file</Button>}</FileButton><span className="small muted">or paste what Grafana&apos;s “Export as JSON” gives</span></div>
      <Textarea aria-label="JSON of a Grafana board" value={text} onChange={(event) => setText(event.currentTarget.value)} minRows={6} maxRows={12} autosize classNames={{ input: 'mono' }} data-autofocus />
      {wrong && <Trouble error={wrong} />}
      {made && (
        <>
          <div><b>{made.board.title}</b>: {made.board.panels.length} {made.board.panels.length === 1 ? 'panel' : 'panels'}, {made.board.variables.length} {made.board.variables.length === 1 ? 'variable' : 'variables'}</div>
          {made.left.length > 0 && <div className="note">Not taken over:<ul style={{ margin: '4px 0 0', paddingLeft: 18 }}>{made.left.map((one, at) => <li key={at} className="wrap">{one}</li>)}</ul></div>}
          <div className="row">
            <Button size="xs" disabled={made.board.panels.length === 0} onClick={() => { if (made) hold(made.board, made.left); void navigate({ to: '/dashboards/imported', search: { from: `now-${made?.board.time ?? '1h'}` } } as never); }}>Look at it</Button>
            <Button size="xs" variant="default" onClick={save}>Save as YAML</Button>
            <Copy text={yaml} label="Copy the YAML" />
            <span className="small muted">into the folder that dashboards.folder names</span>
          </div>
        </>
      )}
    </div>
  );
}
