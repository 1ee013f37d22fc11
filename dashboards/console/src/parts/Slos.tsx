/* Objectives with the budget that is left and how fast it goes; of one service, or all. */
import { instant } from '../api/client';
import { useAsk, useListKeys } from '../hooks';
import { percent, promString, short } from '../lib/format';
import { isAbout, objectiveText, slosOf, SLO_QUERY, type Slo } from '../lib/slo';
import { Answer, Empty, Go, LabelSet, Panel, Tag } from './basics';

const SNIPPET = `# a file in the folder of rules
slos:
  - name: checkout
    objective: 99.9          # percent, over window: 30d
    errors: sum(rate(traces_span_metrics_calls_total{service_name="checkout",status_code="STATUS_CODE_ERROR"}[$window]))
    total: sum(rate(traces_span_metrics_calls_total{service_name="checkout"}[$window]))
    labels: { service_name: checkout }`;

const burnTone = (burn: number | null): React.CSSProperties | undefined => (burn !== null && burn > 1 ? { color: burn > 6 ? 'var(--wf-critical)' : 'var(--wf-high)', fontWeight: 600 } : undefined);

/** `service`: only what is about it, and nothing at all where that is nothing. */
export function Slos({ service }: { service?: string }) {
  const found = useAsk(['slos'], async (signal) => ({ slos: slosOf(await instant(SLO_QUERY, Date.now() / 1_000, signal)) }), { live: 6 });
  const keys = useListKeys();
  const mine = (found.data?.slos ?? []).filter((one) => service === undefined || isAbout(one, service));
  if (service !== undefined && mine.length === 0 && !found.error) return null;
  return (
    <Panel flush title="Objectives (SLO)">
      <Answer of={found} height={90}>
        {() => mine.length === 0 ? <Empty title="No objective is set" snippet={SNIPPET}>An objective records its error budget and pages when that burns too fast.</Empty> : (
          <div className="scroll-x" tabIndex={0} role="region" aria-label="Objectives" {...keys}>
            <table className="data">
              <thead><tr><th>Objective</th><th className="num">Promised</th><th className="num">Budget left</th><th className="hide-small" style={{ width: '22%' }} aria-hidden="true" /><th className="num">Burns, 1 h</th><th className="num">Burns, 6 h</th></tr></thead>
              <tbody>{mine.map((one) => <Row key={one.name + JSON.stringify(one.labels)} slo={one} />)}</tbody>
            </table>
          </div>
        )}
      </Answer>
    </Panel>
  );
}

function Row({ slo }: { slo: Slo }) {
  const { left } = slo;
  const matchers = Object.entries({ slo: slo.name, ...slo.labels }).map(([name, value]) => `${name}=${promString(value)}`).join(',');
  return (
    <tr>
      <td className="wrap" style={{ minWidth: 150 }}><Go to="/metrics-explorer" search={{ q: `slo:error_budget_remaining:ratio{${matchers}}` }} plain data-item>{slo.name}</Go> <LabelSet labels={slo.labels} /></td>
      <td className="num">{slo.objective === null ? '-' : objectiveText(slo.objective)}</td>
      <td className="num">{left === null ? <span className="muted">not known yet</span> : left <= 0 ? <Tag tone="critical">{percent(left)}</Tag> : left < 0.25 ? <Tag tone="warning">{percent(left)}</Tag> : percent(left)}</td>
      <td className="hide-small" aria-hidden="true">{left !== null && <span className="meter" style={{ display: 'block' }}><i style={{ width: `${Math.min(Math.max(left, 0), 1) * 100}%`, ...(left < 0.25 ? { background: 'var(--wf-critical)' } : {}) }} /></span>}</td>
      <td className="num" style={burnTone(slo.burn.hour)}>{slo.burn.hour === null ? '-' : `${short(slo.burn.hour)}×`}</td>
      <td className="num" style={burnTone(slo.burn.hours)}>{slo.burn.hours === null ? '-' : `${short(slo.burn.hours)}×`}</td>
    </tr>
  );
}
