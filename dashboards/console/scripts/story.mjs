// The demo's story in a browser, as somebody on call lives it: WATCHFIRE_URL is a `watchfire demo --stay` that has just begun. The incident comes
// without a reload, is acknowledged, its cause is found from alert to log line to trace, the repair is watched until it is verified, the
// postmortem is read and finished. Exit code 1 with the step that failed; a screenshot of every step.
import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const site = (process.env.WATCHFIRE_URL ?? 'http://127.0.0.1:7700').replace(/\/$/, '');
const shots = process.env.SHOTS ?? mkdtempSync(join(tmpdir(), 'watchfire-story-'));
mkdirSync(shots, { recursive: true });

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
const context = await browser.newContext({ viewport: { width: 1360, height: 900 }, colorScheme: 'dark', reducedMotion: 'reduce', timezoneId: 'Europe/Berlin' });
const page = await context.newPage();
const troubles = [];
page.on('pageerror', (error) => troubles.push(`script error: ${error.message}`));
page.on('request', (request) => {
  const url = new URL(request.url());
  if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== new URL(site).origin) troubles.push(`a request to somebody else: ${request.url()}`);
});

const began = Date.now();
let number = 0;
async function step(what, act) {
  const start = Date.now();
  try {
    await act();
  } catch (error) {
    await page.screenshot({ path: join(shots, 'failed.png'), fullPage: true });
    console.error(`FAIL ${what}: ${String(error).split('\n').slice(0, 3).join(' ')}\n     at ${page.url()}, screenshots in ${shots}`);
    await browser.close();
    process.exit(1);
  }
  number += 1;
  await page.screenshot({ path: join(shots, `${String(number).padStart(2, '0')}-${what.replace(/\W+/g, '-').slice(0, 60)}.png`) });
  console.log(`ok   ${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s  ${what} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
}
/** The page must not have been loaded anew since `marked`. */
const mark = () => page.evaluate(() => { window.__same = true; });
const same = async () => { if (!(await page.evaluate(() => window.__same === true))) throw new Error('the page was loaded anew'); };

await step('home is calm before the release', async () => {
  await page.goto(`${site}/`);
  await page.getByText('No open incident, nothing fires.').waitFor({ timeout: 20_000 });
  await page.getByRole('link', { name: /checkout/ }).first().waitFor({ timeout: 60_000 });
  await mark();
});
const open = page.locator('section', { has: page.getByRole('heading', { name: /^Open incidents/ }) });
await step('the incident appears without a reload', async () => {
  await open.getByRole('link', { name: /CheckoutErrorRate|checkout/ }).first().waitFor({ timeout: 90_000 });
  await same();
});
await step('it says what is wrong, and its alert has a plot', async () => {
  await open.getByRole('link', { name: /CheckoutErrorRate|checkout/ }).first().click();
  await page.locator('.plot canvas').first().waitFor({ timeout: 20_000 });
  await page.getByText(/checkout fails \d/).first().waitFor();
});
await step('it is acknowledged and says who has it', async () => {
  await page.getByRole('button', { name: 'Acknowledge' }).click();
  await page.getByText(/local has it/).waitFor();
  await page.locator('.timeline').getByText(/acknowledged/).first().waitFor();
  await same();
});
const incident = page.url();
await step('from the incident to the errors in the logs', async () => {
  await page.getByRole('link', { name: 'Errors of all services' }).click();
  await page.locator('.log').getByText(/charge failed: no answer from bank/).first().waitFor({ timeout: 20_000 });
  await same();
});
await step('from the log line to its trace, which shows the failed call and its stack', async () => {
  await page.locator('.log').first().click();
  await page.getByRole('link', { name: 'Its trace' }).click();
  await page.waitForURL(/\/traces\/[0-9a-f]{32}/);
  await page.locator('.span-row').getByText('POST /charges').first().waitFor({ timeout: 20_000 });
  await page.getByText('BankTimeout').first().waitFor();
  await same();
});
await step('the first repair does not help and is undone, the second is verified', async () => {
  await page.goto(`${incident.split('?')[0]}?tab=repairs`);
  await mark();
  await page.locator('.timeline').getByText(/scale checkout undone/).first().waitFor({ timeout: 90_000 });
  await page.locator('.tag').getByText('verified').first().waitFor({ timeout: 120_000 });
  await same();
});
await step('the incident resolves and the postmortem is there, all without a reload', async () => {
  await page.getByRole('tab', { name: 'Postmortem' }).click();
  await page.locator('.markdown').getByRole('heading', { name: /Postmortem: incident/ }).waitFor({ timeout: 90_000 });
  await page.locator('.tag').getByText('resolved').first().waitFor();
  await same();
});
await step('the postmortem is finished beside its preview and saved', async () => {
  await page.getByRole('button', { name: 'Edit' }).click();
  const text = page.getByLabel('Postmortem, Markdown');
  const before = await text.inputValue();
  await text.fill(`${before}\n## What we learned\n\nThe bank needs a **shorter** timeout. <img src=x onerror="window.__hit=1">\n`);
  await page.locator('.preview').getByText('shorter').waitFor();
  await page.screenshot({ path: join(shots, 'postmortem-editor.png') });
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('The postmortem is saved').waitFor();
  await page.locator('.markdown').getByRole('heading', { name: 'What we learned' }).waitFor();
  if (await page.evaluate(() => window.__hit)) throw new Error('the document ran as a script');
  const raw = await (await fetch(`${site}/api/watchfire/v1/incidents/1/postmortem`)).text();
  if (!raw.includes('## What we learned')) throw new Error('the server does not have it');
});
await step('the timeline tells of it', async () => {
  await page.getByRole('tab', { name: 'Story' }).click();
  await page.locator('.timeline').getByText('edited the postmortem').first().waitFor();
});
await browser.close();
console.log(`screenshots in ${shots}`);
for (const one of troubles) console.error(`FAIL ${one}`);
process.exit(troubles.length > 0 ? 1 : 0);
