import { createActor, setup } from 'xstate';
import type { Clock } from '../shared/lib/clock.ts';
import type { Log } from '../shared/lib/log.ts';
import { PausableClock } from '../shared/lib/pausable-clock.ts';
import { Prng } from '../shared/lib/prng.ts';
import { writePairs } from '../shared/protocol/bodies.ts';
import { type HostToGuest, Op } from '../shared/protocol/messages.ts';
import { GuestConnection, type Refusal } from '../shared/transport/guest-connection.ts';
import type { Link, LinkEnd } from '../shared/transport/link.ts';
import type { LinuxVersion } from './drivers/balloon-stats.ts';
import type { DriverVerb } from './drivers/driver-core.ts';
import { type FurtherBalloon, FurtherConnection } from './further-connection.ts';
import type { GuestBalloon } from './guest-balloon.ts';
import { Kernel, type SpaceTuning } from './kernel.ts';
import type { BalloonCompaction } from './mm/balloon/compaction-mode.ts';
import type { FreeListDump } from './mm/page/image.ts';
import type { RecordedFrames } from './mm/page/page-dump.ts';
import { join, type Task } from './sched/scheduler.ts';
import type { KmemEvent } from './workload/kmem-trace.ts';
import type { Program } from './workload/programs.ts';
import type { TraceReport } from './workload/trace-program.ts';

/** Power of the virtual machine as its guest feels it. */
export const powerMachine = setup({
  types: { events: {} as { type: 'powerOn' | 'pause' | 'run' | 'end' } },
}).createMachine({
  id: 'guest power',
  initial: 'waitingForHost',
  states: {
    waitingForHost: { on: { powerOn: 'running', end: 'off' } },
    running: { on: { powerOn: 'running', pause: 'paused', end: 'off' } },
    paused: { on: { powerOn: 'running', run: 'running', end: 'off' } },
    off: { type: 'final' },
  },
});
export type PowerState = 'waitingForHost' | 'running' | 'paused' | 'off';

/** How a guest came to its end. */
export interface GuestEnd {
  /** `host` powered it off, `guest` shut itself down, `refused` was never let in. */
  readonly by: 'host' | 'guest' | 'refused';
  readonly reason: string;
}

export interface GuestOptions {
  readonly id: string;
  readonly memoryBytes: number;
  /** Grows with each start of a guest of this id: the wall clock's microseconds will do. */
  readonly epoch: number;
  readonly clock: Clock;
  readonly seed: number;
  readonly linux: LinuxVersion;
  /** page_poison=1: free pages hold a pattern, and the host is told of it where it can be. */
  readonly pagePoison?: boolean | undefined;
  /** How pages of the balloon are moved, if at all; see KernelOptions. */
  readonly balloonCompaction?: BalloonCompaction | undefined;
  /** Left out: as the kernel would by itself. */
  readonly spaces?: SpaceTuning;
  /** Size of the swap device; there is none if left out. */
  readonly swapBytes?: number | undefined;
  /** `off`: requests come from a trace; see KernelOptions. */
  readonly reclaim?: 'off';
  /** A recorded free-list dump to boot from instead of a fresh layout. */
  readonly image?: FreeListDump | undefined;
  /** Requests recorded after the image, played from power-on; see TraceProgram. */
  readonly kmemTrace?: readonly KmemEvent[] | undefined;
  /** Told when all of them have been played. */
  readonly onTracePlayed?: (report: TraceReport) => void;
  /** The dump is of a recorded guest that goes on; see KernelOptions. */
  readonly recordedFrames?: RecordedFrames;
  /** Programs started at every power-on. */
  readonly programs: readonly Program[];
  readonly log: Log;
  /** Opens a link to the host; called again after each loss. */
  dial(): Link;
  /**
   * Stands between the session and the guest: may deliver a message later than it came, as an
   * interrupt that is late. Verification holds acknowledgements back with it.
   */
  readonly interpose?: (message: HostToGuest, deliver: (message: HostToGuest) => void) => void;
  /** Devices beside the first, each with a host of its own; plugged in once the guest runs. */
  readonly balloons?: readonly FurtherBalloon[];
  /** Link state changes, for progress and logs. */
  readonly onLink?: (state: 'open' | 'resumed' | 'lost', end?: LinkEnd) => void;
}

/**
 * One guest: a kernel behind a connection. Hypervisor verbs reach it as messages: a paused guest
 * runs no task, and its clock stands still. Further balloon devices have connections of their own
 * (FurtherConnection); what their hosts send to a paused guest it acts on when it runs again.
 */
export class Guest {
  readonly id: string;
  readonly ended: Promise<GuestEnd>;
  readonly #options: GuestOptions;
  readonly #clock: PausableClock;
  readonly #connection: GuestConnection;
  readonly #further: readonly FurtherConnection[];
  readonly #power = createActor(powerMachine).start();
  readonly #kernel: Kernel;
  #resolveEnded: (end: GuestEnd) => void = () => {};
  #end: GuestEnd | undefined;

