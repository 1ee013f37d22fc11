// What the first view weighs: the page, its scripts and styles and all that they import at once, compressed. Fails beyond the budget.
// Usage: npm run build && npm run size [-- FOLDER]
import { readFileSync, readdirSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';

const folder = process.argv[2] ?? 'dist';
/** Bytes. */
const BUDGET = 250_000;
if (!existsSync(join(folder, 'index.html'))) {
  console.error(`${folder}/index.html is missing: run \`npm run build\` first`);
  process.exit(2);
}
const weigh = (path) => {
  const body = readFileSync(join(folder, path));
  return { path, raw: body.length, gzip: gzipSync(body, { level: 9 }).length, brotli: brotliCompressSync(body, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).length };
};
const html = readFileSync(join(folder, 'index.html'), 'utf8');
const first = new Set(['index.html']);
const add = (path) => {
  if (first.has(path) || !existsSync(join(folder, path))) return;
  first.add(path);
  if (!path.endsWith('.js')) return;
  // Only imports at the top are waited for; `import(...)` is fetched when it is wanted.
  for (const [, name] of readFileSync(join(folder, path), 'utf8').matchAll(/(?:^|[;}])import(?:[^"'()]*?from)?["']\.\/([^"']+)["']/g)) add(`assets/${name}`);
};
for (const [, path] of html.matchAll(/(?:src|href)="\/([^"]+)"/g)) add(path);
const rows = [...first].map(weigh).sort((a, b) => b.brotli - a.brotli);
const kib = (bytes) => `${(bytes / 1024).toFixed(1).padStart(7)} KiB`;
console.log('First view                                            raw      gzip    brotli');
for (const row of rows) console.log(`${row.path.padEnd(46)} ${kib(row.raw)} ${kib(row.gzip)} ${kib(row.brotli)}`);
const sum = (field) => rows.reduce((total, row) => total + row[field], 0);
console.log(`${'together'.padEnd(46)} ${kib(sum('raw'))} ${kib(sum('gzip'))} ${kib(sum('brotli'))}`);
const all = readdirSync(join(folder, 'assets')).map((name) => weigh(`assets/${name}`));
console.log(`${'everything, all screens'.padEnd(46)} ${kib(all.reduce((t, r) => t + r.raw, 0))} ${kib(all.reduce((t, r) => t + r.gzip, 0))} ${kib(all.reduce((t, r) => t + r.brotli, 0))}`);
const told = `The first view is ${sum('gzip').toLocaleString('en')} bytes with gzip; the budget is ${BUDGET.toLocaleString('en')}`;
if (sum('gzip') > BUDGET) {
  console.error(told);
  process.exit(1);
}
console.log(told);
