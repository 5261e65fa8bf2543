import type { QmpEvent, QmpReply, QmpRequest } from './qmp-lines.ts';
import type { Recording } from './recording.ts';
import type { JsonObject } from './types.ts';

/** A request and what QEMU answered to it. Its index among the exchanges is that of its bytes. */
export interface Exchange {
  readonly request: QmpRequest;
  /** The command's name where the bytes are one whole request. */
  readonly command: string | undefined;
  /** One, none at the recording's end, up to two for raw bytes. */
  readonly replies: readonly QmpReply[];
}

export interface Conversation {
  readonly exchanges: readonly Exchange[];
  /** Events in order; `during` is the exchange that had no reply yet when the event came. */
  readonly events: readonly { readonly event: QmpEvent; readonly during: number | undefined }[];
}

/**
 * Pairs requests and replies. A well-formed request is answered by the next reply; the recorder
 * waited after raw bytes, so what comes then, and no well-formed request asked for, is theirs. A
 * reply that nothing asked for is left out (`exact-*`: the request that dumped memory was).
 */
export function conversation({ qmp }: Recording): Conversation {
  const exchanges: { request: QmpRequest; command: string | undefined; replies: QmpReply[] }[] = [];
  const events: { event: QmpEvent; during: number | undefined }[] = [];
  const waiting: number[] = [];
  for (const line of qmp) {
    if (line.kind === 'request') {
      const command = line.message?.execute;
      if (!line.raw) waiting.push(exchanges.length);
      exchanges.push({
        request: line,
        command: typeof command === 'string' ? command : undefined,
        replies: [],
      });
    } else if (line.kind === 'event') {
      events.push({ event: line, during: waiting[0] });
    } else if (line.kind === 'reply') {
      const asked = waiting.shift();
      const exchange = asked === undefined ? exchanges.at(-1) : exchanges[asked];
      if (asked !== undefined || exchange?.request.raw) exchange?.replies.push(line);
    }
  }
  return { exchanges, events };
}

/** `actual` in bytes if the message is a reply to query-balloon. */
export function balloonActual(message: JsonObject): number | undefined {
  const value = message.return as JsonObject | null | undefined;
  const actual = value?.actual;
  return typeof actual === 'number' && Object.keys(value ?? {}).length === 1 ? actual : undefined;
}

/** Did the exchange set a new target: `balloon` itself or the monitor's `balloon N`? */
export function setsTarget({ request, command, replies }: Exchange): boolean {
  const result = replies[0]?.message.return;
  if (result === undefined) return false;
  if (command === 'balloon') return true;
  const args = request.message?.arguments as JsonObject | undefined;
  const line = String(args?.['command-line']);
  return command === 'human-monitor-command' && result === '' && /^\s*balloon\s/.test(line);
}
