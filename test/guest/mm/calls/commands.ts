import fc from 'fast-check';
import { expect } from 'vitest';
import { fsync, readFile, truncateFile, writeFile } from '../../../../guest/mm/calls/files.ts';
import { madviseDontneed, madviseHuge } from '../../../../guest/mm/calls/madvise.ts';
import { mlock, munlock } from '../../../../guest/mm/calls/mlock.ts';
import { mmap, munmap } from '../../../../guest/mm/calls/mmap.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { leafEntry } from '../../../../guest/mm/space/leaf-entry.ts';
import { PTE_SPECIAL, ptePfn } from '../../../../guest/mm/space/pte.ts';
import { dropPagecache } from '../../../../guest/mm/space/truncate.ts';
import type { World } from '../space/support.ts';
import { FileModel, type Model, type ProcessModel } from './model.ts';
import { movePage } from './move.ts';

/**
 * Random programs of calls: each command does the same to the guest and to the model. A command
 * takes numbers and lets the model choose what they mean, so that shrinking keeps it meaningful.
 */
type Real = World;
export type Act = (model: Model, numbers: readonly number[]) => void;

class CallCommand implements fc.Command<Model, Real> {
  readonly #name: string;
  readonly #act: Act;
  readonly #numbers: readonly number[];

  constructor(name: string, act: Act, numbers: readonly number[]) {
    this.#name = name;
    this.#act = act;
    this.#numbers = numbers;
  }

  check(): boolean {
    return true;
  }

  run(model: Model): void {
    this.#act(model, this.#numbers);
    model.step();
  }

  toString(): string {
    return `${this.#name}(${this.#numbers.join(', ')})`;
  }
}

/** Up to `count` pages from a chosen page on, inside the segment of that page. */
function someRange(
  model: Model,
  process: ProcessModel,
  choice: number,
  count: number,
): { start: number; pageCount: number } | undefined {
  const start = model.page(process, choice);
  const segment = start === undefined ? undefined : process.segmentOf(start);
  if (start === undefined || segment === undefined) return undefined;
  return { start, pageCount: Math.min(1 + (count % 1500), segment.end - start) };
}

