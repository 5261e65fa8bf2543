import { setup } from 'xstate';
import { assert } from '../lib/assert.ts';
import type { Clock } from '../lib/clock.ts';
import type { Counters } from '../lib/counters.ts';
import type { PeerLogs } from '../lib/peer-log.ts';
import { compileTimed, TimedActor, type TimedEffects } from '../lifecycle/timed.ts';
import { HELLO_TIMEOUT_MS } from '../limits.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';
import { ProtocolError } from '../protocol/errors.ts';
import type { ErrorMessage, GuestToHost, Hello, Message } from '../protocol/messages.ts';
import { FIRST_SEQUENCED_OP, Op, PROTOCOL_VERSION } from '../protocol/messages.ts';
import { errorMessage } from './frame-gate.ts';
import type { GuestHello } from './hello.ts';
import { parseHello } from './hello.ts';
import type { Link, LinkEnd } from './link.ts';
import type { HostSession } from './session.ts';
import type { TransportCounter } from './transport-counters.ts';

/**
 * The host's end of connections: each new link must say hello in time, is checked, admitted or
 * refused by the owner of the guests, welcomed, and then feeds its session until it ends. Not done
 * here: who may come in (admission.ts), which guests there are, and how long a session outlives
 * its link (host/vmm).
 */

/** The owner's answer to a hello. */
export type Admission =
  /** `session` is new and unattached; the owner sends `device` on it from `onOpen` on. */
  | { readonly kind: 'power-on'; readonly session: HostSession }
  /** `session` is the known one, already detached from any older link. */
  | { readonly kind: 'resume'; readonly session: HostSession }
  | { readonly kind: 'refuse'; readonly error: ProtocolErrorName; readonly detail?: string };

/** The set of guests, host/vmm. */
export interface GuestOwner {
  /**
   * Decides over a hello with `decideAdmission` and carries the decision out: looks up or makes
   * the session, closes the older connection with `close('replaced')` (its `onEnd` is called
   * before that returns), resets a device on a power-on. A resume may still fail afterwards with
   * `session-mismatch`, then `onOpen` does not follow.
   */
  admit(hello: GuestHello): Admission;
  /** The welcome is sent and the session attached: `connection` is the guest's link from now on. */
  onOpen(connection: HostConnection, kind: 'power-on' | 'resume'): void;
  /** An opened connection ended, its session is detached. */
  onEnd(connection: HostConnection, end: LinkEnd): void;
}

export interface HostAcceptorOptions {
  readonly clock: Clock;
  readonly owner: GuestOwner;
  readonly counters: Counters<TransportCounter>;
  /** Gets what guests say is wrong. */
  readonly logs?: PeerLogs;
}

type HostConnectionEvent =
  | { readonly type: 'ADMITTED' }
  | { readonly type: 'ENDED'; readonly end: LinkEnd };
type HostConnectionState = 'awaiting_hello' | 'open' | 'closed';
type HostConnectionAction = 'refuseSilence' | 'announceEnd' | 'forget';

/** One link at the host, from the upgrade to its end. */
export const hostConnectionMachine = setup({
  types: { events: {} as HostConnectionEvent },
  delays: { hello: HELLO_TIMEOUT_MS },
  actions: { refuseSilence: () => {}, announceEnd: () => {}, forget: () => {} },
}).createMachine({
  id: 'host_connection',
  initial: 'awaiting_hello',
  states: {
    awaiting_hello: {
      after: { hello: { target: 'closed', actions: 'refuseSilence' } },
      on: { ADMITTED: 'open', ENDED: 'closed' },
    },
    open: { on: { ENDED: { target: 'closed', actions: 'announceEnd' } } },
    closed: { type: 'final', entry: 'forget' },
  },
});

const COMPILED = compileTimed(hostConnectionMachine);

/** What the connections of one acceptor share. */
interface HostConnectionParts extends HostAcceptorOptions {
  readonly connections: Set<HostConnection>;
}

/** One guest's link at the host. The owner sees it from `onOpen` to `onEnd`. */
export class HostConnection {
  readonly #link: Link;
  readonly #parts: HostConnectionParts;
  readonly #actor: TimedActor<
    HostConnectionState,
    HostConnectionEvent,
    HostConnectionAction,
    HostConnection
  >;
  #admitted: { readonly hello: GuestHello; readonly session: HostSession } | undefined;

  static readonly #EFFECTS: TimedEffects<
    HostConnectionAction,
    HostConnection,
    HostConnectionEvent
  > = {
    refuseSilence: (connection) => connection.#sayAndClose(new ProtocolError('HELLO_TIMEOUT_MS')),
    announceEnd: (connection, event) => {
      if (event.type === 'ENDED') connection.#announceEnd(event.end);
    },
    forget: (connection) => connection.#parts.connections.delete(connection),
  };

