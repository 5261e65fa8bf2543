import { QEMU_POLICY, STRICT_POLICY } from '../../host/device/violations.ts';
import { FRAME_STATE, type FrameState } from '../../host/ram/frame-lifecycle.ts';
import { Vmm } from '../../host/vmm/vmm.ts';
import { VirtualClock } from '../../shared/lib/clock.ts';
import type { Prng } from '../../shared/lib/prng.ts';
import { writePairs } from '../../shared/protocol/bodies.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { FIRST_SEQUENCED_OP, type Message, Op } from '../../shared/protocol/messages.ts';
import { makeHello } from '../../shared/transport/hello.ts';
import { HostAcceptor } from '../../shared/transport/host-acceptor.ts';
import type { Link } from '../../shared/transport/link.ts';
import { memoryLinkPair } from '../../shared/transport/memory-link.ts';
import { transportCounters } from '../../shared/transport/transport-counters.ts';
import { type FrameSource, MANNERS, type Manner } from './fuzz-frames.ts';

const MAX_GUESTS = 48;
const CONNECTIONS = 4;
const LIVES_KEPT = 8;
const VERIFY_EVERY = 2_000;
const FRAME_STATES = Object.keys(FRAME_STATE) as FrameState[];
/** Guest RAM of 64 MiB, in one region and in two. */
const REGIONS = [
  writePairs([{ start: 0, count: 16_384 }]),
  writePairs([
    { start: 0, count: 8_192 },
    { start: 0x100000, count: 8_192 },
  ]),
];
const PROPERTIES = {
  'deflate-on-oom': true,
  'free-page-hint': true,
  'free-page-reporting': true,
  'page-poison': true,
  'qemu-4-0-config-size': false,
};

/** What a guest knows of itself over its links, and must tell right to be believed. */
interface Life {
  readonly guestId: string;
  readonly epoch: number;
  session: string;
  received: number;
}

interface Attack {
  readonly link: Link;
  readonly manner: Manner;
  readonly life: Life;
  ended: boolean;
}

/**
 * A host that lives through the whole run: acceptor, sessions, machines and devices behind
 * in-memory links on virtual time, with hostile guests on several of them at once and an operator
 * who does what operators do.
 */
export class HostTarget {
  readonly counters = transportCounters();
  framesIn = 0;
  readonly #clock = new VirtualClock();
  readonly #prng: Prng;
  readonly #source: FrameSource;
  readonly #vmm: Vmm;
  readonly #acceptor: HostAcceptor;
  readonly #attacks: Attack[] = [];
  /** Guests that were let in last; one of them may come again. */
  readonly #lives: Life[] = [];
  #epoch = 1;
  #sessions = 0;