const ACTS: Record<string, Act> = {
  mmapAnonymous: (model, [who, count, shared]) => {
    const process = model.process(who);
    const pageCount = 1 + (count % 1400);
    const isShared = shared % 4 === 0;
    const request = { pageCount, shared: isShared };
    const start = model.world.run(mmap(model.world.spaces, process.real.mm, request));
    const mapping = process.real.mm.vmas.find(start)?.file;
    const known = model.files.find(({ real }) => real === mapping);
    const file = mapping === undefined ? undefined : (known ?? new FileModel(mapping));
    const end = start + pageCount;
    process.segments.push({ start, end, shared: isShared, file, pgoff: 0, locked: false });
  },
  mmapFile: (model, [who, which, shared]) => {
    const process = model.process(who);
    const file = model.files[which % Math.max(1, model.files.length)];
    if (file === undefined) return;
    const pgoff = which % 40;
    const pageCount = 1 + (which % 90);
    const isShared = shared % 2 === 0;
    const request = { pageCount, shared: isShared, file: file.real, pgoff };
    const start = model.world.run(mmap(model.world.spaces, process.real.mm, request));
    const end = start + pageCount;
    process.segments.push({ start, end, shared: isShared, file, pgoff, locked: false });
  },
  write: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count % 700);
    if (range === undefined) return;
    for (let vpn = range.start; vpn < range.start + range.pageCount; vpn++) {
      if (process.expected(vpn) === undefined) continue;
      const tag = model.newTag();
      process.real.write(vpn, tag);
      process.write(vpn, tag);
    }
  },
  read: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count % 100);
    if (range === undefined) return;
    for (let page = 0; page < range.pageCount; page++) model.checkPage(process, range.start + page);
  },
  dontneed: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count);
    if (range === undefined || process.segmentOf(range.start)?.locked === true) return;
    madviseDontneed(model.world.spaces, process.real.mm, range.start, range.pageCount);
    process.forget(range.start, range.start + range.pageCount);
  },
  munmap: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count);
    if (range === undefined) return;
    const { spaces } = model.world;
    model.world.run(munmap(spaces, process.real.mm, range.start, range.pageCount));
    process.unmap(range.start, range.start + range.pageCount);
  },
  huge: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count);
    if (range === undefined) return;
    madviseHuge(model.world.spaces, process.real.mm, range, count % 2 === 0);
  },
  mlock: (model, [who, where]) => {
    const process = model.process(who);
    const vpn = model.page(process, where);
    const segment = vpn === undefined ? undefined : process.segmentOf(vpn);
    if (segment === undefined || segment.file !== undefined) return;
    const { mm, access } = process.real;
    const { start } = segment;
    const range = { start, pageCount: segment.end - start };
    if (segment.locked) munlock(model.world.spaces, mm, start, range.pageCount);
    else model.world.run(mlock(model.world.spaces, mm, range, access));
    const toggled = { ...segment, locked: !segment.locked };
    process.segments[process.segments.indexOf(segment)] = toggled;
  },
  fork: (model, [who]) => {
    if (model.processes.length < 4) model.fork(model.process(who));
  },
  exit: (model, [who]) => {
    if (model.processes.length > 1) model.exit(model.process(who));
  },
  create: (model, [kind]) => {
    if (model.files.length >= 4) return;
    const real: FileMapping = model.world.spaces.files.create(kind % 2 === 0 ? 'disk' : 'tmpfs');
    real.uses = 1;
    model.files.push(new FileModel(real));
  },
  writeFile: (model, [which, from, count]) => {
    const file = model.files[which % Math.max(1, model.files.length)];
    if (file === undefined) return;
    for (let index = from % 80; index < (from % 80) + 1 + (count % 60); index++) {
      const tag = model.newTag();
      model.world.run(writeFile(model.world.spaces, file.real, { index, tag }));
      file.tags.set(index, tag);
    }
  },
  readFile: (model, [which, from]) => {
    const file = model.files[which % Math.max(1, model.files.length)];
    if (file === undefined || file.real.sizePages === 0) return;
    const index = from % file.real.sizePages;
    const tag = model.world.run(readFile(model.world.spaces, file.real, index));
    expect(tag).toBe(file.tags.get(index) ?? 0);
  },
  truncate: (model, [which, to]) => {
    const file = model.files[which % Math.max(1, model.files.length)];
    if (file === undefined) return;
    const sizePages = to % 120;
    const shrinks = sizePages < file.real.sizePages;
    model.world.run(truncateFile(model.world.spaces, file.real, sizePages));
    if (!shrinks) return;
    for (const index of [...file.tags.keys()]) if (index >= sizePages) file.tags.delete(index);
    for (const process of model.processes) {
      for (const { file: mapped, start, end, pgoff } of process.segments) {
        const from = Math.max(start, start + sizePages - pgoff);
        if (mapped === file) process.forget(from, end);
      }
    }
  },
  fsync: (model, [which]) => {
    const file = model.files[which % Math.max(1, model.files.length)];
    if (file !== undefined) model.world.run(fsync(model.world.spaces, file.real));
  },
  move: (model, [who, where, count]) => {
    const process = model.process(who);
    const range = someRange(model, process, where, count % 40);
    if (range === undefined) return;
    const { spaces } = model.world;
    for (let page = 0; page < range.pageCount; page++) {
      const entry = leafEntry(spaces.tables, process.real.mm, range.start + page);
      if (entry !== 0 && (entry & PTE_SPECIAL) === 0) movePage(spaces, ptePfn(entry));
    }
  },
  dropCaches: (model) => {
    dropPagecache(model.world.spaces);
  },
  splitDeferred: (model) => {
    model.world.spaces.hugePages.splitDeferred();
  },
};

const number = fc.nat(1_000_000);

/** Programs of up to `maxCommands` calls, and of what `more` can do, some of it more often. */
export function programs(
  maxCommands: number,
  more: Readonly<Record<string, Act>> = {},
  moreOften: readonly string[] = [],
): fc.Arbitrary<Iterable<fc.Command<Model, Real>>> {
  const acts = { ...ACTS, ...more };
  const often = [
    'mmapAnonymous',
    'write',
    'write',
    'write',
    'fork',
    'mmapFile',
    'writeFile',
    'move',
  ];
  const commands = [...Object.keys(acts), ...often, ...moreOften].map((name) => {
    const act = acts[name] as Act;
    return fc.tuple(number, number, number).map((numbers) => new CallCommand(name, act, numbers));
  });
  return fc.commands(commands, { maxCommands, size: 'max' });
}