  constructor(link: Link, parts: HostConnectionParts) {
    this.#link = link;
    this.#parts = parts;
    this.#actor = new TimedActor(
      COMPILED,
      HostConnection.#EFFECTS,
      parts.clock,
      this as HostConnection,
    );
    link.start({
      onMessage: (message) => this.#take(message),
      onDropped: (op) => this.#skip(op),
      onEnd: (end) => this.#ended(end),
    });
  }

  get state(): HostConnectionState {
    return this.#actor.state;
  }

  /** The admitted hello. */
  get hello(): GuestHello {
    assert(this.#admitted !== undefined, 'a connection has a hello once it was admitted');
    return this.#admitted.hello;
  }

  /** The session this link serves. */
  get session(): HostSession {
    assert(this.#admitted !== undefined, 'a connection has a session once it was admitted');
    return this.#admitted.session;
  }

  get bufferedBytes(): number {
    return this.#link.bufferedBytes;
  }

  /**
   * Sends an error message and closes with that error's code and name. The owner's `onEnd` is
   * called before this returns; messages that come in later are not counted as received.
   */
  close(code: ProtocolErrorName, detail = ''): void {
    if (this.state === 'closed') return;
    const error = new ProtocolError(code, detail);
    this.#sayAndClose(error);
    this.#ended({ code: error.close, reason: code, byPeer: false });
  }

  /** Cuts the link; `onEnd` is called before this returns. */
  terminate(): void {
    if (this.state === 'closed') return;
    this.#link.terminate();
    this.#ended({ code: 1006, reason: 'terminated', byPeer: false });
  }

  /** Stops and restarts delivery of the guest's messages. */
  pause(): void {
    this.#link.pause();
  }

  resume(): void {
    this.#link.resume();
  }

  /** Every message of the link. ProtocolErrors of checks and of the device close it. */
  #take(message: Message): void {
    try {
      if (this.state === 'open') this.#takeOpen(message);
      else if (this.state === 'awaiting_hello') this.#takeFirst(message);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.close(error.code, error.detail);
    }
  }

  #takeOpen(message: Message): void {
    const session = this.#admitted?.session;
    if (message[0] >= FIRST_SEQUENCED_OP) session?.receive(message as GuestToHost);
    else if (message[0] === Op.ack) session?.acknowledge(message[1]);
    else if (message[0] === Op.hello) throw new ProtocolError('bad-hello', 'a second hello');
    else if (message[0] === Op.error) this.#logError(message);
  }

  #logError([, code, name, text]: ErrorMessage): void {
    const guest = this.hello.guestId;
    this.#parts.logs?.of(guest).info({ guest, code, name, text }, 'the guest reports an error');
  }

  #takeFirst(message: Message): void {
    if (message[0] === Op.hello) this.#admit(message);
    else if (message[0] !== Op.error) throw new ProtocolError('bad-hello', `op ${message[0]}`);
  }

  #skip(op: number): void {
    if (this.state === 'awaiting_hello') {
      this.close('bad-hello');
    } else if (op >= FIRST_SEQUENCED_OP) this.#admitted?.session.skip();
  }

  #admit(message: Hello): void {
    const { owner, counters } = this.#parts;
    const hello = parseHello(message);
    const admission = owner.admit(hello);
    if (admission.kind === 'refuse') throw new ProtocolError(admission.error, admission.detail);
    const { kind, session } = admission;
    const resumed = kind === 'resume';
    const received = resumed ? hello.received : 0;
    if (resumed) session.check(received);
    this.#link.send([Op.welcome, PROTOCOL_VERSION, session.name, resumed, session.received]);
    session.attach(this.#link, received);
    this.#admitted = { hello, session };
    counters.add(resumed ? 'sessions_resumed' : 'sessions_started');
    this.#raise({ type: 'ADMITTED' });
    owner.onOpen(this, kind);
  }

  #ended(end: LinkEnd): void {
    this.#raise({ type: 'ENDED', end });
  }

  #raise(event: HostConnectionEvent): void {
    if (this.state === 'closed') return;
    this.#actor.send(event);
  }

  #sayAndClose(error: ProtocolError): void {
    this.#parts.counters.add(error.code);
    this.#link.send(errorMessage(error));
    this.#link.close(error.close, error.code);
  }

  #announceEnd(end: LinkEnd): void {
    this.#admitted?.session.detach();
    this.#parts.owner.onEnd(this, end);
  }
}

/** Takes new links and hands those with a valid hello to the owner. */
export class HostAcceptor {
  readonly #parts: HostConnectionParts;

  constructor(options: HostAcceptorOptions) {
    this.#parts = { ...options, connections: new Set() };
  }

  /** Links of which no hello was admitted yet. */
  get pendingCount(): number {
    let count = 0;
    for (const { state } of this.#parts.connections) if (state === 'awaiting_hello') count++;
    return count;
  }

  /** Starts a link that was just accepted. */
  accept(link: Link): void {
    this.#parts.connections.add(new HostConnection(link, this.#parts));
  }

  /** Closes all links, pending ones included. */
  close(error: ProtocolErrorName): void {
    for (const connection of [...this.#parts.connections]) connection.close(error);
  }
}
