/*
 * What the server answers, until it has an OpenAPI document from which this file is generated.
 * Times are RFC 3339 texts in UTC; numbers that may be NaN or infinite are texts.
 */

export type Severity = 'info' | 'warning' | 'high' | 'critical';
export type Labels = Record<string, string>;

export interface Actor {
  actor: 'system' | 'user' | 'key' | 'chat';
  part?: string;
  id?: string;
  provider?: string;
  user?: string;
}

export interface Acknowledgement {
  at: string;
  by: Actor;
}

export type IncidentStatus = 'open' | 'acknowledged' | 'resolved' | 'closed' | 'cancelled';

export interface Incident {
  id: string;
  number: number;
  title: string;
  severity: Severity;
  status: IncidentStatus;
  group: Labels;
  alerts: string[];
  firing: string[];
  clocks: {
    started: string;
    detected: string;
    acknowledged: string | null;
    mitigated: string | null;
    resolved: string | null;
    closed: string | null;
  };
  acknowledged: Acknowledgement | null;
  resolved_by: Actor | null;
  chat: { receiver: string; id: string; name: string; archived: boolean } | null;
  repair: string | null;
  seconds_to_detect: number | null;
  seconds_to_acknowledge: number | null;
  seconds_to_mitigate: number | null;
  seconds_to_resolve: number | null;
}

export interface TimelineLine {
  seq: number;
  at: string;
  actor: string;
  kind: string;
  text: string;
}

export interface AlertStateView {
  state: 'pending' | 'firing' | 'resolved';
  active_at: string;
  fired_at?: string;
  keep_firing_since?: string | null;
  resolved_at?: string;
}

/** An alert; `summary`, `flapping` only from the alerts' own routes. The fingerprint is hex there and no safe number elsewhere. */
export interface AlertView {
  id: string;
  rule: { source: string; group: string; name: string };
  labels: Labels;
  annotations: Labels;
  severity: Severity;
  state: AlertStateView;
  value: string;
  expr: string;
  escalation: string | null;
  remediation: string | null;
  acknowledged: Acknowledgement | null;
  incident: string | null;
  unknown: boolean;
  muted: boolean;
  summary?: string;
  flapping?: boolean;
}

export interface Silence {
  id: string;
  matchers: { name: string; op: '=' | '!=' | '=~' | '!~'; value: string }[];
  starts_at: string;
  ends_at: string;
  created_by: Actor;
  comment: string;
  state: 'active' | 'pending' | 'expired';
}

export interface Ladder {
  name: string;
  steps: { after: string; notify: string[] }[];
  repeat: number;
}

export interface LadderRun {
  id: string;
  subject: { about: 'incident' | 'alert'; id: string };
  ladder: Ladder;
  severity: Severity;
  title: string;
  status: 'running' | 'stopped' | 'exhausted' | 'closed';
  round: number;
  step: number;
  started_at: string;
  next_at: string | null;
  notified: string[];
}

export interface Delivery {
  id: string;
  notification: string;
  receiver: string;
  action: string;
  title: string;
  state: 'pending' | 'done' | 'dead' | 'cancelled';
  attempts: number;
  due_at: string;
  queued_at: string;
  error: string | null;
  alert: string | null;
  incident: string | null;
}

export interface Remediation {
  id: string;
  remediation: string;
  status: string;
  state: { state: string; [field: string]: unknown };
  alert: string;
  incident: string | null;
  target: Labels;
  dry_run: boolean;
  stop: string | null;
  created_at: string;
  rungs: { name: string; action: string; undo: string | null }[];
  history: { at: string; event: { kind: string; [field: string]: unknown } }[];
}

export interface Postmortem {
  id: string;
  incident: string;
  number: number;
  title: string;
  markdown: string;
  created_at: string;
  status: string;
  review_at: string;
  review_length: string;
}

export interface Deployment {
  id: string;
  service: string;
  version: string;
  environment: string;
  description?: string;
  link?: string;
  at: string;
  by: Actor;
}

export type IssueStatus = 'open' | 'regressed' | 'resolved' | 'ignored' | 'merged';

export interface Issue {
  id: string;
  number: number;
  title: string;
  type: string;
  message: string;
  culprit: string;
  grouped_by: string;
  status: IssueStatus;
  state: { status: IssueStatus; [field: string]: unknown };
  assignee: string | null;
  services: string[];
  first_seen: string | null;
  last_seen: string | null;
  first_release: string | null;
  last_release: string | null;
  regressions: number;
  fingerprints: string[];
}

export interface IssueLine extends Issue {
  events: number | null;
  users: number | null;
  hourly: number[] | null;
  environments: string[] | null;
  releases: string[];
}

export interface IssueList {
  issues: IssueLine[];
  total: number;
  next_offset: number | null;
  warnings: string[];
  window: { start: string; end: string };
}

export interface StackFrame {
  file: string;
  function: string;
  line: number;
  in_app: boolean;
}

export interface IssueDetail {
  issue: Issue;
  history: { at: string; by: string; change: string; text: string }[];
  window?: { start: string; end: string };
  events?: number | null;
  users?: number | null;
  hourly?: number[] | null;
  daily?: number[] | null;
  breakdowns?: (Record<string, { value: string; events: number }[]> & { tags?: never }) | null;
  latest?: {
    at: string;
    environment: string;
    event_id: string;
    frames: StackFrame[];
    level: string;
    message: string;
    release: string;
    service: string;
    source: string;
    span_id: string;
    stack: string;
    tags: Labels;
    trace_id: string;
    type: string;
    user: string;
  } | null;
  warnings: string[];
}

export interface Status {
  version: string;
  now: string;
  ready: boolean;
  parts: { part: string; healthy: boolean; detail: string }[];
  open_incidents: number;
  firing_alerts: number;
  queues: { queue: string; pending: number; dead: number; overdue_seconds: number }[];
  newest_rows: { signal: string; received: string | null; age_seconds: number | null }[];
}

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

export interface PromAlert {
  labels: Labels;
  annotations: Labels;
  state: 'pending' | 'firing';
  activeAt: string;
  value: string;
}

export interface PromRule {
  name: string;
  query: string;
  type: 'alerting' | 'recording';
  health: string;
  lastError?: string;
  noData?: boolean;
  labels: Labels;
  evaluationTime: number;
  lastEvaluation: string;
  state?: 'inactive' | 'pending' | 'firing';
  duration?: number;
  keepFiringFor?: number;
  annotations?: Labels;
  alerts?: PromAlert[];
  thresholds?: Partial<Record<Severity, string>>;
}

export interface RuleGroup {
  name: string;
  file: string;
  interval: number;
  evaluationTime: number;
  lastEvaluation: string;
  rules: PromRule[];
}

export type Metadata = Record<string, { type: string; help: string; unit: string }[]>;

export interface ScrapeTarget {
  labels: Labels;
  scrapePool: string;
  scrapeUrl: string;
  health: 'up' | 'down' | 'unknown';
  lastError: string;
  lastScrape: string;
  lastScrapeDuration: number;
}

export interface SqlAnswer {
  meta: { name: string; type: string }[];
  data: unknown[][];
  rows: number;
  statistics?: { elapsed: number; rows_read: number; bytes_read: number };
}
