import type { Log } from '../../shared/lib/log.ts';
import { reapMm } from '../mm/calls/exit.ts';
import { FileSystem } from '../mm/calls/files.ts';
import type { Spaces } from '../mm/space/spaces.ts';
import type { Waiting } from '../sched/scheduler.ts';
import { Killed, Process, type ProcessHost } from './process.ts';

/** First process id given out; lower ones are the kernel's and init's. */
const FIRST_PID = 100;

export interface ProcessTableOptions {
  readonly spaces: Spaces;
  readonly log: Log;
}

/** The guest's processes, the files they share, and whom the OOM killer takes. */
export class ProcessTable implements ProcessHost {
  readonly spaces: Spaces;
  readonly fileSystem: FileSystem;
  readonly #log: Log;
  readonly #processes = new Map<number, Process>();
  #nextPid = FIRST_PID;
  #canariesWrong = 0;

  constructor(options: ProcessTableOptions) {
    this.spaces = options.spaces;
    this.fileSystem = new FileSystem(options.spaces);
    this.#log = options.log;
  }

  /** A process without an address space yet; `startProgram` gives it one. */
  create(name: string): Process {
    const process = new Process(this, name);
    this.#processes.set(process.pid, process);
    return process;
  }

  list(): Process[] {
    return [...this.#processes.values()];
  }

  /** Pages that did not hold what was written to them, of all processes there ever were. */
  get canariesWrong(): number {
    return this.#canariesWrong;
  }

  newPid(): number {
    return this.#nextPid++;
  }

  adopt(child: Process, body: (child: Process) => Waiting): void {
    this.#processes.set(child.pid, child);
    this.spaces.scheduler.spawn(child.name, runProcess(child, body(child)));
  }

  onWrongContent(process: Process, vpn: number): void {
    this.#canariesWrong++;
    this.#log.error({ pid: process.pid, page: vpn }, `${process.name} read what it did not write`);
  }

  onExit(process: Process): void {
    this.#processes.delete(process.pid);
  }

  /**
   * oom_kill_process for the process of the highest badness; its private memory is taken at once,
   * as the reaper does. False when there is nobody left to kill.
   */
  killWorst(): boolean {
    const candidates = this.list().filter(({ killed, mm }) => !killed && mm !== undefined);
    const [victim] = candidates.sort((a, b) => (b.mm?.badness ?? 0) - (a.mm?.badness ?? 0));
    if (victim?.mm === undefined) return false;
    const pages = victim.residentPages;
    victim.kill();
    reapMm(this.spaces, victim.mm);
    this.#log.warn({ pid: victim.pid, pages }, `Out of memory: Killed ${victim.name}`);
    return true;
  }
}

/** Runs the body of a process; it exits whatever way the body ends. */
export function* runProcess(process: Process, body: Waiting): Waiting {
  try {
    yield* body;
  } catch (error) {
    if (!(error instanceof Killed)) throw error;
  } finally {
    yield* process.exit();
  }
}
