import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const mantine = resolve('node_modules/@mantine/core');
const list = (folder: string): string[] => readdirSync(folder, { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? list(join(folder, one.name)) : [join(folder, one.name)]));

/** Parts of parts that the console never shows. */
const NEVER = ['Accordion', 'CheckboxCard', 'RadioCard'];

test("mantine.css has the styles of every part that the console uses, and of that part's parts", () => {
  const used = list('src').filter((file) => /\.tsx?$/.test(file)).flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/import \{([^}]*)\} from '@mantine\/core'/g)].flatMap(([, names]) => (names ?? '').split(',').map((name) => name.trim())));
  const seen = new Set<string>();
  const visit = (file: string): void => {
    if (seen.has(file) || !existsSync(file)) return;
    seen.add(file);
    for (const [, to] of readFileSync(file, 'utf8').matchAll(/from ?["'](\.[^"']+)["']/g)) visit(resolve(dirname(file), to ?? ''));
  };
  for (const name of used) visit(join(mantine, 'esm/components', name, `${name}.mjs`));
  const wanted = new Set([...seen].map((file) => basename(file).replace(/\..*/, '')).filter((name) => existsSync(join(mantine, 'styles', `${name}.css`)) && !NEVER.includes(name)));
  const have = readFileSync('src/mantine.css', 'utf8');
  expect(wanted.size).toBeGreaterThan(20);
  expect([...wanted].filter((name) => !have.includes(`/styles/${name}.css`))).toEqual([]);
});
