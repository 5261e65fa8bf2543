import type { Clock } from '../../../shared/lib/clock.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import type { Counters } from '../../../shared/lib/counters.ts';
import { Prng } from '../../../shared/lib/prng.ts';
import { writePairs } from '../../../shared/protocol/bodies.ts';
import { encode } from '../../../shared/protocol/codec.ts';
import type { GuestToHost, HostToGuest, Message } from '../../../shared/protocol/messages.ts';
import { decideAdmission } from '../../../shared/transport/admission.ts';
import type { Refusal } from '../../../shared/transport/guest-connection.ts';
import { GuestConnection } from '../../../shared/transport/guest-connection.ts';
import type { GuestHello } from '../../../shared/transport/hello.ts';
import type {
  Admission,
  GuestOwner,
  HostConnection,
} from '../../../shared/transport/host-acceptor.ts';
import { HostAcceptor } from '../../../shared/transport/host-acceptor.ts';
import type { Link, LinkEnd } from '../../../shared/transport/link.ts';
import type { Direction, TapVerdict } from '../../../shared/transport/memory-link.ts';
import { memoryLinkPair } from '../../../shared/transport/memory-link.ts';
import type { HostSession } from '../../../shared/transport/session.ts';
import { Session } from '../../../shared/transport/session.ts';
import type { TransportCounter } from '../../../shared/transport/transport-counters.ts';
import { transportCounters } from '../../../shared/transport/transport-counters.ts';

/** 256 MiB in one region. */
export const REGIONS = writePairs([{ start: 0, count: 65_536 }]);

/** A message as text that outlives the call it was handed over in. */
export const spell = (message: Message): string => Buffer.from(encode(message)).toString('hex');

interface KnownByTest {
  epoch: number;
  session: HostSession | undefined;
  connection: HostConnection | undefined;
}

/** The smallest owner of guests: admits by the table and records what it is told. */
export class TestOwner implements GuestOwner {
  readonly known = new Map<string, KnownByTest>();
  readonly events: string[] = [];
  /** Messages of all guests, spelt, in the order handed over. */
  readonly received: string[] = [];
  onMessage: (message: GuestToHost, session: HostSession) => void = () => {};
  readonly #clock: Clock;
  #sessions = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  admit(hello: GuestHello): Admission {
    const known = this.known.get(hello.guestId);
    const decision = decideAdmission(
      known && {
        epoch: known.epoch,
        session: known.session?.name,
        heard: known.session?.heard === true,
        connected: known.connection !== undefined,
      },
      hello,
    );
    if (decision.action === 'refuse') return { kind: 'refuse', error: decision.error };
    if (decision.replacesLink) known?.connection?.close('replaced');
    if (decision.action === 'resume' && known?.session !== undefined) {
      return { kind: 'resume', session: known.session };
    }
    const session = this.#newSession(`s${++this.#sessions}`);
    this.known.set(hello.guestId, { epoch: hello.epoch, session, connection: undefined });
    return { kind: 'power-on', session };
  }

  onOpen(connection: HostConnection, kind: 'power-on' | 'resume'): void {
    const { guestId } = connection.hello;
    this.events.push(`${kind} ${guestId} ${connection.session.name}`);
    const known = this.known.get(guestId);
    if (known !== undefined) known.connection = connection;
  }

  onEnd(connection: HostConnection, end: LinkEnd): void {
    const { guestId } = connection.hello;
    this.events.push(`end ${guestId} ${end.code} ${end.reason}`);
    const known = this.known.get(guestId);
    if (known?.connection === connection) known.connection = undefined;
  }

  session(guestId: string): HostSession {
    const session = this.known.get(guestId)?.session;
    if (session === undefined) throw new Error(`no session of ${guestId}`);
    return session;
  }

  connection(guestId: string): HostConnection {
    const connection = this.known.get(guestId)?.connection;
    if (connection === undefined) throw new Error(`no connection of ${guestId}`);
    return connection;
  }

  #newSession(name: string): HostSession {
    const session: HostSession = new Session({
      clock: this.#clock,
      name,
      onMessage: (message) => {
        this.received.push(spell(message));
        this.onMessage(message, session);
      },
      onFailed: (error) => this.events.push(`failed ${name} ${error.code}`),
    });
    return session;
  }
}

/** A guest that records what it is told. */
export class TestGuest {
  readonly connection: GuestConnection;
  readonly events: string[] = [];
  readonly received: string[] = [];
  readonly refusals: Refusal[] = [];
  onMessage: (message: HostToGuest) => void = () => {};

  constructor(world: TestWorld, options: { guestId?: string; epoch?: number; dial?(): Link } = {}) {
    const { guestId = 'vm', epoch = 1, dial = () => world.dial() } = options;
    this.connection = new GuestConnection({
      clock: world.clock,
      prng: new Prng(1),
      dial,
      guestId,
      epoch,
      regions: REGIONS,
      handlers: {
        onPowerOn: () => this.events.push('power-on'),
        onResumed: () => this.events.push('resumed'),
        onMessage: (message) => {
          this.received.push(spell(message));
          this.onMessage(message);
        },
        onLost: (end) => this.events.push(`lost ${end.reason}`),
        onRefused: (refusal) => {
          this.refusals.push(refusal);
          this.events.push(`refused ${refusal.error ?? refusal.text}`);
        },
        onClosed: () => this.events.push('closed'),
      },
    });
  }
}

/** One host, any number of guests, in-memory links, virtual time. */
export class TestWorld {
  readonly clock = new VirtualClock();
  readonly owner = new TestOwner(this.clock);
  readonly hostCounters: Counters<TransportCounter> = transportCounters();
  readonly guestCounters: Counters<TransportCounter> = transportCounters();
  readonly acceptor = new HostAcceptor({
    clock: this.clock,
    owner: this.owner,
    counters: this.hostCounters,
  });
  /** The guest's ends of all links dialled so far. */
  readonly links: Link[] = [];
  tap: (direction: Direction, message: Message) => TapVerdict = () => 'pass';

  /** A link to the host, as a guest's dial makes it. */
  dial(): Link {
    const [guestSide, hostSide] = this.pair();
    this.acceptor.accept(hostSide);
    return guestSide;
  }

  pair(): [guestSide: Link, hostSide: Link] {
    const pair = memoryLinkPair(this.clock, {
      tap: (direction, message) => this.tap(direction, message),
      guestCounters: this.guestCounters,
      hostCounters: this.hostCounters,
    });
    this.links.push(pair[0]);
    return pair;
  }
}
