import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's folder. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** The compiled command line: what users start. `npm test` builds before it tests. */
export const MAIN = join(ROOT, 'dist/lab/cli/main.js');

export interface Ended {
  /** Exit code; 128 and the signal's number when a signal ended the process. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface PuffOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** A `puff` process as a user starts it: no channel to the test but its output and signals. */
export class Puff {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  #stdout = '';
  #stderr = '';
  readonly #listeners = new Set<() => void>();

  constructor(args: readonly string[], { cwd = ROOT, env = {} }: PuffOptions = {}) {
    this.child = spawn(process.execPath, [MAIN, ...args], {
      cwd,
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      for (const listener of this.#listeners) listener();
    });
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      for (const listener of this.#listeners) listener();
    });
    this.ended = new Promise((resolve) => {
      this.child.once('close', (code, signal) => {
        resolve({
          code: code ?? 128 + (signal === null ? 0 : constants.signals[signal]),
          stdout: this.#stdout,
          stderr: this.#stderr,
        });
      });
    });
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** Resolves when the output has the pattern; rejects with all output if it ends without. */
  output(pattern: RegExp): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        const match = pattern.exec(this.#stdout) ?? pattern.exec(this.#stderr);
        if (match === null) return;
        this.#listeners.delete(look);
        resolve(match);
      };
      this.#listeners.add(look);
      look();
      void this.ended.then(({ code, stdout, stderr }) => {
        this.#listeners.delete(look);
        reject(new Error(`ended with ${code} before ${pattern}:\n${stdout}${stderr}`));
      });
    });
  }

  /** Sends the signal and resolves with the end. */
  end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.child.kill(signal);
    return this.ended;
  }
}

/** Runs `puff` to its end. */
export function puff(args: readonly string[], options?: PuffOptions): Promise<Ended> {
  return new Puff(args, options).ended;
}

export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** A folder and processes of one test file; `clear` leaves nothing of them behind. */
export class Workplace {
  readonly directory = mkdtempSync(join(tmpdir(), 'puff-cli-'));
  readonly #processes: Puff[] = [];

  path(name: string): string {
    return join(this.directory, name);
  }

  start(args: readonly string[], options?: PuffOptions): Puff {
    const started = new Puff(args, options);
    this.#processes.push(started);
    return started;
  }

  /** A host that listens on a free port, with its URL. */
  async host(args: readonly string[] = []): Promise<{ readonly process: Puff; url: string }> {
    const started = this.start(['host', '--listen', '127.0.0.1:0', ...args]);
    const [, url = ''] = await started.output(/listening on (ws:\S+)/);
    return { process: started, url };
  }

  /** A guest that is connected. */
  async guest(url: string, args: readonly string[] = []): Promise<Puff> {
    const started = this.start(['guest', '--connect', url, '--memory', '64M', ...args]);
    await started.output(/connected/);
    return started;
  }

  async clear(): Promise<void> {
    await Promise.all(this.#processes.map((started) => started.end('SIGKILL')));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
