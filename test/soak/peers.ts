import { setTimeout as sleep } from 'node:timers/promises';
import { Prng } from '../../shared/lib/prng.ts';
import { MIB } from '../../shared/lib/units.ts';
import { Controller } from './controller.ts';
import { chooseFault, type Fault, PAST_HEARTBEAT } from './faults.ts';
import { judge } from './judge.ts';
import { SoakFailure, SoakFleet } from './soak-fleet.ts';

export interface PeersOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Called with each line of the report. */
  report(line: string): void;
}

/** A fault and the guest it is for. */
interface Chosen {
  readonly fault: Fault;
  readonly guest: string;
}

export interface PeersResult {
  readonly faults: number;
  readonly framesCompared: number;
  readonly targets: number;
  /** Comparisons that were made again because compaction had pages in its hands. */
  readonly repeats: number;
  /** Times that a controller found its monitor gone and connected again. */
  readonly reconnects: number;
  readonly seconds: number;
}

const GUESTS = 4;
const MEMORY_BYTES = 128 * MIB;
const RESUME_WINDOW_MS = 1500;
const POLLING_SECONDS = 1;
const SETTLE_MS = 60_000;
/** One round in so many stops a guest for longer than heartbeats take. */
const HEARTBEAT_EVERY = 100;

const POLLING = {
  path: '/machine/peripheral/balloon0',
  property: 'guest-stats-polling-interval',
} as const;

/**
 * Rounds of lost peers on real processes: while every guest is given new targets all the time,
 * processes are killed, stopped and links cut at random moments. After each round both sides must
 * agree frame by frame, canaries be intact, and whatever the host acknowledged be as it was.
 * Which faults, whom and after what waits is a function of the seed; what a process was doing at
 * that moment is not. Throws SoakFailure.
 */
export class PeersSoak {
  readonly #options: PeersOptions;
  readonly #prng: Prng;
  readonly #fleet: SoakFleet;
  readonly #controllers = new Map<string, Controller>();
  #faults = 0;
  #frames = 0;
  #repeats = 0;

  constructor(options: PeersOptions) {
    this.#options = options;
    this.#prng = new Prng(options.seed).fork('peers');
    this.#fleet = new SoakFleet({
      guests: GUESTS,
      memoryBytes: MEMORY_BYTES,
      seed: options.seed,
      resumeWindowMs: RESUME_WINDOW_MS,
    });
  }

  async run(): Promise<PeersResult> {
    const startMs = performance.now();
    let left: number[] = [];
    try {
      await this.#start();
      for (let round = 1; round <= this.#options.rounds; round++) await this.#round(round);
    } finally {
      const ends = Array.from(this.#controllers.values(), (controller) => controller.end());
      left = await this.#fleet.end();
      await Promise.all(ends);
    }
    if (left.length > 0) throw new SoakFailure(`processes were left behind: ${left.join(' ')}`);
    const controllers = [...this.#controllers.values()];
    return {
      faults: this.#faults,
      framesCompared: this.#frames,
      repeats: this.#repeats,
      targets: controllers.reduce((sum, { acknowledged }) => sum + acknowledged, 0),
      reconnects: controllers.reduce((sum, { reconnects }) => sum + reconnects, 0),
      seconds: (performance.now() - startMs) / 1000,
    };
  }

  async #start(): Promise<void> {
    await this.#fleet.start();
    for (const id of this.#fleet.ids) {
      const controller = new Controller({
        qmpPath: this.#fleet.qmpPath(id),
        prng: this.#prng.fork(`controller ${id}`),
        leastBytes: MEMORY_BYTES / 2,
        mostBytes: MEMORY_BYTES,
        pauseMs: 30,
      });
      this.#controllers.set(id, controller);
      await this.#fleet.settled(id, SETTLE_MS);
      await controller.execute('qom-set', { ...POLLING, value: POLLING_SECONDS });
    }
  }

  async #round(round: number): Promise<void> {
    const prng = this.#prng.fork(`round ${round}`);
    const faults = this.#choose(round, prng);
    const what = faults.map(({ fault, guest }) => `${guest}: ${fault.name}`).join('; ');
    const name = `round ${String(round).padStart(3)}`;
    try {
      const { frames, settledMs } = await this.#play(faults, prng);
      const settled = `settled in ${settledMs.toFixed(0)} ms, ${frames} frames equal`;
      this.#options.report(`${name}: ${settled}; ${what}`);
    } catch (error) {
      this.#options.report(`${name}: failed; ${what}`);
      throw error;
    }
  }

  /** The faults while targets change, then the wait, then the comparison. */
  async #play(
    faults: readonly Chosen[],
    prng: Prng,
  ): Promise<{ frames: number; settledMs: number }> {
    const fleet = this.#fleet;
    await Promise.all([
      this.#retarget(prng),
      ...faults.map(async ({ fault, guest }, index) => {
        const own = prng.fork(`fault ${index}`);
        await sleep(own.below(300));
        const controller = this.#controllers.get(guest) as Controller;
        const hostIsUp = faults.every((one) => !one.fault.host);
        const resumeWindowMs = RESUME_WINDOW_MS;
        await fault.run({ fleet, prng: own, guest, controller, hostIsUp, resumeWindowMs });
      }),
    ]);
    const settleMs = performance.now();
    for (const id of fleet.ids) await fleet.settled(id, SETTLE_MS);
    const settledMs = performance.now() - settleMs;
    let frames = 0;
    for (const [id, controller] of this.#controllers) frames += await this.#judge(id, controller);
    this.#expectNoStrays();
    this.#faults += faults.length;
    this.#frames += frames;
    return { frames, settledMs };
  }

  /** Every guest for a time of its own: some targets are the last ones before a fault. */
  async #retarget(prng: Prng): Promise<void> {
    await Promise.all(
      Array.from(this.#controllers.values(), async (controller) => {
        controller.run();
        await sleep(prng.below(1000));
        await controller.pause();
      }),
    );
  }

  /** One to three faults, for different guests, at most one of them the host's. */
  #choose(round: number, prng: Prng): Chosen[] {
    const ids = [...this.#fleet.ids];
    const take = (): string => ids.splice(prng.below(ids.length), 1)[0] as string;
    if (round % HEARTBEAT_EVERY === HEARTBEAT_EVERY / 2) {
      return [{ fault: PAST_HEARTBEAT, guest: take() }];
    }
    const chosen: Chosen[] = [];
    for (let left = 1 + prng.below(3); left > 0; left--) {
      const mayConcernHost = !chosen.some(({ fault }) => fault.host);
      chosen.push({ fault: chooseFault(prng, mayConcernHost), guest: take() });
    }
    return chosen;
  }

  /** Throws SoakFailure; returns how many frames are in the balloon. */
  async #judge(id: string, controller: Controller): Promise<number> {
    const { frames, repeats } = await judge(this.#fleet, id, controller);
    this.#repeats += repeats;
    const seconds = await controller.execute('qom-get', POLLING);
    if (seconds !== POLLING_SECONDS) {
      throw new SoakFailure(`${id}: the polling interval is ${seconds}, not ${POLLING_SECONDS}`);
    }
    return frames;
  }

  #expectNoStrays(): void {
    const strays = this.#fleet.strays() ?? [];
    if (strays.length > 0) throw new SoakFailure(`stray processes: ${strays.join(' ')}`);
  }
}
