import { assign, setup } from 'xstate';
import { HELLO_TIMEOUT_MS, KEEP_ALIVE_MS } from '../limits.ts';
import type { LinkEnd } from './link.ts';

/** What the state machine asks for; guest-connection.ts does it after the transition. */
export interface GuestConnectionEffects {
  dial(): void;
  sayHello(): void;
  announceOpen(resumed: boolean): void;
  announceLost(end: LinkEnd, retryMs: number): void;
  announceRefused(end: LinkEnd): void;
  /** No welcome came: the link is cut, its own end is not waited for. */
  cutLink(): void;
  /** The guest has said nothing for a while, perhaps. */
  keepAlive(): void;
  sayBye(reason: string): void;
  announceClosed(): void;
  /** An event in a state that cannot have it: a bug of ours. */
  unexpected(type: string): void;
  /** The wait after `failures` failures in a row; draws jitter. */
  backOffMs(failures: number): number;
}

export type GuestConnectionEvent =
  | { readonly type: 'START' }
  /** The link can carry messages. */
  | { readonly type: 'OPENED' }
  /** A welcome came and the session is attached. */
  | { readonly type: 'WELCOMED'; readonly resumed: boolean }
  /** The link ended in a way that dialling again may mend. */
  | { readonly type: 'LOST'; readonly end: LinkEnd }
  /** The link ended with a final answer. */
  | { readonly type: 'REFUSED'; readonly end: LinkEnd }
  | { readonly type: 'CLOSE'; readonly reason: string };

const LATE: LinkEnd = { code: 4001, reason: 'HELLO_TIMEOUT_MS', byPeer: false };

/**
 * The life of a guest's connection. `closing` waits for the end of a link that the guest closed
 * itself; whatever that end is, it is the last. Not modelled here: what a session holds.
 */
export const guestConnectionMachine = setup({
  types: {
    context: {} as {
      readonly effects: GuestConnectionEffects;
      readonly failures: number;
      readonly retryMs: number;
    },
    input: {} as GuestConnectionEffects,
    events: {} as GuestConnectionEvent,
  },
  delays: {
    handshake: HELLO_TIMEOUT_MS,
    keepAlive: KEEP_ALIVE_MS,
    backOff: ({ context }) => context.retryMs,
  },
  actions: {
    dial: ({ context }) => context.effects.dial(),
    sayHello: ({ context }) => context.effects.sayHello(),
    cutLink: ({ context }) => context.effects.cutLink(),
    keepAlive: ({ context }) => context.effects.keepAlive(),
    announceClosed: ({ context }) => context.effects.announceClosed(),
    announceOpen: ({ context, event }) => {
      if (event.type === 'WELCOMED') context.effects.announceOpen(event.resumed);
    },
    announceLost: ({ context, event }) => {
      const end = event.type === 'LOST' ? event.end : LATE;
      context.effects.announceLost(end, context.retryMs);
    },
    announceRefused: ({ context, event }) => {
      if (event.type === 'REFUSED') context.effects.announceRefused(event.end);
    },
    sayBye: ({ context, event }) => {
      if (event.type === 'CLOSE') context.effects.sayBye(event.reason);
    },
    unexpectedEvent: ({ context, event }) => context.effects.unexpected(event.type),
    planRetry: assign({
      failures: ({ context }) => context.failures + 1,
      retryMs: ({ context }) => context.effects.backOffMs(context.failures + 1),
    }),
    forgetFailures: assign({ failures: 0 }),
  },
}).createMachine({
  id: 'guest_connection',
  initial: 'idle',
  context: ({ input }) => ({ effects: input, failures: 0, retryMs: 0 }),
  on: { '*': { actions: 'unexpectedEvent' } },
  states: {
    idle: { on: { START: 'connecting', CLOSE: 'closed' } },
    connecting: {
      entry: 'dial',
      after: { handshake: { target: 'waiting', actions: 'cutLink' } },
      on: {
        OPENED: 'handshaking',
        LOST: 'waiting',
        REFUSED: { target: 'closed', actions: 'announceRefused' },
        CLOSE: { target: 'closing', actions: 'sayBye' },
      },
    },
    handshaking: {
      entry: 'sayHello',
      after: { handshake: { target: 'waiting', actions: 'cutLink' } },
      on: {
        WELCOMED: { target: 'open', actions: ['forgetFailures', 'announceOpen'] },
        LOST: 'waiting',
        REFUSED: { target: 'closed', actions: 'announceRefused' },
        CLOSE: { target: 'closing', actions: 'sayBye' },
      },
    },
    open: {
      after: { keepAlive: { target: 'open', reenter: true, actions: 'keepAlive' } },
      on: {
        LOST: 'waiting',
        REFUSED: { target: 'closed', actions: 'announceRefused' },
        CLOSE: { target: 'closing', actions: 'sayBye' },
      },
    },
    waiting: {
      entry: ['planRetry', 'announceLost'],
      after: { backOff: 'connecting' },
      on: { CLOSE: 'closed' },
    },
    closing: { on: { LOST: 'closed', REFUSED: 'closed', CLOSE: {} } },
    closed: { type: 'final', entry: 'announceClosed' },
  },
});