  constructor(options: GuestOptions) {
    this.id = options.id;
    this.#options = options;
    this.#clock = new PausableClock(options.clock);
    this.#kernel = this.#newKernel();
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const regions = writePairs(this.#kernel.regions);
    this.#further = (options.balloons ?? []).map((further, index) => {
      return this.#newFurther(further, this.#kernel.balloons.list[index + 1], regions);
    });
    this.#connection = new GuestConnection({
      clock: options.clock,
      prng: new Prng(options.seed).fork('reconnect'),
      dial: () => options.dial(),
      guestId: options.id,
      epoch: options.epoch,
      regions,
      handlers: {
        onPowerOn: () => this.#onPowerOn(),
        onResumed: () => options.onLink?.('resumed'),
        onMessage: (message) => this.#receive(message),
        onLost: (end) => options.onLink?.('lost', end),
        onRefused: (refusal) => this.#onRefused(refusal),
        onClosed: () => this.#onClosed(),
      },
    });
  }

  get kernel(): Kernel {
    return this.#kernel;
  }

  get power(): PowerState {
    return this.#power.getSnapshot().value as PowerState;
  }

  get connectionState(): string {
    return this.#connection.state;
  }

  /** State of the connection of each balloon device, the first one's first. */
  get connectionStates(): readonly string[] {
    return [this.#connection, ...this.#further].map(({ state }) => state);
  }

  start(): void {
    this.#connection.start();
  }

  /** Shuts the guest down by its own will: the host is told, then the connection ends. */
  shutdown(reason: string): void {
    this.#finish({ by: 'guest', reason });
    this.#connection.close(reason);
  }

  /** An operator's action inside the guest; throws DriverError when it is not possible. */
  verb(verb: DriverVerb, balloon?: GuestBalloon): Task {
    return this.#kernel.verb(verb, balloon);
  }

  run(program: Program): Task {
    return this.#kernel.start(program);
  }

  #newKernel(): Kernel {
    return new Kernel({
      ...this.#options,
      // What kswapd did in the recorded guest is in its trace.
      ...(this.#options.kmemTrace === undefined ? {} : { reclaim: 'off' }),
      clock: this.#clock,
      port: { send: (message) => this.#connection.send(message) },
      furtherBalloons: (this.#options.balloons ?? []).map(({ id }, index) => {
        return { id, port: { send: (message) => this.#further[index].send(message) } };
      }),
    });
  }

  #newFurther(
    further: FurtherBalloon,
    balloon: GuestBalloon,
    regions: Uint8Array,
  ): FurtherConnection {
    const { clock, seed, epoch } = this.#options;
    return new FurtherConnection(further, balloon, {
      clock,
      prng: new Prng(seed).fork(`reconnect ${further.id}`),
      epoch,
      regions,
      onClosed: () => this.#tellEnded(),
    });
  }

  #onPowerOn(): void {
    const boots = this.power === 'waitingForHost';
    this.#power.send({ type: 'powerOn' });
    // A guest that runs already has a host that does not know it: a new one, or one that gave it
    // up. Its memory goes on, its device begins anew.
    if (!boots) this.#kernel.core.hostLost();
    this.#clock.resume();
    if (boots) this.#kernel.powerOn();
    if (boots) this.#playTrace();
    if (boots) for (const program of this.#options.programs) this.#kernel.start(program);
    if (boots) for (const further of this.#further) further.start();
    this.#kernel.scheduler.run();
    this.#options.onLink?.('open');
  }

  #playTrace(): void {
    const { kmemTrace, onTracePlayed } = this.#options;
    if (kmemTrace === undefined) return;
    const { program, task } = this.#kernel.playTrace(kmemTrace);
    this.#kernel.scheduler.spawn(
      'kmem-trace reported',
      (function* () {
        yield* join(task);
        onTracePlayed?.(program.report);
      })(),
    );
  }

  #receive(message: HostToGuest): void {
    const { interpose } = this.#options;
    if (interpose === undefined) this.#onMessage(message);
    else interpose(message, (later) => this.#onMessage(later));
  }

  #onMessage(message: HostToGuest): void {
    switch (message[0]) {
      case Op.pause:
        this.#power.send({ type: 'pause' });
        this.#clock.pause();
        return;
      case Op.run:
        this.#power.send({ type: 'run' });
        this.#clock.resume();
        this.#kernel.scheduler.run();
        return;
      case Op.powerOff:
        this.#finish({ by: 'host', reason: message[1] });
        this.#connection.close('');
        return;
      default:
        this.#kernel.handle(message);
    }
  }

  #onRefused(refusal: Refusal): void {
    this.#finish({ by: 'refused', reason: refusal.text });
  }

  #onClosed(): void {
    this.#finish({ by: 'host', reason: 'the connection was closed' });
    this.#tellEnded();
  }

  /** The end is the end of all connections. */
  #tellEnded(): void {
    if (this.#end === undefined) return;
    const areClosed = this.connectionStates.every((state) => state === 'closed');
    if (areClosed) this.#resolveEnded(this.#end);
  }

  #finish(end: GuestEnd): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    this.#power.send({ type: 'end' });
    this.#clock.pause();
    for (const further of this.#further) further.close(end.reason);
  }
}
