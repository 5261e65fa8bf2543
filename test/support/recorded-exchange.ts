import type { DriverState, DriverVerb } from '../../guest/drivers/driver-core.ts';
import type { Guest } from '../../guest/guest.ts';
import { DEFAULT_PROPERTIES } from '../../host/device/offer.ts';
import { QEMU_POLICY } from '../../host/device/violations.ts';
import type { BalloonControl } from '../../host/vmm/machine.ts';
import type { Vm } from '../../host/vmm/vm.ts';
import { VirtualSession } from '../../lab/virtual-session.ts';
import { MIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { type GuestToHost, type Message, Op } from '../../shared/protocol/messages.ts';
import { MemoryKeeper } from './memory-keeper.ts';

export const RAM_BYTES = 64 * MIB;
/** What the script leaves in the balloon. */
export const LAST_PAGES = 8;
/** A guest that is away longer than this is given up. */
export const WINDOW_MS = 5000;
/** Memory that a process of the guest holds and reads again at the end. */
const HELD_MIB = 4;
/** Longer than a script takes, whatever goes wrong. */
const HELD_SECONDS = 400;
/** Long enough for a guest to come back and do what it has to, whatever goes wrong. */
const STEP_MS = 15_000;

/** Indices of the queues with the features that are offered. */
const QUEUE = { inflate: 0, deflate: 1, stats: 2 } as const;
type QueueName = keyof typeof QUEUE;

export interface ExchangeOptions {
  /** Links are cut at the frames with these numbers, which are lost. */
  readonly cuts?: Iterable<number>;
  /** Called when the frame with this number is sent; both directions and all links count. */
  readonly faults?: ReadonlyMap<number, (exchange: RecordedExchange) => void>;
}

/**
 * A whole host and a whole guest on virtual time that do everything a balloon does, recorded at
 * three places: what the device was told and said, what reached the guest. What the script does in
 * the middle of something it does when the device has got a certain buffer, not at a time: so it
 * does the same however long links are away.
 */
export class RecordedExchange {
  readonly session: VirtualSession;
  /** Each message as hexadecimal bytes, with what it passed: `<` to the device, `>` from it. */
  readonly atDevice: string[] = [];
  readonly atGuest: string[] = [];
  /** What the machine's controllers heard. */
  readonly events: string[] = [];
  /** Frames that were sent so far, lost ones included. */
  frames = 0;
  /** Frames lost at cuts. */
  lost = 0;
  /** No frame gets through. */
  down = false;
  readonly #cuts: ReadonlySet<number>;
  readonly #faults: ExchangeOptions['faults'];
  readonly #buffers: Record<QueueName, number> = { inflate: 0, deflate: 0, stats: 0 };
  #onBuffer: { queue: QueueName; count: number; action: () => void } | undefined;
  #guest: Guest;
  #epoch = 1;

  constructor({ cuts = [], faults }: ExchangeOptions = {}) {
    this.#cuts = new Set(cuts);
    this.#faults = faults;
    this.session = new VirtualSession({
      properties: DEFAULT_PROPERTIES,
      policy: QEMU_POLICY,
      resumeWindowMs: WINDOW_MS,
      keeper: new MemoryKeeper(),
      tap: () => this.#tap(),
      observer: {
        fromGuest: (message) => this.#seen(message),
        toGuest: (message) => this.atDevice.push(`> ${hex(message)}`),
      },
    });
    this.#guest = this.#newGuest();
  }

  get guest(): Guest {
    return this.#guest;
  }

  get vm(): Vm {
    return this.session.vm('vm0');
  }

  get balloon(): BalloonControl {
    const { balloon } = this.vm;
    if (balloon === undefined) throw new Error('the balloon is plugged');
    return balloon;
  }

  /**
   * Statistics, inflation with a pause in it, deflation with a new target in it, unbind, bind, and
   * compaction, which moves pages of the balloon.
   */
  run(): this {
    this.#guest.start();
    this.settle();
    this.vm.onEvent(({ event }) => this.events.push(event));
    this.#when('stats', 1, () => {
      this.balloon.pollingIntervalSeconds = 0;
    });
    this.balloon.pollingIntervalSeconds = 1;
    this.settle();
    this.#when('inflate', 2, () => this.vm.stop());
    this.setPages(600);
    this.settle();
    this.vm.cont();
    this.settle();
    this.#when('deflate', 1, () => this.setPages(500));
    this.setPages(300);
    this.settle();
    this.#verb('unbind', 'bound');
    this.settle();
    this.#verb('bind', 'unbound');
    this.settle();
    this.setPages(40);
    this.settle();
    // Finds little to move, but makes room: the next one moves every page of the balloon.
    this.#compact();
    this.setPages(200);
    this.settle();
    this.setPages(LAST_PAGES);
    this.settle();
    this.#compact();
    return this;
  }

  /** What is left in the end, in one value that two runs can be compared by. */
  outcome() {
    this.session.clock.advanceBy(HELD_SECONDS * 1000);
    const { vm, guest } = this;
    const pfns = [...(guest.kernel.balloon.book?.pfns() ?? [])];
    return {
      pfns,
      difference: vm.ledger.compareBalloon(pfns),
      numPages: guest.kernel.balloon.numPages,
      isolatedPages: guest.kernel.balloon.book?.isolatedPages,
      actualBytes: this.balloon.actualBytes,
      targetBytes: this.balloon.targetBytes,
      counters: vm.counters.snapshot(),
      driver: guest.kernel.core.state,
      buffersInFlight: guest.kernel.device.inFlight,
      canariesWrong: guest.kernel.processes.canariesWrong,
      processes: guest.kernel.processes.list().length,
      runState: vm.runState,
    };
  }

  setPages(ballooned: number): void {
    this.balloon.setTargetBytes(RAM_BYTES - ballooned * PAGE_SIZE);
  }

  settle(): void {
    this.session.clock.advanceBy(STEP_MS);
  }

  /** The guest's process is killed, and after `pauseMs` it is started again. */
  killGuest(pauseMs: number): void {
    this.session.kill('vm0');
    this.session.clock.setTimeout(() => {
      this.#guest = this.#newGuest();
      this.#guest.start();
    }, pauseMs);
  }

  /** For `forMs` nothing of the guest gets through, as if its process were stopped. */
  silenceGuest(forMs: number): void {
    this.down = true;
    this.session.cut('vm0');
    this.session.clock.setTimeout(() => {
      this.down = false;
    }, forMs);
  }

  #compact(): void {
    this.#guest.kernel.compactMemory();
    this.settle();
  }

  /** A guest that was started again meanwhile is not in the state the script expects. */
  #verb(verb: DriverVerb, expected: DriverState): void {
    if (this.#guest.kernel.core.state === expected) this.#guest.verb(verb);
  }

  #newGuest(): Guest {
    return this.session.guest({
      id: 'vm0',
      memoryBytes: RAM_BYTES,
      epoch: this.#epoch++,
      programs: [{ name: 'hog', mib: HELD_MIB, seconds: HELD_SECONDS }],
      interpose: (message, deliver) => {
        this.atGuest.push(hex(message));
        deliver(message);
      },
    });
  }

  /** Does `action` right after the device has handled the `count`th next buffer of a queue. */
  #when(queue: QueueName, count: number, action: () => void): void {
    this.#onBuffer = { queue, count: this.#buffers[queue] + count, action };
  }

  #seen(message: GuestToHost): void {
    this.atDevice.push(`< ${hex(message)}`);
    if (message[0] !== Op.avail) return;
    for (const queue of Object.keys(QUEUE) as QueueName[]) {
      if (QUEUE[queue] !== message[1]) continue;
      this.#buffers[queue]++;
      const { queue: awaited, count, action } = this.#onBuffer ?? {};
      if (action === undefined || awaited !== queue || count !== this.#buffers[queue]) continue;
      this.#onBuffer = undefined;
      this.session.clock.setTimeout(action, 0);
    }
  }

  #tap(): 'pass' | 'cut' {
    const frame = this.frames++;
    const fault = this.#faults?.get(frame);
    // In a turn of its own: a process dies between two messages, not in the middle of one.
    if (fault !== undefined) this.session.clock.setTimeout(() => fault(this), 0);
    if (!this.down && !this.#cuts.has(frame)) return 'pass';
    this.lost++;
    return 'cut';
  }
}

function hex(message: Message): string {
  return Buffer.from(encode(message)).toString('hex');
}
