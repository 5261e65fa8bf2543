import { GuestControl } from '../../guest/control.ts';
import type { Guest } from '../../guest/guest.ts';
import { startGuest } from '../../guest/start-guest.ts';
import type { Program } from '../../guest/workload/programs.ts';
import { type RunningHost, startHost } from '../../host/start-host.ts';
import type { Vm } from '../../host/vmm/vm.ts';
import type { CompactionSummary } from '../../shared/control/schemas.ts';
import { balloonOf } from '../support/balloon-of.ts';
import type { Part } from './child.ts';
import { cpuSeconds, nowNs, settledMemory } from './measure.ts';

/** The product's own host and guest, each in a process of a benchmark, over real sockets. */

export interface Resize {
  readonly guest: string;
  /** What shall remain to the guest. */
  readonly bytes: number;
}

/** Sets a target and resolves when the guest reported that it is there. */
function resize(vm: Vm, bytes: number): Promise<void> {
  return new Promise((resolve) => {
    const forget = vm.onEvent(({ event }) => {
      if (event !== 'BALLOON_CHANGE' || balloonOf(vm).actualBytes !== bytes) return;
      forget();
      resolve();
    });
    balloonOf(vm).setTargetBytes(bytes);
  });
}

/** Nanoseconds until `work` is done. */
async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = nowNs();
  await work();
  return nowNs() - start;
}

/** A machine's driver has set DRIVER_OK; there is no event for it. */
async function untilDrivers(vms: () => Iterable<Vm>, count: number): Promise<void> {
  for (;;) {
    let up = 0;
    for (const vm of vms()) if (balloonOf(vm).driverOk) up++;
    if (up >= count) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function puffHostPart(): Part {
  let running: RunningHost | undefined;
  const vmm = () => {
    if (running === undefined) throw new Error('the host was not started');
    return running.host.vmm;
  };
  return {
    listen: async () => {
      running = await startHost({ listen: { host: '127.0.0.1', port: 0 } });
      return running.url;
    },
    drivers: (count: number) => untilDrivers(() => vmm().vms.values(), count),
    resize: ({ guest, bytes }: Resize) => timed(() => resize(vmm().vm(guest), bytes)),
    resizeAll: (bytes: number) =>
      timed(() => Promise.all([...vmm().vms.values()].map((vm) => resize(vm, bytes)))),
    /** Frames in the balloon of each guest, with a sum that any other set of frames misses. */
    ledgers: () =>
      [...vmm().vms.values()].map((vm) => {
        const sum = new FrameSum(vm.id);
        vm.ledger.forEachBalloonPage((pfn) => sum.add(pfn));
        return sum.result;
      }),
    /** A config change for every guest; an idle one has nothing to answer. */
    beat: () => {
      for (const vm of vmm().vms.values()) {
        const balloon = balloonOf(vm);
        balloon.setTargetBytes(balloon.targetBytes);
      }
      return new Promise((resolve) => setTimeout(resolve, 100));
    },
    memory: () => settledMemory(),
    cpuSeconds: () => cpuSeconds(),
  };
}

export interface GuestStart {
  readonly url: string;
  readonly id: string;
  readonly memoryBytes: number;
  readonly count?: number;
}

export function puffGuestPart(): Part {
  let guests: readonly Guest[] = [];
  return {
    start: async ({ url, ...rest }: GuestStart) => {
      guests = (await startGuest({ connect: url, programs: [], ...rest })).guests;
    },
    /** Starts a program in every guest; resolves when `residentPages` of each are in use. */
    run: async ({ program, residentPages }: { program: Program; residentPages: number }) => {
      for (const guest of guests) guest.run(program);
      while (!guests.every((guest) => residentPagesOf(guest) >= residentPages)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    /** A program in the one guest gives back all but every `keepEvery`-th of its pages. */
    fragment: async (size: { readonly mib: number; readonly keepEvery: number }) => {
      const [{ kernel }] = guests;
      kernel.compaction.proactiveness.value = 0;
      guests[0].run({ name: 'frag', seconds: 1_000_000, ...size });
      while (![...kernel.scheduler.tasks()].some(({ at }) => at === 'frag sleeps')) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
    /** Ends all programs. */
    kill: () => {
      const [{ kernel }] = guests;
      for (const process of kernel.processes.list()) process.kill();
      kernel.scheduler.run();
    },
    /** compact_memory of the one guest. */
    compact: async (): Promise<CompactionRun> => {
      const control = new GuestControl(new Map([[guests[0].id, guests[0]]]));
      let summary: unknown;
      const ns = await timed(async () => {
        summary = await control.handle({ verb: 'compact_memory' });
      });
      return { ns, ...(summary as CompactionSummary) };
    },
    lists: () =>
      guests.map((guest) => {
        const sum = new FrameSum(guest.id);
        for (const pfn of guest.kernel.balloon.book?.pfns() ?? []) sum.add(pfn);
        return sum.result;
      }),
    memory: () => settledMemory(),
    cpuSeconds: () => cpuSeconds(),
  };
}

export interface CompactionRun extends CompactionSummary {
  readonly ns: number;
}

function residentPagesOf(guest: Guest): number {
  const { processes } = guest.kernel;
  return processes.list().reduce((sum, process) => sum + process.residentPages, 0);
}

export interface FrameSet {
  readonly id: string;
  readonly pages: number;
  readonly sum: number;
}

/** Count and order-free checksum of a set of frames: small enough to hand between processes. */
class FrameSum {
  readonly #id: string;
  #pages = 0;
  #sum = 0;

  constructor(id: string) {
    this.#id = id;
  }

  add(pfn: number): void {
    this.#pages++;
    this.#sum = (this.#sum + Math.imul(pfn + 1, 0x9e3779b1)) | 0;
  }

  get result(): FrameSet {
    return { id: this.#id, pages: this.#pages, sum: this.#sum };
  }
}
