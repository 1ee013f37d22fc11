/* Before and after a remediation: the alert's own values around the run, with what it did as marks. */
import { get } from '../api/client';
import type { AlertView, Remediation, RuleGroup } from '../api/types';
import { useAsk } from '../hooks';
import { questionOf, ruleOf } from '../lib/alerts';
import { effectOf, marksOf, spanOfRun } from '../lib/repair';
import { withUnit } from '../lib/format';
import { formatClock } from '../lib/time';
import { useZone } from '../prefs';
import { Answer } from './basics';
import { ExprPlot, type Plotted } from './ExprPlot';

const HEIGHT = 180;

export function RunEffect({ run }: { run: Remediation }) {
  const zone = useZone();
  const alert = useAsk(['alert', run.alert], (signal) => get<{ alert: AlertView }>(`/api/watchfire/v1/alerts/${encodeURIComponent(run.alert)}`, signal), { live: false });
  const rules = useAsk(['rules'], (signal) => get<{ data: { groups: RuleGroup[] } }>('/api/v1/rules?exclude_alerts=true', signal), { live: 6 });
  const span = spanOfRun(run);
  const foot = (shown: Plotted) => {
    const { before, after } = effectOf(run, shown.series[0]?.points ?? [], shown.range.to / 1_000 - 3 * shown.step);
    const value = (one: { at: number; value: number } | undefined): string => (one ? withUnit(one.value, shown.unit) : 'no value');
    return <div className="small nums" style={{ minHeight: 20 }}>before <b>{value(before)}</b>, {span.live ? 'now' : 'after'} <b>{value(after)}</b>{after && <span className="muted"> ({formatClock(after.at * 1_000, zone)})</span>}</div>;
  };
  return (
    <div style={{ minHeight: HEIGHT + 20 }}>
      <Answer of={alert} height={HEIGHT + 20}>
        {(found) => {
          const rule = ruleOf(rules.data?.data.groups, found.alert.rule);
          return <ExprPlot expr={found.alert.expr} span={span} question={questionOf(found.alert, rule)} rule={found.alert.rule} fingerprint={found.alert.fingerprint} labels={found.alert.labels} thresholds={rule?.thresholds} marks={marksOf(run)} height={HEIGHT} legend={false} label={`${found.alert.rule.name} around ${run.remediation}`} foot={foot} />;
        }}
      </Answer>
    </div>
  );
}
