import type { ActorRefFrom } from 'xstate';
import { createActor } from 'xstate';
import { assert, fail } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';
import type { Prng } from '../lib/prng.ts';
import {
  DUPLICATE_RETRY_MS,
  MAX_TEXT_LENGTH,
  RECONNECT_FIRST_MS,
  RECONNECT_MAX_MS,
} from '../limits.ts';
import { isGuestId } from '../protocol/codec.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';
import { asProtocolError, PROTOCOL_ERRORS, ProtocolError } from '../protocol/errors.ts';
import type {
  ErrorMessage,
  GuestToHost,
  HostToGuest,
  Message,
  Welcome,
} from '../protocol/messages.ts';
import { FIRST_SEQUENCED_OP, Op, PROTOCOL_VERSION } from '../protocol/messages.ts';
import { clipUtf8 } from '../protocol/utf8.ts';
import { EffectQueue } from './effects.ts';
import { errorMessage } from './frame-gate.ts';
import type { GuestConnectionEffects, GuestConnectionEvent } from './guest-connection-machine.ts';
import { guestConnectionMachine } from './guest-connection-machine.ts';
import { makeHello } from './hello.ts';
import type { Link, LinkEnd } from './link.ts';
import { judgeEnd, refusalText } from './link-end.ts';
import type { GuestSession } from './session.ts';
import { Session } from './session.ts';

export type GuestConnectionState =
  | 'idle'
  | 'connecting'
  | 'handshaking'
  | 'open'
  | 'waiting'
  | 'closing'
  | 'closed';

/** A final answer: dialling again would not help. */
export interface Refusal {
  /** The name in the close reason, when it is one of PROTOCOL_ERRORS. */
  readonly error: ProtocolErrorName | undefined;
  readonly code: number;
  /** A sentence for the user; the host may have written it, so quote it before it is logged. */
  readonly text: string;
}

export interface GuestConnectionHandlers {
  /**
   * A new session began: the first one, or one with a host that does not know the old one. What
   * was sent before is void; the device is to be initialised from its `device` message on.
   */
  onPowerOn(): void;
  /** The link is back, nothing was lost or repeated; the driver has nothing to do. */
  onResumed(): void;
  /**
   * Sequenced messages of the host, each once and in order. Bins are valid during the call. A
   * ProtocolError thrown here closes the connection with its name.
   */
  onMessage(message: HostToGuest): void;
  /** The link is lost; the next attempt starts in `retryMs`. */
  onLost(end: LinkEnd, retryMs: number): void;
  /** The connection ended for good and not by `close`; `onClosed` follows. */
  onRefused(refusal: Refusal): void;
  /** Called exactly once, when the connection will not be tried again and its link has ended. */
  onClosed(): void;
}

export interface GuestConnectionOptions {
  readonly clock: Clock;
  /** Jitter of the back-off. */
  readonly prng: Prng;
  /** Makes a link that is being opened; must not throw, failures end the link. */
  dial(): Link;
  readonly guestId: string;
  /** Grows with each start of this guest; at most 2^53 - 1. */
  readonly epoch: number;
  /** RAM regions as in the hello: pairs of le32 first PFN and le32 page count (writePairs). */
  readonly regions: Uint8Array;
  readonly handlers: GuestConnectionHandlers;
}

/** What a WebSocket that was cut ends with. */
const NO_CLOSE_CODE = 1006;

/**
 * The guest's end of the connection: dials, says hello, resumes its session or begins a new one,
 * waits longer after each failure, and stops when the answer is final. All calls of handlers
 * happen after the state has changed. Not done here: what messages mean; telling the balloon list
 * again to a new host is the driver's, on `onPowerOn`.
 */
export class GuestConnection {
  readonly #options: GuestConnectionOptions;
  readonly #effects = new EffectQueue();
  readonly #actor: ActorRefFrom<typeof guestConnectionMachine>;
  #link: Link | undefined;
  #session: GuestSession | undefined;
  /** The last error message of the current or last link: it says more than a close reason. */
  #hostSaid: ErrorMessage | undefined;
  /** Asked for by the owner; laid on each link once it is open, for a welcome must get through. */
  #paused = false;
  /** The host may have let this guest in over the current link, welcomed or not. */
  #mayBeIn = false;
  /** When a link ended that the host may still believe in: it did not close it itself. */
  #lastInMs = Number.NEGATIVE_INFINITY;

