// TypeScript types from the server's OpenAPI document, into src/api/schema.d.ts (which is not committed: it follows from the server).
// Usage: npm run types [-- openapi.json]; without a file a running server is asked (WATCHFIRE_URL, http://127.0.0.1:7700).
import { readFileSync, writeFileSync } from 'node:fs';

const place = process.argv[2] ?? `${(process.env.WATCHFIRE_URL ?? 'http://127.0.0.1:7700').replace(/\/$/, '')}/api/openapi.json`;
const document = JSON.parse(/^https?:/.test(place) ? await (await fetch(place)).text() : readFileSync(place, 'utf8'));

const comment = (text, indent) => (text ? `${indent}/** ${text.replaceAll('*/', '* /').split('\n').join(' ')} */\n` : '');
const name = (text) => (/^[A-Za-z_$][\w$]*$/.test(text) ? text : JSON.stringify(text));

/** The type that a schema describes. */
function type(schema, indent) {
  if (schema === true || schema === undefined || Object.keys(schema).length === 0) return 'unknown';
  if (schema.$ref) return schema.$ref.replace('#/components/schemas/', '');
  const some = schema.oneOf ?? schema.anyOf;
  if (some) return [...new Set(some.map((one) => type(one, indent)))].join(' | ');
  if (schema.allOf) return schema.allOf.map((one) => type(one, indent)).join(' & ');
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(' | ');
  if (Array.isArray(schema.type)) return schema.type.map((one) => type({ ...schema, type: one }, indent)).join(' | ');
  switch (schema.type) {
    case 'null': return 'null';
    case 'string': return 'string';
    case 'boolean': return 'boolean';
    case 'integer': case 'number': return 'number';
    case 'array': {
      if (schema.prefixItems) return `[${schema.prefixItems.map((one) => type(one, indent)).join(', ')}]`;
      const item = type(schema.items, indent);
      return /[|&]/.test(item) ? `(${item})[]` : `${item}[]`;
    }
    case 'object': {
      if (!schema.properties) return `Record<string, ${schema.additionalProperties ? type(schema.additionalProperties, indent) : 'unknown'}>`;
      const inner = `${indent}  `;
      const fields = Object.entries(schema.properties).map(([field, of]) => `${comment(of.description, inner)}${inner}${name(field)}${schema.required?.includes(field) ? '' : '?'}: ${type(of, inner)};\n`);
      return `{\n${fields.join('')}${indent}}`;
    }
    case undefined: return 'unknown';
    default: throw new Error(`no type for ${JSON.stringify(schema)}`);
  }
}

const schemas = Object.entries(document.components.schemas);
const text = schemas.map(([title, schema]) => `${comment(schema.description, '')}export type ${title} = ${type(schema, '')};\n`).join('\n');
writeFileSync(new URL('../src/api/schema.d.ts', import.meta.url), `// Made by \`npm run types\` from ${document.info.title} ${document.info.version}. Do not edit.\n\n${text}`);
console.log(`${schemas.length} types`);
