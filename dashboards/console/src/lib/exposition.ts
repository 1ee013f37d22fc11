/* Reads Prometheus's text format, as far as the System screen needs it. Pure. */
import type { Labels } from '../api/types';

export interface Reading {
  name: string;
  labels: Labels;
  value: number;
}

/** Samples of a text exposition; lines that are no samples are passed over. */
export function readExposition(text: string): Reading[] {
  const found: Reading[] = [];
  for (const line of text.split('\n')) {
    const parts = /^([a-zA-Z_:][\w:]*)(?:\{((?:[^"}]|"(?:[^"\\]|\\.)*")*)\})?\s+(\S+)/.exec(line);
    if (!parts?.[1]) continue;
    const labels: Labels = {};
    for (const [, name, value] of (parts[2] ?? '').matchAll(/([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g)) {
      labels[name ?? ''] = (value ?? '').replace(/\\(.)/g, (_, letter: string) => (letter === 'n' ? '\n' : letter));
    }
    const word = parts[3] ?? '';
    found.push({ name: parts[1], labels, value: word === '+Inf' ? Infinity : word === '-Inf' ? -Infinity : Number(word) });
  }
  return found;
}

/** The sum of a metric's samples with these labels; nothing where there is none. */
export function sumOf(all: readonly Reading[], name: string, labels: Labels = {}): number | undefined {
  const fit = all.filter((one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value));
  return fit.length === 0 ? undefined : fit.reduce((sum, one) => sum + one.value, 0);
}