  constructor(source: FrameSource, prng: Prng) {
    this.#prng = prng;
    this.#source = source;
    this.#vmm = new Vmm({
      clock: this.#clock,
      // Half of the machines refuse what the other half tolerates.
      deviceFor: (id) => ({
        qomId: 'balloon0',
        properties: PROPERTIES,
        policy: id.length % 2 === 0 ? QEMU_POLICY : STRICT_POLICY,
        hotplug: id.endsWith('1') ? 'acpi' : undefined,
      }),
      newSessionName: () => `session ${++this.#sessions}`,
      maxGuests: MAX_GUESTS,
    });
    const { counters } = this;
    this.#acceptor = new HostAcceptor({ clock: this.#clock, owner: this.#vmm, counters });
  }

  /** Sends one frame over one of the links; time passes now and then. */
  step(): void {
    const slot = this.#prng.below(CONNECTIONS);
    let attack = this.#attacks[slot];
    if (attack === undefined || attack.ended) {
      attack = this.#begin();
      this.#attacks[slot] = attack;
    } else {
      attack.link.sendFrame(this.#frameOf(attack));
    }
    this.framesIn++;
    const percent = this.#prng.below(100);
    if (percent < 2) this.#operate();
    this.#clock.advanceBy(percent < 90 ? 0 : [1, 50, 1_000, 12_000][percent % 4]);
    if (this.#prng.below(400) === 0) attack.link.terminate();
    if (this.framesIn % VERIFY_EVERY === 0) this.#verify();
  }

  /** Whatever guests said, each frame of a ledger is in one state. */
  #verify(): void {
    for (const { id, ledger } of this.#vmm.vms.values()) {
      const sum = FRAME_STATES.reduce((total, state) => total + ledger.count(state), 0);
      if (sum !== ledger.pageCount) throw new Error(`the ledger of ${id} has ${sum} frames`);
    }
  }

  /** What went wrong for the guests, by name. */
  get refusals(): readonly string[] {
    const { vmm, counters } = { vmm: this.#vmm.counters.snapshot(), counters: this.counters };
    const names = Object.entries({ ...vmm, ...counters.snapshot() });
    return names.filter(([, count]) => count > 0).map(([name, count]) => `${name} ${count}`);
  }

  #begin(): Attack {
    const [link, hostSide] = memoryLinkPair(this.#clock, { hostCounters: this.counters });
    const manner = this.#source.begin();
    const attack: Attack = { link, manner, life: this.#newLife(), ended: false };
    this.#acceptor.accept(hostSide);
    link.start({
      onMessage: (message) => this.#hear(attack, message),
      onEnd: () => {
        attack.ended = true;
      },
    });
    const isRude = manner === 'rude' && this.#prng.below(2) === 0;
    link.sendFrame(isRude ? this.#source.next('rude') : this.#hello(attack.life));
    return attack;
  }

  #newLife(): Life {
    const prng = this.#prng;
    const known = this.#lives[prng.below(2 * LIVES_KEPT)];
    if (known !== undefined) return known;
    const guestId = `guest-${prng.below(MAX_GUESTS + 4)}`;
    return { guestId, epoch: ++this.#epoch, session: '', received: 0 };
  }

  /** Now and then with a count that cannot be. */
  #hello({ guestId, epoch, session, received }: Life): Uint8Array {
    const prng = this.#prng;
    return encode(
      makeHello({
        guestId,
        epoch,
        session,
        received: prng.below(8) === 0 ? prng.below(300) : received,
        regions: REGIONS[prng.below(REGIONS.length)],
      }),
    );
  }

  #hear(attack: Attack, message: Message): void {
    const { life } = attack;
    if (message[0] >= FIRST_SEQUENCED_OP) life.received++;
    if (message[0] !== Op.welcome || life.session === message[2]) return;
    life.session = message[2];
    life.received = 0;
    this.#lives.unshift(life);
    this.#lives.length = Math.min(this.#lives.length, LIVES_KEPT);
  }

  /** Who is not rude acknowledges what it got: else no session would live for long. */
  #frameOf(attack: Attack): Uint8Array {
    if (attack.manner !== MANNERS[3] && this.#prng.below(10) === 0) {
      return encode([Op.ack, attack.life.received]);
    }
    return this.#source.next(attack.manner);
  }

  #operate(): void {
    const ids = [...this.#vmm.vms.keys()];
    const id = ids[this.#prng.below(ids.length)];
    if (id === undefined) return;
    const vm = this.#vmm.vm(id);
    const { balloon, slot } = vm;
    switch (this.#prng.below(9)) {
      case 0:
        vm.stop();
        break;
      case 1:
      case 2:
        vm.cont();
        break;
      case 3:
        vm.cutLink();
        break;
      case 4:
        if (slot?.state === 'plugged') slot.requestUnplug();
        break;
      case 5:
        if (slot?.state === 'empty') {
          const typename = 'virtio-balloon-pci';
          slot.plug({ id: 'b', typename, properties: PROPERTIES, pollingIntervalSeconds: 1 });
        }
        break;
      case 6:
        if (this.#prng.below(8) === 0) vm.quit();
        break;
      case 7:
        if (balloon !== undefined) balloon.pollingIntervalSeconds = this.#prng.below(3);
        break;
      default:
        balloon?.setTargetBytes((1 + this.#prng.below(64)) * 2 ** 20);
    }
  }
}