  constructor(options: GuestConnectionOptions) {
    assert(isGuestId(options.guestId), 'a guest connects with a valid id');
    assert(
      Number.isSafeInteger(options.epoch) && options.epoch >= 0,
      'a guest connects with a whole epoch',
    );
    this.#options = options;
    this.#actor = createActor(guestConnectionMachine, {
      input: this.#effectsOfMachine(),
      clock: this.#effects.clock(options.clock),
    });
    this.#actor.start();
  }

  get state(): GuestConnectionState {
    return this.#actor.getSnapshot().value;
  }

  /** Bytes that wait for the link; producers stop at OUTBOUND_SOFT_BYTES. */
  get bufferedBytes(): number {
    return this.#session?.bufferedBytes ?? 0;
  }

  start(): void {
    assert(this.state === 'idle', 'a connection is started once');
    this.#raise({ type: 'START' });
  }

  /** Sends, or keeps until the link is back. Allowed from the first onPowerOn on. */
  send(message: GuestToHost): void {
    assert(this.#session !== undefined, 'a guest sends once it was powered on');
    this.#session.send(message);
  }

  /** Says `bye` where there is a link, and ends for good; `onClosed` follows. */
  close(reason: string): void {
    this.#raise({ type: 'CLOSE', reason: clipUtf8(reason, MAX_TEXT_LENGTH) });
  }

  /** Stops and restarts delivery of the host's messages, over reconnects too. */
  pause(): void {
    this.#paused = true;
    if (this.state === 'open') this.#link?.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#link?.resume();
  }

  #raise(event: GuestConnectionEvent): void {
    if (this.state === 'closed') return;
    this.#actor.send(event);
    this.#effects.drain();
  }

  #effectsOfMachine(): GuestConnectionEffects {
    const { handlers, prng } = this.#options;
    const later = (effect: () => void): void => this.#effects.push(effect);
    return {
      dial: () => later(() => this.#dial()),
      sayHello: () => later(() => this.#sayHello()),
      announceOpen: (resumed) => later(() => this.#announceOpen(resumed)),
      announceLost: (end, retryMs) => later(() => handlers.onLost(end, retryMs)),
      announceRefused: (end) => later(() => handlers.onRefused(this.#refusalOf(end))),
      keepAlive: () => later(() => this.#session?.keepAlive()),
      cutLink: () => later(() => this.#dropLink()?.terminate()),
      sayBye: (reason) => later(() => this.#sayBye(reason)),
      announceClosed: () => later(() => handlers.onClosed()),
      unexpected: (type) => fail('a guest connection got an unexpected event', type),
      backOffMs: (failures) => {
        const fullMs = Math.min(RECONNECT_FIRST_MS * 2 ** (failures - 1), RECONNECT_MAX_MS);
        return fullMs / 2 + prng.below(fullMs / 2);
      },
    };
  }

  #dial(): void {
    const link = this.#options.dial();
    this.#link = link;
    this.#hostSaid = undefined;
    const current = (): boolean => this.#link === link;
    link.start({
      onOpen: () => {
        if (current()) this.#raise({ type: 'OPENED' });
      },
      onMessage: (message) => {
        if (current()) this.#take(link, message);
      },
      onDropped: (op) => {
        if (current() && op >= FIRST_SEQUENCED_OP) this.#session?.skip();
      },
      onEnd: (end) => {
        if (current()) this.#linkEnded(end);
      },
    });
  }

  #sayHello(): void {
    const session = this.#session;
    const resumable = session !== undefined && session.failed === undefined;
    const hello = makeHello({
      guestId: this.#options.guestId,
      epoch: this.#options.epoch,
      session: resumable ? session.name : '',
      received: resumable ? session.received : 0,
      regions: this.#options.regions,
    });
    this.#mayBeIn = true;
    this.#link?.send(hello);
  }

  /** Every message of the current link. ProtocolErrors are the host's fault: they close it. */
  #take(link: Link, message: Message): void {
    try {
      if (this.state === 'open') this.#takeOpen(message);
      else if (message[0] === Op.welcome) this.#takeWelcome(link, message);
      else if (message[0] === Op.error) this.#hostSaid = message;
      else throw new ProtocolError('bad-schema', 'a welcome comes first');
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
  }

  #takeOpen(message: Message): void {
    switch (message[0]) {
      case Op.ack:
        this.#session?.acknowledge(message[1]);
        break;
      case Op.error:
        this.#hostSaid = message;
        break;
      case Op.welcome:
        throw new ProtocolError('bad-schema', 'a second welcome');
      default:
        this.#session?.receive(message as HostToGuest);
    }
  }

  #takeWelcome(link: Link, welcome: Welcome): void {
    const [, version, name, resumed, received] = welcome;
    if (version !== PROTOCOL_VERSION) throw new ProtocolError('unsupported-version', `${version}`);
    if (resumed) {
      const session = this.#session;
      if (session === undefined || session.failed !== undefined || session.name !== name) {
        throw new ProtocolError('session-mismatch', 'the guest did not ask for this session');
      }
      session.attach(link, received);
    } else {
      this.#session?.abandon(new ProtocolError('session-mismatch', 'the host began another'));
      this.#session = this.#newSession(name);
      this.#session.attach(link, 0);
    }
    this.#raise({ type: 'WELCOMED', resumed });
  }

  #newSession(name: string): GuestSession {
    const session: GuestSession = new Session({
      clock: this.#options.clock,
      name,
      onMessage: (message) => this.#options.handlers.onMessage(message),
      onFailed: (error) => {
        if (this.#session === session) this.#fail(error);
      },
    });
    return session;
  }

  #announceOpen(resumed: boolean): void {
    if (resumed) this.#options.handlers.onResumed();
    else this.#options.handlers.onPowerOn();
    if (this.#paused && this.state === 'open') this.#link?.pause();
  }

  /** Ends the link because of `error`; whether it is tried again depends on the error. */
  #fail(error: ProtocolError): void {
    const link = this.#dropLink();
    if (link === undefined) return;
    link.send(errorMessage(error));
    link.close(error.close, error.code);
    this.#judge({ code: error.close, reason: error.code, byPeer: false });
  }

  #linkEnded(end: LinkEnd): void {
    if (end.byPeer && end.code !== NO_CLOSE_CODE) this.#mayBeIn = false;
    this.#dropLink();
    this.#judge(end);
  }

  #judge(end: LinkEnd): void {
    const verdict = this.#isOwnDuplicate(end) ? 'resume' : judgeEnd(end);
    const error = asProtocolError(end.reason) ?? 'session-mismatch';
    if (verdict === 'power-on') this.#session?.abandon(new ProtocolError(error));
    this.#raise({ type: verdict === 'final' ? 'REFUSED' : 'LOST', end });
  }

  /** The guest that the host takes for connected may be this one, until its pings are missed. */
  #isOwnDuplicate(end: LinkEnd): boolean {
    const sinceMs = this.#options.clock.now() - this.#lastInMs;
    return asProtocolError(end.reason) === 'duplicate-guest' && sinceMs <= DUPLICATE_RETRY_MS;
  }

  /** From here on the link is a stranger: its late events are ignored. */
  #dropLink(): Link | undefined {
    const link = this.#link;
    this.#link = undefined;
    if (this.#mayBeIn) this.#lastInMs = this.#options.clock.now();
    this.#mayBeIn = false;
    this.#session?.detach();
    return link;
  }

  #sayBye(reason: string): void {
    const session = this.#session;
    if (session?.attached) session.send([Op.bye, reason]);
    session?.detach();
    this.#link?.close(PROTOCOL_ERRORS['guest-gone'].close, 'guest-gone');
  }

  #refusalOf(end: LinkEnd): Refusal {
    const error = asProtocolError(end.reason);
    if (error === undefined) return { error, code: end.code, text: refusalText(end) };
    const said = this.#hostSaid;
    const text = said?.[2] === error ? said[3] : PROTOCOL_ERRORS[error].text;
    return { error, code: end.code, text };
  }
}
