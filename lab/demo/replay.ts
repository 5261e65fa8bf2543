import { setTimeout as sleep } from 'node:timers/promises';
import type { Json } from '../../host/control/qmp/json-value.ts';
import { PAGE_SIZE } from '../../shared/lib/units.ts';
import type { Output } from '../progress.ts';
import { Progress } from '../progress.ts';
import type { QmpClient, QmpEvent } from '../qmp-client.ts';
import { balloonActual, type Conversation, setsTarget } from '../verify/exchanges.ts';
import type { JsonObject, ObservedMessage } from '../verify/types.ts';

/** What came back when a recording's requests were sent to a live host. */
export interface Replay {
  readonly messages: readonly ObservedMessage[];
  /** Events with the milliseconds since the first request, for the side-by-side list. */
  readonly events: readonly { readonly atMs: number; readonly event: QmpEvent }[];
}

export interface ReplayOptions {
  readonly ramBytes: number;
  readonly output: Output;
  /** Resolves when the balloon has reached its target. */
  settled(): Promise<unknown>;
}

/**
 * Sends the requests of a recording at the recorded pace over one QMP connection, with a bar that
 * follows the balloon. The recorded client asked `query-balloon` until the target was reached; so
 * the last one of a resize is not sent before that here either. The client has negotiated already:
 * the recorded negotiation is its own.
 */
export async function replayRequests(
  client: QmpClient,
  talk: Conversation,
  { ramBytes, output, settled }: ReplayOptions,
): Promise<Replay> {
  const outside = outsideResize(talk, ramBytes);
  const messages: ObservedMessage[] = [];
  const events: { atMs: number; event: QmpEvent }[] = [];
  const startMs = performance.now();
  client.onEvent((event) => events.push({ atMs: performance.now() - startMs, event }));
  const progress = new Progress(output, 'vm0: balloon');
  const firstMs = talk.exchanges[0]?.request.tMs ?? 0;
  for (const [request, exchange] of talk.exchanges.entries()) {
    await sleep(exchange.request.tMs - firstMs - (performance.now() - startMs));
    const { execute, arguments: args } = exchange.request.message ?? {};
    if (typeof execute !== 'string' || execute === 'qmp_capabilities') continue;
    if (execute === 'query-balloon' && outside.has(request)) await settled();
    const result = await client.execute(execute, args as Json | undefined);
    const message: JsonObject = { return: result as JsonObject };
    messages.push({ request, message });
    const actual = balloonActual(message);
    if (actual !== undefined) {
      const pages = (ramBytes - actual) / PAGE_SIZE;
      progress.show(ramBytes - actual, ramBytes, `${pages} pages in the balloon`);
    }
  }
  progress.end();
  return { messages, events };
}

/**
 * Indices of requests whose reply does not depend on how fast a balloon moves: all but the
 * `query-balloon` that were asked while the recorded guest was still on its way.
 */
export function outsideResize(talk: Conversation, ramBytes: number): Set<number> {
  const outside = new Set<number>();
  let targetBytes = ramBytes;
  for (const [index, exchange] of talk.exchanges.entries()) {
    const args = exchange.request.message?.arguments as JsonObject | undefined;
    if (setsTarget(exchange)) targetBytes = Math.min(Number(args?.value), ramBytes);
    const replies = exchange.replies.map(({ message }) => balloonActual(message));
    if (replies.every((actual) => actual === undefined || actual === targetBytes)) {
      outside.add(index);
    }
  }
  return outside;
}
