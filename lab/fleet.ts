import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BalloonCompaction } from '../guest/mm/balloon/compaction-mode.ts';
import { LineClient } from '../shared/control/line-client.ts';
import type { GuestDump, HostGuestSummary } from '../shared/control/schemas.ts';
import { formatSize, PAGE_SIZE } from '../shared/lib/units.ts';
import { PuffProcess } from './process.ts';
import { connectQmp, type QmpClient } from './qmp-client.ts';

export interface FleetGuest {
  readonly id: string;
  /** 1 GiB if left out; with an image the image's. */
  readonly memoryBytes?: number | undefined;
  /** A recorded free-list dump to boot from: path of a `freelists-*.json.gz`. */
  readonly image?: string | undefined;
  readonly workload?: 'none' | 'default';
  readonly linux?: '6.1' | '6.12';
  readonly balloonCompaction?: BalloonCompaction;
}

export interface FleetOptions {
  readonly guests: readonly FleetGuest[];
  /** `-device` options of the host's guests, as QEMU spells them. */
  readonly device?: string;
  readonly strict?: boolean;
  readonly seed?: number;
  /** Write ID.wire.jsonl for each guest into the fleet's folder. */
  readonly trace?: boolean;
  /** Further arguments of the host's command line. */
  readonly hostArgs?: readonly string[];
}

/** A guest did not get where it should in time; one line with both sides' last view. */
export class FleetTimeout extends Error {
  override readonly name = 'FleetTimeout';
}

/** The fleet was stopped, or what was asked for was never started. */
export class FleetError extends Error {
  override readonly name = 'FleetError';
}

interface Request {
  readonly verb: string;
  readonly [name: string]: unknown;
}

/** A process with its control channel. */
interface Member {
  readonly process: PuffProcess;
  readonly control: LineClient;
}

/**
 * A host process and one process per guest, with their sockets in a temporary folder. Whoever
 * makes one calls `stop` in the end, also when `start` was rejected. Impure: processes, timers.
 */
