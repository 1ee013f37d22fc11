/* The HTTP API as the server describes it: every operation with its parameters, body and answers, and a curl line to begin with. */
import { TextInput } from '@mantine/core';
import { get } from '../api/client';
import { useAddress, useAsk, useSetAddress } from '../hooks';
import { Answer, Empty, Go, PageHead, Panel, Snippet, Tag, type Tone } from '../parts/basics';

interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  items?: Schema;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  oneOf?: Schema[];
  anyOf?: Schema[];
  additionalProperties?: Schema | boolean;
}

interface Operation {
  tags?: string[];
  summary?: string;
  description?: string;
  parameters?: { name: string; in: string; required?: boolean; description?: string; schema?: Schema; example?: unknown }[];
  requestBody?: { content: Record<string, { schema?: Schema; example?: unknown }> };
  responses: Record<string, { description?: string; content?: Record<string, { schema?: Schema }> }>;
}

interface OpenApi {
  info: { title: string; version: string; description?: string };
  tags?: { name: string; description?: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema> };
}

const METHODS: Record<string, Tone> = { get: 'info', post: 'good', put: 'warning', delete: 'critical' };

function kindOf(schema: Schema | undefined): string {
  if (!schema) return 'any';
  if (schema.$ref) return schema.$ref.replace('#/components/schemas/', '');
  const some = schema.oneOf ?? schema.anyOf;
  if (some) return some.map(kindOf).join(' or ');
  if (schema.enum) return schema.enum.map(String).join(' | ');
  if (schema.type === 'array') return `list of ${kindOf(schema.items)}`;
  if (schema.type === 'object') return typeof schema.additionalProperties === 'object' ? `object of ${kindOf(schema.additionalProperties)}` : 'object';
  return Array.isArray(schema.type) ? schema.type.join(' or ') : (schema.type ?? 'any');
}

/** The names of shapes that a kind tells of. */
const namesIn = (kind: string, document: OpenApi): string[] => kind.split(/\W+/).filter((word) => document.components.schemas[word] !== undefined);

export function Api() {
  const { q: find = '' } = useAddress();
  const set = useSetAddress();
  const found = useAsk(['openapi'], (signal) => get<OpenApi>('/api/openapi.json', signal), { live: false });
  return (
    <>
      <PageHead title="API">
        <TextInput size="xs" aria-label="Filter operations" placeholder="Filter by path or words" value={find} onChange={(event) => set({ q: event.currentTarget.value }, true)} />
      </PageHead>
      <Answer of={found} height={500}>
        {(document) => {
          const all = Object.entries(document.paths).flatMap(([path, operations]) => Object.entries(operations).map(([method, operation]) => ({ path, method, operation })));
          const shown = all.filter(({ path, operation }) => `${path} ${operation.summary ?? ''} ${operation.description ?? ''}`.toLowerCase().includes(find.toLowerCase()));
          return (
            <div className="stack">
              <p className="muted intro" style={{ margin: 0 }}>{document.info.description} The document itself: <a href="/api/openapi.json">/api/openapi.json</a>. Try questions in <Go to="/metrics-explorer">Metrics</Go> and <Go to="/sql">SQL</Go>.</p>
              {shown.length === 0 && <Panel><Empty title="No operation has these words" /></Panel>}
              {(document.tags ?? []).map((tag) => {
                const mine = shown.filter(({ operation }) => operation.tags?.includes(tag.name));
                return mine.length === 0 ? null : (
                  <Panel key={tag.name} title={tag.name} extra={<span className="small muted">{tag.description}</span>}>
                    {mine.map((one) => <OperationView key={one.method + one.path} document={document} {...one} />)}
                  </Panel>
                );
              })}
            </div>
          );
        }}
      </Answer>
    </>
  );
}

function OperationView({ document, path, method, operation }: { document: OpenApi; path: string; method: string; operation: Operation }) {
  const body = Object.entries(operation.requestBody?.content ?? {})[0];
  const answers = Object.entries(operation.responses).flatMap(([status, answer]) => (answer.content ? Object.entries(answer.content).map(([type, { schema }]) => ({ status, type, kind: kindOf(schema) })) : [{ status, type: '', kind: answer.description ?? '' }]));
  const shapes = [...new Set([...namesIn(kindOf(body?.[1].schema), document), ...answers.filter((one) => one.status.startsWith('2')).flatMap((one) => namesIn(one.kind, document))])];
  const curl = `curl ${method === 'get' ? '' : `-X ${method.toUpperCase()} `}-H "X-Api-Key: $KEY" ${body ? `-H 'content-type: ${body[0]}' -d '...' ` : ''}'${location.origin}${path}'`;
  return (
    <details className="operation">
      <summary>
        <Tag plain tone={METHODS[method] ?? 'quiet'}>{method.toUpperCase()}</Tag> <span className="mono wrap">{path}</span> <span className="muted small">{operation.summary}</span>
      </summary>
      <div className="stack" style={{ padding: '8px 0 14px 12px', gap: 10 }}>
        {operation.description && <div>{operation.description}</div>}
        {(operation.parameters ?? []).length > 0 && (
          <div className="scroll-x">
            <table className="data">
              <thead><tr><th>Parameter</th><th>In</th><th>Kind</th><th>What</th></tr></thead>
              <tbody>{operation.parameters?.map((one) => <tr key={one.in + one.name}><td className="mono">{one.name}{one.required && ' *'}</td><td>{one.in}</td><td className="mono">{kindOf(one.schema)}</td><td>{one.description}</td></tr>)}</tbody>
            </table>
          </div>
        )}
        {body && <div className="small">Body: <span className="mono">{body[0]}, {kindOf(body[1].schema)}</span></div>}
        <div className="small">Answers: {answers.map((one) => <span key={one.status + one.type} className="label" style={{ marginRight: 4 }}>{one.status} {one.kind}</span>)}</div>
        {shapes.map((name) => <Shape key={name} name={name} document={document} />)}
        <Snippet text={curl} />
      </div>
    </details>
  );
}

function Shape({ name, document, depth = 0 }: { name: string; document: OpenApi; depth?: number }) {
  const schema = document.components.schemas[name];
  if (!schema) return null;
  const inner = [...new Set(Object.values(schema.properties ?? {}).flatMap((one) => namesIn(kindOf(one), document)))];
  return (
    <details style={{ marginLeft: depth * 12 }}>
      <summary className="small"><b>{name}</b> <span className="muted">{schema.description}</span></summary>
      {schema.properties ? (
        <div className="scroll-x">
          <table className="data"><tbody>{Object.entries(schema.properties).map(([field, of]) => <tr key={field}><td className="mono">{field}{schema.required?.includes(field) ? '' : '?'}</td><td className="mono">{kindOf(of)}</td><td>{of.description}</td></tr>)}</tbody></table>
        </div>
      ) : <div className="mono small" style={{ padding: '4px 0 4px 14px' }}>{kindOf(schema)}</div>}
      {depth < 3 && inner.filter((one) => one !== name).map((one) => <Shape key={one} name={one} document={document} depth={depth + 1} />)}
    </details>
  );
}
