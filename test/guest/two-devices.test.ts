import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Program } from '../../guest/workload/programs.ts';
import { DEVICES, TwoHosts, type TwoHostsOptions } from '../support/two-hosts.ts';

/** Both balloons at their largest leave more than the programs below use. */
const MIB_OF_RAM = 128;
const MOST_PAGES = 5_000;
const PROGRAMS: readonly Program[] = [
  { name: 'hog', mib: 4, seconds: 2 },
  { name: 'frag', mib: 6, keepEvery: 3, seconds: 3 },
  { name: 'tmpfs', mib: 3, files: 3, seconds: 1 },
];
const MOST_PROGRAMS = 3;
/** A guest that lost a link is back after that: its first back-off is 100 ms. */
const BACK_MS = 200;

/** What can happen: a device, and a number whose meaning is the step's. */
type Step = readonly [name: keyof typeof STEPS, device: number, number: number];

/** Hosts whose device stands still: what their guest tells them waits. */
interface Run {
  readonly world: TwoHosts;
  readonly stopped: Set<number>;
  readonly cutAtMs: Map<number, number>;
}

const STEPS = {
  target: ({ world }: Run, device: number, number: number) => {
    if (world.isKnown(device)) world.setTarget(device, number % MOST_PAGES);
  },
  run: ({ world }: Run, _device: number, number: number) => {
    if (world.kernel.processes.list().length >= MOST_PROGRAMS) return;
    world.guest.run(PROGRAMS[number % PROGRAMS.length]);
    world.pass(5);
  },
  compact: ({ world }: Run) => {
    world.kernel.compactMemory();
    world.pass(1);
  },
  pass: ({ world }: Run, _device: number, number: number) => world.pass(number % 900),
  rebind: ({ world }: Run, device: number) => {
    const balloon = world.balloon(device);
    if (balloon.core.can('unbind')) world.guest.verb('unbind', balloon);
    else if (balloon.core.can('bind')) world.guest.verb('bind', balloon);
    world.pass(1);
  },
  cut: ({ world, cutAtMs }: Run, device: number) => {
    world.hosts[device].cut(DEVICES[device]);
    cutAtMs.set(device, world.clock.now());
    world.pass(0);
  },
  /** The host dies; its successor, who knows nothing, runs whatever was stopped. */
  replace: ({ world, stopped, cutAtMs }: Run, device: number) => {
    world.hosts[device].replaceHost();
    stopped.delete(device);
    cutAtMs.set(device, world.clock.now());
    world.pass(0);
  },
  /** The second host stops serving its device; the machine runs on. */
  hold: ({ world, stopped }: Run, _device: number, number: number) => {
    if (stopped.has(1) || !world.isKnown(1)) return;
    world.stopWhileInflating(1, number % MOST_PAGES);
    stopped.add(1);
  },
  release: (run: Run) => release(run),
} as const;

function release({ world, stopped }: Run): void {
  for (const device of stopped) world.vm(device).cont();
  stopped.clear();
  world.pass(0);
}

/** Nothing of the device is on its way: it has a link, no buffer with its host, no page in hand. */
function isQuiet({ world, stopped, cutAtMs }: Run, device: number): boolean {
  const { driver, core } = world.balloon(device);
  const isBack = world.clock.now() - (cutAtMs.get(device) ?? -BACK_MS) >= BACK_MS;
  if (!isBack || stopped.has(device) || !['bound', 'unbound'].includes(core.state)) return false;
  return (driver.book?.isolatedPages ?? 0) === 0;
}

/** After every step. What of compaction or a batch is on its way is settled by turns of no time. */
function check(run: Run): void {
  run.world.verify();
  run.world.expectNoFrameInTwoLedgers();
  for (const device of [0, 1]) if (isQuiet(run, device)) run.world.expectLedgerIsBook(device);
  const managed = run.world.kernel.memory.allocator.managedPages;
  const { adjustedPages } = run.world.kernel.memory.balloons;
  expect(managed + adjustedPages).toBe(managedAtBoot);
}

const managedAtBoot = new TwoHosts({ mib: MIB_OF_RAM }).kernel.memory.allocator.managedPages;

function play(steps: readonly Step[], options: TwoHostsOptions): void {
  const world = new TwoHosts({ mib: MIB_OF_RAM, ...options });
  const run: Run = { world, stopped: new Set(), cutAtMs: new Map() };
  for (const [name, device, number] of steps) {
    STEPS[name](run, device, number);
    check(run);
  }
  finish(run);
}

/** Whatever was begun comes to its end, and each device to its target. */
function finish(run: Run): void {
  const { world } = run;
  release(run);
  world.pass(10_000);
  for (const device of [0, 1]) {
    const balloon = world.balloon(device);
    if (balloon.core.can('bind')) world.guest.verb('bind', balloon);
    world.setTarget(device, 300 * (device + 1));
  }
  world.settle();
  check(run);
  expect(world.states()).toEqual(['bound', 'bound']);
  expect(world.pages()).toEqual([300, 600]);
  expect(world.kernel.processes.list()).toEqual([]);
  // What an honest host says is never refused but for power, which is not the second one's.
  expect(world.balloon(0).refused.get('power_verbs_refused')).toBe(0);
  for (const device of [0, 1]) {
    expect(world.balloon(device).refused.get('discard_pages_refused')).toBe(0);
  }
}

const step = fc.tuple(
  fc.constantFrom(
    ...(['target', 'target', 'target', 'run', 'run', 'compact', 'compact', 'pass'] as const),
    ...(['rebind', 'cut', 'hold', 'release', 'replace'] as const),
  ),
  fc.nat({ max: 1 }),
  fc.nat({ max: 20_000 }),
);

describe('two devices inflate, deflate and are retargeted while compaction runs', () => {
  const guests: Readonly<Record<string, TwoHostsOptions>> = {
    'the page list of 6.1': {},
    'the page list of 2012': { guest: { balloonCompaction: 'v2012' } },
    'the first reports free pages': { properties: [{ 'free-page-reporting': true }, {}] },
    'the second reports free pages': { properties: [{}, { 'free-page-reporting': true }] },
    'both deflate on OOM': {
      properties: [{ 'deflate-on-oom': true }, { 'deflate-on-oom': true }],
    },
  };
  it.each(Object.entries(guests))(
    '%s',
    (_name, options) => {
      const property = fc.property(fc.array(step, { minLength: 10, maxLength: 40 }), (steps) => {
        play(steps, options);
      });
      fc.assert(property, { numRuns: 4 });
    },
    60_000,
  );
});
