/*
 * What the server answers: the types of its OpenAPI document (`npm run types`), and those that say more than the document can.
 * Times are RFC 3339 texts in UTC; numbers that may be NaN or infinite are texts.
 */
import type * as Api from './schema';

export type {
  Acknowledgement, Actor, Alert as AlertView, ArrivedLine as LogLine, ArrivedLines, Board, BoardList, BoardPanel, BoardVariable, Check, Delivery, Deployment, Incident, IncidentStatus, Issue, IssueLine, IssueList, IssueStatus, Key, KeyList, Ladder, LadderRun,
  MaintenanceList, MetricDescription, OnCall, OnCallOverride, OnCallSchedule, Postmortem, PromAlert, PromRule, RemediationPlan, ReplayedAlert, RuleFile, RuleFiles, RuleGroup, RuleReplay, RuleTestReport, RuleVerdict, RuleWritten, ScrapeTarget, Severity, Shift, Silence, StackFrame, Status, System as SystemView, TimelineLine, UpdatePhase,
  DeliveryAttempt, QuestionWord as Question, RuleValues,
} from './schema';

export type Labels = Record<string, string>;
export type Metadata = Record<string, Api.MetricDescription[]>;

/** What a run did has a kind. */
export type Remediation = Omit<Api.Remediation, 'history' | 'state'> & {
  state: { state: string; [field: string]: unknown };
  history: { at: string; event: { kind: string; [field: string]: unknown } }[];
};

export type IssueDetail = Omit<Api.IssueDetail, 'breakdowns'> & {
  breakdowns?: (Record<string, { value: string; events: number }[]> & { tags?: never }) | null;
};

export type Sample = [at: number, value: string];
export type QueryData =
  | { resultType: 'vector'; result: { metric: Labels; value: Sample }[] }
  | { resultType: 'matrix'; result: { metric: Labels; values: Sample[] }[] }
  | { resultType: 'scalar' | 'string'; result: Sample };

export interface QueryAnswer {
  data: QueryData;
  warnings: string[];
  infos: string[];
}

export interface SqlAnswer {
  meta: Api.SqlColumn[];
  data: unknown[][];
  rows: number;
  statistics?: Api.SqlStatistics;
}
