/* Reads a body of server-sent events, as the HTML standard has it: fields by line, an event by blank line. In: an answer. Out: each event, and a sign of life for each comment. */

export interface SentEvent {
  id?: string;
  /** None where the server only said that it lives, or where one is. */
  data?: string;
}

/** Takes pieces of text as they come and calls `then` for each block that has ended. */
export function blocks(then: (event: SentEvent) => void): (piece: string) => void {
  let rest = '';
  return (piece) => {
    rest += piece;
    for (;;) {
      const end = /\r\n\r\n|\n\n|\r\r/.exec(rest);
      if (!end) return;
      const block = rest.slice(0, end.index);
      rest = rest.slice(end.index + end[0].length);
      then(eventOf(block));
    }
  };
}

function eventOf(block: string): SentEvent {
  const event: SentEvent = {};
  for (const line of block.split(/\r\n|\n|\r/)) {
    const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
    if (name === 'id' && !value.includes('\0')) event.id = value;
    if (name === 'data') event.data = event.data === undefined ? value : `${event.data}\n${value}`;
  }
  return event;
}

/** Reads to the end of the answer. */
export async function readEvents(answer: Response, then: (event: SentEvent) => void): Promise<void> {
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  const take = blocks(then);
  while (reader) {
    const { done, value } = await reader.read();
    if (done) return;
    take(value);
  }
}
