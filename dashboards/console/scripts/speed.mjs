// How fast the console is in a real Chromium, over a running Watchfire (WATCHFIRE_URL, WATCHFIRE_KEY) into which it sends what it needs: 100,000 log lines,
// a trace of 10,000 spans, a day of 100 series. Prints a table; fails where a budget is missed, unless REPORT=1. Usage: npm run speed
import { randomBytes } from 'node:crypto';
import { chromium } from 'playwright-core';

const site = (process.env.WATCHFIRE_URL ?? 'http://127.0.0.1:7700').replace(/\/$/, '');
const key = process.env.WATCHFIRE_KEY;
const auth = key ? { 'x-api-key': key } : {};
const tag = `speed-${randomBytes(4).toString('hex')}`;

async function api(path, body) {
  const answer = await fetch(site + path, { method: body === undefined ? 'GET' : 'POST', headers: { 'content-type': 'application/json', ...auth }, ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }) });
  if (!answer.ok) throw new Error(`${path} answered ${answer.status}: ${await answer.text()}`);
  return answer.json().catch(() => ({}));
}
const text = (name, value) => ({ key: name, value: { stringValue: value } });
const resource = { attributes: [text('service.name', tag)] };
const now = BigInt(Date.now()) * 1_000_000n;

async function sendLogs(lines) {
  for (let from = 0; from < lines; from += 5_000) {
    const logRecords = Array.from({ length: 5_000 }, (_, at) => ({ timeUnixNano: String(now - BigInt(from + at) * 30_000_000n), severityNumber: at % 50 === 0 ? 17 : 9, severityText: at % 50 === 0 ? 'ERROR' : 'INFO', body: { stringValue: `order ${from + at} of customer ${(from + at) % 977} took ${(from + at) % 311} ms` }, attributes: [text('http.route', '/orders')] }));
    await api('/v1/logs', { resourceLogs: [{ resource, scopeLogs: [{ logRecords }] }] });
  }
}

async function sendTrace(spans) {
  const trace = randomBytes(16).toString('hex');
  const id = (at) => (at + 1).toString(16).padStart(16, '0');
  for (let from = 0; from < spans; from += 2_500) {
    const all = Array.from({ length: Math.min(2_500, spans - from) }, (_, index) => {
      const at = from + index;
      const start = now - 60_000_000_000n + BigInt(at) * 1_000_000n;
      return { traceId: trace, spanId: id(at), parentSpanId: at === 0 ? '' : id(Math.floor((at - 1) / 8)), name: `step ${at % 40}`, kind: at === 0 ? 2 : 1, startTimeUnixNano: String(start), endTimeUnixNano: String(at === 0 ? start + 11_000_000_000n : start + BigInt(2 + (at % 90)) * 1_000_000n), attributes: [text('step.number', String(at))], status: { code: at % 500 === 3 ? 2 : 0 } };
    });
    await api('/v1/traces', { resourceSpans: [{ resource, scopeSpans: [{ spans: all }] }] });
  }
  return trace;
}

async function sendMetrics() {
  for (let metric = 0; metric < 20; metric += 1) {
    const dataPoints = Array.from({ length: 5 }, (_, series) => Array.from({ length: 1_440 }, (_, minute) => ({ timeUnixNano: String(now - BigInt(1_440 - minute) * 60_000_000_000n), asDouble: 50 + 40 * Math.sin(minute / (20 + metric) + series), attributes: [text('series', `s${series}`)] }))).flat();
    await api('/v1/metrics', { resourceMetrics: [{ resource, scopeMetrics: [{ metrics: [{ name: `${tag.replace('-', '_')}_m${metric}`, gauge: { dataPoints } }] }] }] });
  }
}

const board = JSON.stringify({ title: tag, time: { from: 'now-24h' }, panels: Array.from({ length: 20 }, (_, at) => ({ type: 'timeseries', title: `Panel ${at}`, gridPos: { w: 6, h: 7 }, targets: [{ expr: `avg by (series) (${tag.replace('-', '_')}_m${at})`, legendFormat: '{{series}}' }] })) });

const rows = async (statement) => Number((await api('/api/watchfire/v1/sql?format=JSONCompact', statement)).data[0][0]);
async function until(what, check) {
  for (const end = Date.now() + 120_000; Date.now() < end; await new Promise((then) => setTimeout(then, 500))) if (await check()) return;
  throw new Error(`${what} did not arrive within two minutes`);
}

console.log('sending 100,000 log lines, 10,000 spans, 144,000 points');
const [trace] = [await sendTrace(10_000), await sendLogs(100_000), await sendMetrics()];
await until('the log lines', async () => (await rows(`SELECT count() FROM logs WHERE service = '${tag}'`)) >= 100_000);
await until('the spans', async () => (await rows(`SELECT count() FROM spans WHERE trace_id = unhex('${trace}')`)) >= 10_000);
await until('the points', async () => (await rows(`SELECT uniqExact(fingerprint) FROM points WHERE fingerprint IN (SELECT fingerprint FROM series WHERE metric LIKE '${tag.replace('-', '_')}%')`)) >= 100);

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const table = [];
const add = (what, value, budget, unit) => table.push({ what, value, budget, unit, good: value <= budget });
const median = (all) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)];

