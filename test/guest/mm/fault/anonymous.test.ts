import { describe, expect, it } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { madviseDontneed } from '../../../../guest/mm/calls/madvise.ts';
import { mmap } from '../../../../guest/mm/calls/mmap.ts';
import { FAULT } from '../../../../guest/mm/fault/fault.ts';
import { World } from '../space/support.ts';

describe('a fault in anonymous memory', () => {
  it('maps a zeroed page of its own for a write', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 8, huge: 'no' }));
    process.write(start + 3, 77);
    expect(process.read(start + 3)).toBe(77);
    expect(process.read(start + 4)).toBe(0);
    expect(process.mm.residentPages).toBe(1);
    world.verify();
  });

  it('maps the zero page for a read, and copies it at the first write', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 8, huge: 'no' }));
    expect(process.frame(start, false)).toBe(world.spaces.zeroPfn);
    expect(process.mm.residentPages).toBe(0);
    process.write(start, 5);
    expect(process.frame(start, false)).not.toBe(world.spaces.zeroPfn);
    expect(process.read(start)).toBe(5);
    expect(world.vmstat.get('pgfault')).toBe(2);
    world.verify();
  });

  it('is a segmentation fault outside of mappings and for a write to read-only memory', () => {
    const world = new World();
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 8, writable: false }));
    expect(process.frame(start - 1, false)).toBe(-1 - FAULT.sigsegv);
    expect(process.frame(start, true)).toBe(-1 - FAULT.sigsegv);
    expect(process.read(start)).toBe(0);
    world.verify();
  });

  it('gives everything back at the end of the process', () => {
    const world = new World();
    const before = world.freeFrames;
    const process = world.newProcess();
    const start = world.run(mmap(world.spaces, process.mm, { pageCount: 2000, huge: 'no' }));
    for (let vpn = start; vpn < start + 2000; vpn++) process.write(vpn, vpn);
    madviseDontneed(world.spaces, process.mm, start + 100, 700);
    world.verify();
    world.run(exitMmap(world.spaces, process.mm));
    expect(world.freeFrames).toBe(before);
    world.verify();
  });
});
