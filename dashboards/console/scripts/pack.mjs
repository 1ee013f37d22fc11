// Writes a .br and a .gz beside each built file that gets smaller by it. Usage: node scripts/pack.mjs FOLDER
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const folder = process.argv[2] ?? 'dist';
for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || /\.(br|gz)$/.test(entry.name)) continue;
  const body = readFileSync(path);
  const packed = { br: brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: body.length } }), gz: gzipSync(body, { level: 9 }) };
  for (const [name, bytes] of Object.entries(packed)) if (bytes.length < body.length) writeFileSync(`${path}.${name}`, bytes);
}