async function fresh() {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  if (key) await context.addInitScript((value) => sessionStorage.setItem('watchfire-key', value), key);
  await context.addInitScript(() => {
    window.__long = [];
    new PerformanceObserver((list) => window.__long.push(...list.getEntries().map((one) => ({ start: one.startTime, duration: one.duration })))).observe({ type: 'longtask', buffered: true });
  });
  return [context, await context.newPage()];
}
const settled = (page, selector, most = 60_000) => page.waitForFunction((wanted) => document.querySelectorAll(wanted).length > 0 && document.querySelectorAll('.mantine-Skeleton-root').length === 0 && performance.now(), selector, { timeout: most, polling: 'raf' }).then((handle) => handle.jsonValue());

// The first view, five times with nothing kept.
const views = [];
let weight = 0;
for (let round = 0; round < 5; round += 1) {
  const [context, page] = await fresh();
  await page.goto(`${site}/`, { waitUntil: 'commit' });
  views.push(await settled(page, '.page .panel'));
  weight = await page.evaluate(() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')].filter((one) => !one.name.includes('/api/')).reduce((sum, one) => sum + one.encodedBodySize, 0));
  await context.close();
}
add('first view, cold cache, with its data', median(views), 1_000, 'ms');
add('files of the first view, compressed', weight / 1024, 250, 'KiB');

{
  const [context, page] = await fresh();
  await page.goto(`${site}/logs?from=now-2h&q=service%3D${tag}`);
  await settled(page, '.log');
  for (const wanted of ['the newest 10', 'the newest 100']) {
    await page.getByRole('button', { name: 'Load ten times as many' }).click();
    await page.getByText(new RegExp(`^${wanted}\\s?000`)).waitFor({ timeout: 60_000 });
  }
  await page.waitForTimeout(1_500);
  const since = await page.evaluate(() => performance.now());
  const list = page.locator('.vlist');
  await list.hover();
  for (let turn = 0; turn < 120; turn += 1) {
    await page.mouse.wheel(0, turn % 3 === 0 ? 30_000 : 700);
    await page.waitForTimeout(16);
  }
  await page.keyboard.press('End');
  await page.waitForTimeout(500);
  const reached = await list.evaluate((one) => one.scrollTop);
  if (reached < 100_000) throw new Error(`the list scrolled only to ${reached}`);
  const long = await page.evaluate((from) => window.__long.filter((one) => one.start > from).map((one) => one.duration), since);
  add('scrolling 100,000 log lines: longest task', Math.max(0, ...long), 50, 'ms');
  await context.close();
}

{
  const [context, page] = await fresh();
  await page.goto(`${site}/traces`);
  await settled(page, '.item, .empty');
  const times = [];
  for (let round = 0; round < 3; round += 1) {
    await page.goto(`${site}/traces/${trace}`, { waitUntil: 'commit' });
    times.push(await settled(page, '.span-row'));
  }
  add('a trace of 10,000 spans opens', median(times), 1_000, 'ms');
  const flames = [];
  for (let round = 0; round < 3; round += 1) {
    await page.goto(`${site}/traces/${trace}?view=flame`, { waitUntil: 'commit' });
    flames.push(await settled(page, '.flame-box'));
  }
  add('the same as flames', median(flames), 1_000, 'ms');
  await context.close();
}

{
  const times = [];
  for (let round = 0; round < 3; round += 1) {
    const [context, page] = await fresh();
    await page.setViewportSize({ width: 1440, height: 2_400 });
    await page.goto(`${site}/dashboards`);
    await page.getByRole('button', { name: /Import from Grafana/ }).click();
    await page.getByLabel('JSON of a Grafana board').fill(board);
    await page.getByText('20 panels').waitFor();
    await page.evaluate(() => { window.__from = performance.now(); });
    await page.getByRole('button', { name: 'Look at it' }).click();
    const done = await page.waitForFunction(() => document.querySelectorAll('.board .plot canvas').length >= 20 && performance.now() - window.__from, null, { timeout: 60_000, polling: 'raf' });
    times.push(await done.jsonValue());
    await context.close();
  }
  add('a dashboard of 20 panels over 24 h', median(times), 1_500, 'ms');
}

await browser.close();
console.log(`\n${'what'.padEnd(46)} ${'measured'.padStart(12)} ${'budget'.padStart(12)}`);
for (const { what, value, budget, unit, good } of table) console.log(`${what.padEnd(46)} ${`${value.toFixed(0)} ${unit}`.padStart(12)} ${`${budget} ${unit}`.padStart(12)}  ${good ? 'ok' : 'MISSED'}`);
if (!process.env.REPORT && table.some((one) => !one.good)) process.exit(1);
