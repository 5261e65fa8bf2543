import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

/** A puff process ended before it was ready; one line with the last thing it said. */
export class ProcessError extends Error {
  override readonly name = 'ProcessError';
}

/** The compiled command line, also when this file is run from its source as tests do. */
const MAIN = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../dist/lab/cli/main.js' : './cli/main.js',
    import.meta.url,
  ),
);

/** Lines of a child kept for those who wait for one that came already. */
const KEPT_LINES = 20;

/**
 * One `puff` process started by another. It is in a process group of its own, so that a Ctrl-C in
 * the terminal reaches only the one who started it and who then ends it in order. The channel
 * between them is its lifeline: when the other side is gone, however that came, it ends itself
 * (lab/cli/signals.ts). Impure: starts a process.
 */
export class PuffProcess {
  readonly child: ChildProcess;
  /** Exit code; 128 and the signal's number when a signal ended it. */
  readonly exited: Promise<number>;
  readonly #command: string;
  readonly #lines: string[] = [];
  readonly #listeners = new Set<(line: string) => void>();

  constructor(args: readonly string[], main = MAIN) {
    this.#command = args[0] ?? '';
    this.child = spawn(process.execPath, [main, ...args], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      detached: true,
    });
    const ended = new Promise<number>((resolve) => {
      this.child.once('exit', (code, signal) => resolve(exitCode(code, signal)));
      this.child.once('error', () => resolve(1));
    });
    const outputs = [this.child.stdout, this.child.stderr].map((stream) => this.#read(stream));
    // The last lines may come after the end. ('close' would not come without the lifeline.)
    this.exited = Promise.all(outputs).then(() => ended);
  }

  /** Resolves when the stream has ended. */
  async #read(stream: Readable | null): Promise<void> {
    if (stream === null) return;
    for await (const line of createInterface({ input: stream })) this.#onLine(line);
  }

  /** Resolves with the first line that matches; rejects with ProcessError if it ends before. */
  line(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (line: string): boolean => {
        const match = pattern.exec(line);
        if (match) {
          this.#listeners.delete(look);
          resolve(match);
        }
        return match !== null;
      };
      if (this.#lines.some(look)) return;
      this.#listeners.add(look);
      void this.exited.then((code) => {
        this.#listeners.delete(look);
        reject(new ProcessError(`puff ${this.#command} ended with code ${code}: ${this.#last}`));
      });
    });
  }

  /** Asks the process to end and waits for it; kills it when it does not. */
  async stop(timeoutMs = 5000): Promise<number> {
    this.child.kill('SIGTERM');
    const timer = setTimeout(() => this.child.kill('SIGKILL'), timeoutMs);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }

  /** Why it ended, in its own words: its error line, before what a stack has below. */
  get #last(): string {
    const line = this.#lines.findLast((said) => said.startsWith('puff: ')) ?? this.#lines.at(-1);
    return line?.replace(/^puff: /, '') ?? 'it said nothing';
  }

  #onLine(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    for (const listener of this.#listeners) listener(line);
  }
}

function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}