export class Fleet {
  readonly directory = mkdtempSync(join(tmpdir(), 'puff-'));
  readonly #options: FleetOptions;
  /** Every process from its start on, the host's first. */
  readonly #processes: PuffProcess[] = [];
  readonly #guests = new Map<string, Member>();
  #host: Member | undefined;
  #url = '';
  #stopped: Promise<void> | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /**
   * Starts the host, then the guests; resolves when every guest's driver is up. Rejects with
   * ProcessError when one of them ends before it is ready.
   */
  async start(): Promise<void> {
    const { device, strict, trace, hostArgs = [] } = this.#options;
    const control = join(this.directory, 'host.ctl');
    const host = this.#spawn([
      ...['host', '--listen', '127.0.0.1:0', '--qmp', this.directory, '--control', control],
      ...(device === undefined ? [] : ['--device', device]),
      ...(strict ? ['--strict'] : []),
      ...(trace ? ['--trace', this.directory] : []),
      ...hostArgs,
    ]);
    const [, url = ''] = await host.line(/listening on (ws:\S+)/);
    this.#url = url;
    this.#host = { process: host, control: await LineClient.connect(control) };
    await Promise.all(this.#options.guests.map((guest) => this.startGuest(guest)));
  }

  /** Starts one more guest; resolves when its driver is up. Rejects with ProcessError. */
  async startGuest(guest: FleetGuest): Promise<void> {
    const { id, memoryBytes, workload = 'default', linux = '6.1' } = guest;
    const { image, balloonCompaction = 'movable' } = guest;
    const control = join(this.directory, `${id}.ctl`);
    const child = this.#spawn([
      ...['guest', '--connect', this.#url, '--id', id],
      ...(memoryBytes === undefined ? [] : ['--memory', formatSize(memoryBytes)]),
      ...(image === undefined ? [] : ['--image', image]),
      ...['--seed', String(this.#options.seed ?? 1), '--workload', workload, '--linux', linux],
      ...['--balloon-compaction', balloonCompaction, '--control', control],
    ]);
    await child.line(/connected/);
    this.#guests.set(id, { process: child, control: await LineClient.connect(control) });
    await this.until(id, (state) => state.dump.driver === 'bound');
  }

  get url(): string {
    return this.#url;
  }

  /** Who runs and where its sockets are: `host is process 4711, vm0 4712; files in /tmp/...`. */
  get about(): string {
    const members = [...this.#guests].sort(([a], [b]) => (a < b ? -1 : 1));
    const guests = members.map(([id, guest]) => `, ${id} ${guest.process.child.pid}`);
    const host = `host is process ${this.#host?.process.child.pid}`;
    return `${host}${guests.join('')}; files in ${this.directory}`;
  }

  qmp(id: string): Promise<QmpClient> {
    return connectQmp(join(this.directory, `${id}.qmp`));
  }

  /** Sends a request to the host's control channel. Rejects with ControlRequestError. */
  host<Result>(request: Request): Promise<Result> {
    if (this.#host === undefined) return Promise.reject(new FleetError('the host is not up'));
    return this.#host.control.request(request);
  }

  /** Sends a request to a guest's control channel. Rejects with ControlRequestError. */
  guest<Result>(id: string, request: Request): Promise<Result> {
    const guest = this.#guests.get(id);
    if (guest === undefined) return Promise.reject(new FleetError(`guest ${id} is not up`));
    return guest.control.request(request);
  }

  /** Host's and guest's view of one guest at about the same time. */
  async look(id: string): Promise<FleetView> {
    const [summaries, dump] = await Promise.all([
      this.host<HostGuestSummary[]>({ verb: 'list' }),
      this.guest<GuestDump>(id, { verb: 'dump' }),
    ]);
    const summary = summaries.find((one) => one.id === id);
    if (summary === undefined) throw new FleetError(`the host knows no guest ${id}`);
    return { host: summary, dump };
  }

  /** Looks every `everyMs` until `done` holds. Rejects with FleetTimeout after `timeoutMs`. */
  async until(
    id: string,
    done: (view: FleetView) => boolean,
    { timeoutMs = 30_000, everyMs = 20 } = {},
  ): Promise<FleetView> {
    for (const startMs = performance.now(); ; ) {
      const view = await this.look(id);
      if (done(view)) return view;
      if (performance.now() - startMs >= timeoutMs) {
        const seen = JSON.stringify(view);
        throw new FleetTimeout(`${id} did not get there in ${timeoutMs} ms: ${seen}`);
      }
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  /** Target, `actual`, ledger and list agree and no balloon buffer is in flight. */
  settled(id: string, timeoutMs = 30_000): Promise<FleetView> {
    return this.until(id, isSettled, { timeoutMs });
  }

  /** The ledger's and the list's frames, compared frame by frame. */
  async sameFrames(id: string): Promise<{ equal: boolean; pages: number }> {
    const [ledger, dump] = await Promise.all([
      this.host<{ pfns: number[] }>({ verb: 'ledger', guest: id, pfns: true }),
      this.guest<GuestDump>(id, { verb: 'dump', pfns: true }),
    ]);
    const list = [...(dump.pfns ?? [])].sort((a, b) => a - b);
    const held = [...ledger.pfns].sort((a, b) => a - b);
    const equal = list.length === held.length && list.every((pfn, index) => pfn === held[index]);
    return { equal, pages: list.length };
  }

  /** Ends every process and removes the folder; what is under way is rejected. */
  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    for (const { control } of this.#guests.values()) control.close();
    const [host, ...guests] = this.#processes;
    await Promise.all(guests.map((guest) => guest.stop()));
    this.#host?.control.close();
    await host?.stop();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #spawn(args: readonly string[]): PuffProcess {
    if (this.#stopped !== undefined) throw new FleetError('the fleet was stopped');
    const child = new PuffProcess(args);
    this.#processes.push(child);
    return child;
  }
}

export interface FleetView {
  readonly host: HostGuestSummary;
  readonly dump: GuestDump;
}

/** The statistics buffer always rests with the host: it is not counted as in flight. */
export function isSettled({ host, dump }: FleetView): boolean {
  const ballooned = (host.ramBytes - host.targetBytes) / PAGE_SIZE;
  return (
    host.actualBytes === host.targetBytes &&
    host.ledgerPages === ballooned &&
    dump.listPages + dump.isolatedPages === ballooned &&
    !dump.resizing &&
    host.buffersInFlight === 0
  );
}

/**
 * Does `body` with a fleet that is stopped in every case, at once when `abort` fires: rejects with
 * its reason then, for what a stopped fleet makes of a request is no news.
 */
export async function withFleet(
  fleet: Fleet,
  abort: AbortSignal,
  body: () => Promise<void>,
): Promise<void> {
  const stop = (): void => void fleet.stop();
  abort.addEventListener('abort', stop);
  try {
    await body();
  } catch (error) {
    abort.throwIfAborted();
    throw error;
  } finally {
    abort.removeEventListener('abort', stop);
    await fleet.stop();
  }
}
