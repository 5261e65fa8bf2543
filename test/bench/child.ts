import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/** Benchmarks start their processes through the one entry point, which knows the parts to play. */
const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));

/** First argument of a process that plays a part in a benchmark. */
export const PART_FLAG = '--part';

/** What a process can be asked to do, by verb. */
export type Part = Readonly<Record<string, (argument: never) => unknown>>;

interface Request {
  readonly verb: string;
  readonly argument: unknown;
}

type Reply = { readonly result: unknown } | { readonly error: string };

/** A process of a benchmark. One request at a time, so that nothing runs beside a measurement. */
export class Child {
  readonly #process: ChildProcess;
  readonly #part: string;

  constructor(part: string) {
    this.#part = part;
    // Flags for node reach every process: --cpu-prof before main.js profiles all of them.
    const execArgv = [...process.execArgv, '--expose-gc'];
    this.#process = fork(MAIN, [PART_FLAG, part], { execArgv });
  }

  /** Rejects when the part fails or its process ends. */
  ask<Result>(verb: string, argument?: unknown): Promise<Result> {
    return new Promise((resolve, reject) => {
      const gone = (code: number | null): void => {
        reject(new Error(`${this.#part} ended with code ${code} instead of answering ${verb}`));
      };
      this.#process.once('exit', gone);
      this.#process.once('message', (reply: Reply) => {
        this.#process.off('exit', gone);
        if ('error' in reply) reject(new Error(`${this.#part}, ${verb}: ${reply.error}`));
        else resolve(reply.result as Result);
      });
      this.#process.send({ verb, argument: argument ?? null } satisfies Request);
    });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = new Promise((resolve) => this.#process.once('exit', resolve));
    this.#process.disconnect();
    await exited;
  }
}

/** Runs `body` with one process for each part and ends them all afterwards. */
export async function withChildren<Result>(
  parts: readonly string[],
  body: (...children: Child[]) => Promise<Result>,
): Promise<Result> {
  const children = parts.map((part) => new Child(part));
  try {
    return await body(...children);
  } finally {
    await Promise.all(children.map((child) => child.stop()));
  }
}

/** Plays a part in this process until the parent is gone. */
export function play(part: Part): void {
  process.on('message', ({ verb, argument }: Request) => {
    void answer(part, verb, argument).then((reply) => process.send?.(reply));
  });
  process.once('disconnect', () => process.exit());
}

async function answer(part: Part, verb: string, argument: unknown): Promise<Reply> {
  try {
    const act = part[verb];
    if (act === undefined) return { error: 'no such verb' };
    return { result: (await act(argument as never)) ?? null };
  } catch (error) {
    return { error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}
