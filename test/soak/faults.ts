import { setTimeout as sleep } from 'node:timers/promises';
import { ControlRequestError } from '../../shared/control/line-client.ts';
import type { Prng } from '../../shared/lib/prng.ts';
import { PING_INTERVAL_MS, PING_MISSES_MAX } from '../../shared/limits.ts';
import type { Controller } from './controller.ts';
import { SoakFailure, type SoakFleet } from './soak-fleet.ts';

/** How late a host on a busy machine may notice that a window has passed. */
const LATE_MS = 1000;

/** And how late at most, on one that has much else to do. */
const DEAD_MS = 30_000;

/** What a fault is done to, and with. */
export interface Scene {
  readonly fleet: SoakFleet;
  readonly prng: Prng;
  readonly resumeWindowMs: number;
  /** The guest concerned, and its controller, which sets targets meanwhile. */
  readonly guest: string;
  readonly controller: Controller;
  /** No other fault of this round concerns the host: it can be asked what it makes of this one. */
  readonly hostIsUp: boolean;
}

export interface Fault {
  readonly name: string;
  /** Concerns the host, so no other fault may concern it in the same round. */
  readonly host: boolean;
  readonly weight: number;
  /** Resolves when every process runs again. */
  run(scene: Scene): Promise<void>;
}

async function killHost({ fleet, prng }: Scene): Promise<void> {
  await fleet.kill('host');
  await sleep(prng.below(400));
  await fleet.startHost();
}

/** The window has passed: the guest must be dead for the host and its controllers. */
async function expectDead({ fleet, guest, hostIsUp }: Scene): Promise<void> {
  if (!hostIsUp) return;
  let status: string | undefined;
  let ledgerPages: number | undefined;
  for (const startMs = performance.now(); performance.now() - startMs < DEAD_MS; await sleep(50)) {
    const summary = (await fleet.list()).find(({ id }) => id === guest);
    ({ status, ledgerPages } = summary ?? {});
    if (status === 'guest-panicked' && ledgerPages === 0) return;
  }
  throw new SoakFailure(`${guest} is away for long: it is ${status}, ledger ${ledgerPages}`);
}

async function killGuest({ fleet, guest }: Scene, pauseMs: number): Promise<void> {
  await fleet.kill(guest);
  await sleep(pauseMs);
  await fleet.startGuest(guest);
}

async function stopFor({ fleet }: Scene, name: string, forMs: number): Promise<void> {
  fleet.stop(name);
  await sleep(forMs);
  fleet.goOn(name);
}

/** A verb of the guest's driver, tried until the driver is in a state for it. */
async function driverVerb({ fleet, guest }: Scene, verb: 'unbind' | 'bind'): Promise<void> {
  for (;;) {
    try {
      await fleet.ask(guest, { verb });
      return;
    } catch (error) {
      const notNow = error instanceof ControlRequestError && /the driver is/.test(error.message);
      if (!notNow) throw error;
      await sleep(20);
    }
  }
}

/** Ways to lose a peer, and how often each is chosen. */
export const FAULTS: readonly Fault[] = [
  { name: 'host killed', host: true, weight: 4, run: killHost },
  {
    name: 'host killed, and again while it is told',
    host: true,
    weight: 3,
    run: async (scene) => {
      await killHost(scene);
      await sleep(scene.prng.below(300));
      await killHost(scene);
    },
  },
  {
    name: 'host stopped',
    host: true,
    weight: 3,
    run: (scene) => stopFor(scene, 'host', 50 + scene.prng.below(1200)),
  },
  {
    name: 'host and guest killed',
    host: true,
    weight: 2,
    run: async (scene) => {
      const pauseMs = scene.prng.below(300);
      await Promise.all([killHost(scene), killGuest(scene, pauseMs)]);
    },
  },
  {
    name: 'guest killed',
    host: false,
    weight: 4,
    run: (scene) => killGuest(scene, scene.prng.below(300)),
  },
  {
    name: 'guest killed for longer than the window',
    host: false,
    weight: 1,
    run: async (scene) => {
      const { fleet, guest, prng, resumeWindowMs } = scene;
      await fleet.kill(guest);
      await sleep(resumeWindowMs + LATE_MS + prng.below(500));
      await expectDead(scene);
      await fleet.startGuest(guest);
    },
  },
  {
    name: 'guest stopped',
    host: false,
    weight: 4,
    run: (scene) => stopFor(scene, scene.guest, 50 + scene.prng.below(900)),
  },
  {
    name: 'guest stopped and cut for longer than the window',
    host: false,
    weight: 1,
    run: async (scene) => {
      const { fleet, guest, prng, resumeWindowMs } = scene;
      fleet.stop(guest);
      await fleet.cut(guest);
      await sleep(resumeWindowMs + LATE_MS + prng.below(500));
      await expectDead(scene);
      fleet.goOn(guest);
    },
  },
  {
    name: 'links cut',
    host: false,
    weight: 6,
    run: async ({ fleet, guest, prng }) => {
      for (let left = 1 + prng.below(5); left > 0; left--) {
        await fleet.cut(guest);
        await sleep(prng.below(250));
      }
    },
  },
  {
    name: 'paused, link cut, run again',
    host: false,
    weight: 2,
    run: async ({ fleet, guest, controller, prng }) => {
      await controller.execute('stop', {});
      await fleet.cut(guest);
      await sleep(prng.below(400));
      await controller.execute('cont', {});
    },
  },
  {
    name: 'driver unbound and bound, link cut meanwhile',
    host: false,
    weight: 2,
    run: async (scene) => {
      const { fleet, guest, prng } = scene;
      const unbound = driverVerb(scene, 'unbind');
      await sleep(prng.below(50));
      await fleet.cut(guest);
      await unbound;
      await sleep(prng.below(100));
      await driverVerb(scene, 'bind');
    },
  },
];

/** Rare because it takes so long: no ping is answered, then the window passes. */
export const PAST_HEARTBEAT: Fault = {
  name: 'guest stopped past heartbeat and window',
  host: false,
  weight: 0,
  run: async (scene) => {
    const { fleet, guest, resumeWindowMs } = scene;
    fleet.stop(guest);
    await sleep((PING_MISSES_MAX + 1) * PING_INTERVAL_MS + resumeWindowMs + LATE_MS);
    await expectDead(scene);
    fleet.goOn(guest);
  },
};

export function chooseFault(prng: Prng, mayConcernHost: boolean): Fault {
  const choice = FAULTS.filter(({ host }) => mayConcernHost || !host);
  const total = choice.reduce((sum, { weight }) => sum + weight, 0);
  let at = prng.below(total);
  for (const fault of choice) {
    if (at < fault.weight) return fault;
    at -= fault.weight;
  }
  return choice[0] as Fault;
}
