import { expect, test } from 'vitest';
import { blocks, type SentEvent } from './sse';

const read = (...pieces: string[]): SentEvent[] => {
  const found: SentEvent[] = [];
  const take = blocks((event) => found.push(event));
  for (const piece of pieces) take(piece);
  return found;
};

test('events come whole, however the network cuts them', () => {
  const text = ': events follow\nid: 4\nretry: 1000\n\nid: 5\ndata: {"a":\ndata: 1}\n\n:\n\n';
  const whole = [{ id: '4' }, { id: '5', data: '{"a":\n1}' }, {}];
  expect(read(text)).toEqual(whole);
  expect(read(...text)).toEqual(whole);
  expect(read(text.replaceAll('\n', '\r\n'))).toEqual(whole);
});

test('what has not ended is not an event yet', () => {
  expect(read('id: 5\ndata: x\n')).toEqual([]);
});
