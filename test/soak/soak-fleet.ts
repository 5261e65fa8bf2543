import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type FleetView, isSettled } from '../../lab/fleet.ts';
import { PuffProcess } from '../../lab/process.ts';
import { LineClient } from '../../shared/control/line-client.ts';
import type { GuestDump, HostGuestSummary } from '../../shared/control/schemas.ts';
import { formatSize } from '../../shared/lib/units.ts';
import { unusedPort } from '../support/ports.ts';
import { processesWith } from './processes.ts';

export interface SoakFleetOptions {
  readonly guests: number;
  readonly memoryBytes: number;
  readonly seed: number;
  readonly resumeWindowMs: number;
}

/** How long a process takes at most to open its control socket, on a machine with other work. */
const LISTEN_MS = 60_000;

/** Something that a soak exists to find; the message says what was seen. */
export class SoakFailure extends Error {
  override readonly name = 'SoakFailure';
}

/**
 * A host with a store and guests with the default workload, each a process that may be killed,
 * stopped and started again: the host on the same port, a guest as a later life. Whoever makes one
 * calls `end`.
 */
export class SoakFleet {
  readonly directory = mkdtempSync(join(tmpdir(), 'puff-soak-'));
  readonly ids: readonly string[];
  readonly #options: SoakFleetOptions;
  readonly #guests = new Map<string, PuffProcess>();
  readonly #controls = new Map<string, LineClient>();
  /** A run that is broken off leaves nothing behind, not even a process that is stopped. */
  readonly #onExit = (): void => {
    for (const pid of processesWith(this.directory) ?? []) process.kill(pid, 'SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  };
  #host: PuffProcess | undefined;
  #port: number | undefined;
  #ended = false;

  constructor(options: SoakFleetOptions) {
    this.#options = options;
    this.ids = Array.from({ length: options.guests }, (_, index) => `vm${index}`);
    process.once('exit', this.#onExit);
  }

  async start(): Promise<void> {
    await this.startHost();
    await Promise.all(this.ids.map((id) => this.startGuest(id)));
  }

  /** Resolves when the host listens; its guests and controllers come by themselves. */
  async startHost(): Promise<void> {
    this.#port ??= await unusedPort();
    const started = this.#spawn([
      ...['host', '--listen', `127.0.0.1:${this.#port}`, '--qmp', this.directory],
      ...['--control', this.#path('host.ctl'), '--store', this.#path('guests')],
      ...['--resume-window', String(this.#options.resumeWindowMs / 1000)],
    ]);
    this.#host = started;
    await started.line(/listening on ws:/);
  }

  /** Resolves when the guest takes requests; the host may be away. */
  async startGuest(id: string): Promise<void> {
    const started = this.#spawn([
      ...['guest', '--connect', `ws://127.0.0.1:${this.#port}`, '--id', id],
      ...['--memory', formatSize(this.#options.memoryBytes), '--control', this.#path(`${id}.ctl`)],
      ...['--seed', String(this.#options.seed)],
    ]);
    this.#guests.set(id, started);
    await this.#control(id);
  }

  /** `host` or a guest's id. */
  pid(name: string): number {
    const { pid } = this.#process(name).child;
    if (pid === undefined) throw new SoakFailure(`${name} was not started`);
    return pid;
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(name: string): Promise<void> {
    const victim = this.#process(name);
    process.kill(this.pid(name), 'SIGKILL');
    await victim.exited;
    this.#controls.get(name)?.close();
    this.#controls.delete(name);
  }

  stop(name: string): void {
    process.kill(this.pid(name), 'SIGSTOP');
  }

  goOn(name: string): void {
    process.kill(this.pid(name), 'SIGCONT');
  }

  /** Cuts the guest's link; nothing happens while it has none, or the host is away. */
  async cut(id: string): Promise<void> {
    await this.ask('host', { verb: 'cut', guest: id }).catch(() => undefined);
  }

  qmpPath(id: string): string {
    return this.#path(`${id}.qmp`);
  }

  list(): Promise<HostGuestSummary[]> {
    return this.ask('host', { verb: 'list' });
  }

  dump(id: string, pfns = false): Promise<GuestDump> {
    return this.ask(id, { verb: 'dump', pfns });
  }

  ledger(id: string): Promise<{ pfns: number[]; counters: Record<string, number> }> {
    return this.ask('host', { verb: 'ledger', guest: id, pfns: true });
  }

  /** A request on a control channel, opened again where the process is another one by now. */
  async ask<Result>(name: string, request: { verb: string; [key: string]: unknown }) {
    const control = await this.#control(name);
    try {
      return await control.request<Result>(request);
    } catch (error) {
      if (this.#controls.get(name) === control) this.#controls.delete(name);
      throw error;
    }
  }

  /**
   * Resolves with both sides' view when the guest is connected, its driver bound, and target,
   * `actual`, ledger and list agree. Throws SoakFailure with the last view after `timeoutMs`, or
   * at once when the guest has ended.
   */
  async settled(id: string, timeoutMs: number): Promise<FleetView> {
    let seen: unknown;
    for (const startMs = performance.now(); performance.now() - startMs < timeoutMs; ) {
      const { exitCode, signalCode } = this.#process(id).child;
      if (exitCode !== null || signalCode !== null) {
        throw new SoakFailure(`${id} has ended by itself with ${exitCode ?? signalCode}`);
      }
      try {
        const [list, dump] = await Promise.all([this.list(), this.dump(id)]);
        const host = list.find((one) => one.id === id);
        seen = { host: host ?? null, dump };
        if (host?.connected && host.status === 'running' && dump.driver === 'bound') {
          if (isSettled({ host, dump })) return { host, dump };
        }
      } catch (error) {
        seen = error instanceof Error ? error.message : error;
      }
      await sleep(15);
    }
    throw new SoakFailure(`${id} is not settled after ${timeoutMs} ms: ${JSON.stringify(seen)}`);
  }

  /** Processes of this fleet that should not be there, or are not; undefined without /proc. */
  strays(): number[] | undefined {
    const expected = new Set([this.pid('host'), ...this.ids.map((id) => this.pid(id))]);
    return processesWith(this.directory)?.filter((pid) => !expected.has(pid));
  }

  /** Ends every process; those that are still there afterwards, and the folder, are removed. */
  async end(): Promise<number[]> {
    this.#ended = true;
    for (const control of this.#controls.values()) control.close();
    const all = [this.#host, ...this.#guests.values()].filter((one) => one !== undefined);
    for (const { child } of all) if (child.pid !== undefined && isRunning(child)) resume(child.pid);
    await Promise.all(all.map((one) => one.stop()));
    const left = processesWith(this.directory) ?? [];
    process.off('exit', this.#onExit);
    this.#onExit();
    return left;
  }

  /** What a fault that is still under way would start after the end is not started. */
  #spawn(args: readonly string[]): PuffProcess {
    if (this.#ended) throw new SoakFailure('the fleet has ended');
    return new PuffProcess(args);
  }

  #path(name: string): string {
    return join(this.directory, name);
  }

  #process(name: string): PuffProcess {
    const found = name === 'host' ? this.#host : this.#guests.get(name);
    if (found === undefined) throw new SoakFailure(`${name} was not started`);
    return found;
  }

  /** The open channel, or a new one; waits for the process to listen. */
  async #control(name: string): Promise<LineClient> {
    const open = this.#controls.get(name);
    if (open !== undefined) return open;
    for (const startMs = performance.now(); ; ) {
      try {
        const control = await LineClient.connect(this.#path(`${name}.ctl`));
        this.#controls.set(name, control);
        return control;
      } catch (error) {
        if (performance.now() - startMs > LISTEN_MS) throw error;
        await sleep(10);
      }
    }
  }
}

function isRunning(child: { exitCode: number | null; signalCode: NodeJS.Signals | null }): boolean {
  return child.exitCode === null && child.signalCode === null;
}

/** SIGTERM does not reach a process that is stopped. */
function resume(pid: number): void {
  process.kill(pid, 'SIGCONT');
}
