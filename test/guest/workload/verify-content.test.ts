import { beforeEach, describe, expect, it } from 'vitest';
import { verifyContent } from '../../../guest/workload/verify-content.ts';
import { GuestWorld } from '../mm/verify-world.ts';

let world: GuestWorld;
const problems = (): string[] => verifyContent(world.guest.kernel.processes);

/** The running process, one of its pages and where that page's entry is. */
function aPage() {
  const [process] = world.guest.kernel.processes.list();
  const [region] = process?.regions ?? [];
  if (process?.mm === undefined || region === undefined) throw new Error('no process runs');
  const vpn = region.start + 5;
  const at = world.spaces.tables.pteAt(process.mm.pgdBase, vpn);
  return { process, vpn, at, pfn: (world.spaces.tables.entries[at] ?? 0) >>> 5 };
}

beforeEach(() => {
  world = new GuestWorld({ mib: 64 });
  world.guest.run({ name: 'hog', mib: 1, seconds: 5 });
  world.pass(100);
  expect(problems()).toEqual([]);
});

describe('content that is looked at without touching it', () => {
  it('names the page whose frame holds something else', () => {
    const { vpn, pfn } = aPage();
    world.memory.pages.tags[pfn] = 77;
    expect(problems()).toEqual([
      expect.stringMatching(`^hog 100: page ${vpn} in frame ${pfn} holds 77, not \\d+$`),
    ]);
  });

  it('names the page that was written and is nowhere', () => {
    const { vpn, at } = aPage();
    world.spaces.tables.entries[at] = 0;
    expect(problems()).toEqual([`hog 100: page ${vpn} is lost`]);
  });

  it('says nothing of a process that was killed, or has ended', () => {
    const { process, at } = aPage();
    const entry = world.spaces.tables.entries[at] ?? 0;
    world.spaces.tables.entries[at] = 0;
    process.kill();
    expect(problems()).toEqual([]);
    world.spaces.tables.entries[at] = entry;
    world.pass(10);
    expect(world.guest.kernel.processes.list()).toEqual([]);
    expect(problems()).toEqual([]);
  });
});
