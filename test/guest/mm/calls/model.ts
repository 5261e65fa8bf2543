import { expect } from 'vitest';
import { exitMmap } from '../../../../guest/mm/calls/exit.ts';
import { fork } from '../../../../guest/mm/calls/fork.ts';
import type { FileMapping } from '../../../../guest/mm/space/address-spaces.ts';
import { TestProcess, type World } from '../space/support.ts';

/** What a file, or shared anonymous memory, holds: tags by index; 0 where nobody wrote. */
export class FileModel {
  readonly real: FileMapping;
  readonly tags = new Map<number, number>();

  constructor(real: FileMapping) {
    this.real = real;
  }
}

/** A run of pages mapped alike, as the model knows it. */
export interface Segment {
  readonly start: number;
  readonly end: number;
  readonly shared: boolean;
  readonly file: FileModel | undefined;
  readonly pgoff: number;
  readonly locked: boolean;
}

/** What a process must find in its memory: segments, and what it wrote privately. */
export class ProcessModel {
  readonly real: TestProcess;
  segments: Segment[] = [];
  readonly written: Map<number, number>;

  constructor(real: TestProcess, written = new Map<number, number>()) {
    this.real = real;
    this.written = written;
  }

  segmentOf(vpn: number): Segment | undefined {
    return this.segments.find(({ start, end }) => vpn >= start && vpn < end);
  }

  /** What a read must see; undefined for a page that is not mapped or behind the file's end. */
  expected(vpn: number): number | undefined {
    const segment = this.segmentOf(vpn);
    if (segment === undefined) return undefined;
    const own = this.written.get(vpn);
    const { file, start, pgoff } = segment;
    if (own !== undefined || file === undefined) return own ?? 0;
    const index = pgoff + vpn - start;
    return index < file.real.sizePages ? (file.tags.get(index) ?? 0) : undefined;
  }

  write(vpn: number, tag: number): void {
    const segment = this.segmentOf(vpn);
    if (segment?.shared === true) segment.file?.tags.set(segment.pgoff + vpn - segment.start, tag);
    else this.written.set(vpn, tag);
  }

  /** Forgets private content: the pages were dropped or unmapped. */
  forget(start: number, end: number): void {
    for (const vpn of [...this.written.keys()]) {
      if (vpn >= start && vpn < end) this.written.delete(vpn);
    }
  }

  /** Cuts [start, end) out of the segments; what is left keeps its place in its file. */
  unmap(start: number, end: number): void {
    this.forget(start, end);
    this.segments = this.segments.flatMap((segment) => {
      const left = { ...segment, end: Math.min(segment.end, start) };
      const from = Math.max(segment.start, end);
      const right = { ...segment, start: from, pgoff: segment.pgoff + from - segment.start };
      return [left, right].filter((part) => part.start < part.end);
    });
  }
}

export class Model {
  readonly world: World;
  readonly freeAtStart: number;
  readonly processes: ProcessModel[] = [];
  readonly files: FileModel[] = [];
  #lastTag = 0;
  #steps = 0;

  constructor(world: World, freeAtStart: number) {
    this.world = world;
    this.freeAtStart = freeAtStart;
    this.processes.push(new ProcessModel(world.newProcess()));
  }

  process(choice: number): ProcessModel {
    return this.processes[choice % this.processes.length] as ProcessModel;
  }

  /** A page of a process's segments; undefined when it has none. */
  page(process: ProcessModel, choice: number): number | undefined {
    const { segments } = process;
    const segment = segments[choice % Math.max(1, segments.length)];
    if (segment === undefined) return undefined;
    return segment.start + (Math.floor(choice / 7) % (segment.end - segment.start));
  }

  newTag(): number {
    return ++this.#lastTag;
  }

  checkPage(process: ProcessModel, vpn: number): void {
    const expected = process.expected(vpn);
    const frame = process.real.frame(vpn, false);
    if (expected === undefined) expect(frame).toBeLessThan(0);
    else expect(this.world.memory.pages.tags[frame], `page ${vpn}`).toBe(expected);
  }

  fork(process: ProcessModel): void {
    const { spaces } = this.world;
    const mm = this.world.run(fork(spaces, process.real.mm));
    const child = new ProcessModel(new TestProcess(this.world, mm), new Map(process.written));
    child.segments = process.segments.map((segment) => ({ ...segment, locked: false }));
    this.processes.push(child);
  }

  exit(process: ProcessModel): void {
    this.world.run(exitMmap(this.world.spaces, process.real.mm));
    this.processes.splice(this.processes.indexOf(process), 1);
  }

  /** Between commands; walking everything each time would take too long. */
  step(): void {
    if (++this.#steps % 4 === 0) this.world.verify();
  }

  /** Reads everything, ends everything, and expects all memory back. */
  finish(): void {
    this.world.verify();
    for (const process of this.processes) {
      for (const vpn of process.written.keys()) this.checkPage(process, vpn);
      for (const { start, end } of process.segments) {
        for (let vpn = start; vpn < end; vpn += 61) this.checkPage(process, vpn);
      }
    }
    this.world.verify();
    while (this.processes.length > 0) this.exit(this.process(0));
    this.world.verify();
  }
}
