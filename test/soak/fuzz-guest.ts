import { Guest } from '../../guest/guest.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import { SILENT } from '../../shared/lib/log.ts';
import type { Prng } from '../../shared/lib/prng.ts';
import { MIB } from '../../shared/lib/units.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { FIRST_SEQUENCED_OP, type Message, Op } from '../../shared/protocol/messages.ts';
import type { Link } from '../../shared/transport/link.ts';
import { memoryLinkPair } from '../../shared/transport/memory-link.ts';
import { transportCounters } from '../../shared/transport/transport-counters.ts';
import type { FrameSource, Manner } from './fuzz-frames.ts';

const GUEST_BYTES = 64 * MIB;
/** Of so many guests one is looked at when it has ended. */
const VERIFY_EVERY = 20;

/** One guest and the hostile host it talks to, on a clock of their own. */
interface Life {
  readonly clock: VirtualClock;
  readonly guest: Guest;
  link: Link | undefined;
  manner: Manner;
  greeted: boolean;
  received: number;
}

/**
 * Guests behind in-memory links on virtual time, one after the other: connection, session, driver,
 * memory and a workload, with hosts that say anything. A guest that has had enough ends, and
 * another one boots.
 */
export class GuestTarget {
  readonly counters = transportCounters();
  framesIn = 0;
  guests = 0;
  readonly #prng: Prng;
  readonly #source: FrameSource;
  #life: Life | undefined;

  constructor(source: FrameSource, prng: Prng) {
    this.#prng = prng;
    this.#source = source;
  }

  /** Sends one frame to the guest that lives; time passes now and then. */
  step(): void {
    const life = this.#living();
    const { link, clock } = life;
    if (link === undefined) {
      // It waits before it dials again.
      clock.advanceBy(1_000);
      return;
    }
    link.sendFrame(this.#frameOf(life));
    this.framesIn++;
    const percent = this.#prng.below(100);
    if (percent < 1) this.#operate(life.guest);
    clock.advanceBy(percent < 90 ? 0 : [1, 50, 500, 6_000][percent % 4]);
    if (this.#prng.below(400) === 0) link.terminate();
  }

  /** What was wrong with the hosts, by name. */
  get refusals(): readonly string[] {
    const counted = Object.entries(this.counters.snapshot());
    return counted.filter(([, count]) => count > 0).map(([name, count]) => `${name} ${count}`);
  }

  #living(): Life {
    const { connectionState = 'closed' } = this.#life?.guest ?? {};
    if (this.#life !== undefined && connectionState !== 'closed') return this.#life;
    if (this.guests % VERIFY_EVERY === 0) this.#verify();
    this.#life = this.#boot();
    return this.#life;
  }

  /** Whatever a host said, the guest's memory holds together. */
  #verify(): void {
    const wrong = this.#life?.guest.kernel.memory.verify() ?? [];
    if (wrong.length > 0) throw new Error(`the guest's memory is wrong: ${wrong.join('; ')}`);
  }

  #boot(): Life {
    const clock = new VirtualClock();
    const isBusy = this.#prng.below(4) === 0;
    const life: Life = {
      clock,
      guest: new Guest({
        id: 'vm0',
        memoryBytes: GUEST_BYTES,
        epoch: ++this.guests,
        clock,
        seed: this.guests,
        linux: this.#prng.below(2) === 0 ? '6.1' : '6.12',
        programs: isBusy ? [{ name: 'daemon', mib: 4, periodMs: 500 }] : [],
        log: SILENT,
        dial: () => this.#dial(life),
      }),
      link: undefined,
      manner: 'honest',
      greeted: false,
      received: 0,
    };
    life.guest.start();
    clock.advanceBy(0);
    return life;
  }

  #dial(life: Life): Link {
    const [guestSide, hostSide] = memoryLinkPair(life.clock, { guestCounters: this.counters });
    life.link = hostSide;
    life.manner = this.#source.begin();
    life.greeted = false;
    hostSide.start({
      onMessage: (message) => this.#hear(life, message),
      onEnd: () => {
        if (life.link === hostSide) life.link = undefined;
      },
    });
    return guestSide;
  }

  #hear(life: Life, message: Message): void {
    if (message[0] >= FIRST_SEQUENCED_OP) life.received++;
  }

  /** A host that does not welcome its guest is done with it soon. */
  #frameOf(life: Life): Uint8Array {
    const prng = this.#prng;
    if (!life.greeted && (life.manner !== 'rude' || prng.below(4) > 0)) {
      life.greeted = true;
      life.received = 0;
      return encode([Op.welcome, 1, `session ${this.guests}`, prng.below(8) === 0, 0]);
    }
    if (life.manner !== 'rude' && prng.below(10) === 0) return encode([Op.ack, life.received]);
    return this.#source.next(life.manner);
  }

  #operate(guest: Guest): void {
    const verbs = ['unbind', 'bind', 'suspend', 'resume', 'rmmod', 'insmod'] as const;
    try {
      guest.verb(verbs[this.#prng.below(verbs.length)]);
    } catch (error) {
      // Not every verb is possible in every state of the driver.
      if (!(error instanceof Error) || error.name !== 'DriverError') throw error;
    }
  }
}
