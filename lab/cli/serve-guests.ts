import type { LinuxVersion } from '../../guest/drivers/balloon-stats.ts';
import type { GuestEnd } from '../../guest/guest.ts';
import type { BalloonCompaction } from '../../guest/mm/balloon/compaction-mode.ts';
import { type RunningGuests, type StartGuestOptions, startGuest } from '../../guest/start-guest.ts';
import type { KmemEvent } from '../../guest/workload/kmem-trace.ts';
import type { TraceReport } from '../../guest/workload/trace-program.ts';
import { quotePeer } from '../../shared/lib/log.ts';
import { MAX_GUEST_ID_LENGTH } from '../../shared/limits.ts';
import { isGuestId } from '../../shared/protocol/codec.ts';
import type { LinkEnd } from '../../shared/transport/link.ts';
import { type GuestImage, readGuestImage, readKmemTrace } from '../guest-image.ts';
import { Progress } from '../progress.ts';
import { EXIT, UsageError } from './errors.ts';
import { type BalloonFlag, BalloonReport } from './guest-balloons.ts';
import { makeLog } from './logging.ts';
import { readCa, readToken } from './security.ts';
import { serviceExitCode, stopSignal } from './signals.ts';

export interface GuestFlags {
  readonly connect: string;
  readonly id: string;
  readonly memory?: number;
  readonly swap?: number;
  readonly image?: string;
  readonly kmemTrace?: string;
  readonly balloon?: readonly BalloonFlag[];
  readonly count: number;
  readonly seed: number;
  readonly epoch?: number;
  readonly linux: LinuxVersion;
  readonly workload: 'default' | 'none';
  readonly pagePoison?: true;
  readonly balloonCompaction: BalloonCompaction;
  readonly control?: string;
  readonly tokenFile?: string;
  readonly tlsCa?: string;
  readonly insecure?: true;
  readonly log?: string | true;
}

/** What `puff guest` does: runs guests until all have ended or a signal comes. */
export async function serveGuests(flags: GuestFlags): Promise<void> {
  const stopped = stopSignal();
  requireIds(flags);
  const running = await startGuest({
    ...hostsOf(flags),
    id: flags.id,
    ...memoryOf(flags),
    kmemTrace: traceOf(flags),
    onTracePlayed: sayPlayed,
    count: flags.count,
    seed: flags.seed,
    ...(flags.epoch === undefined ? {} : { epoch: flags.epoch }),
    linux: flags.linux,
    pagePoison: flags.pagePoison ?? false,
    balloonCompaction: flags.balloonCompaction,
    ...(flags.swap === undefined ? {} : { swapBytes: flags.swap }),
    log: makeLog(flags.log),
    ...(flags.workload === 'none' ? { programs: [] } : {}),
    ...(flags.control === undefined ? {} : { control: flags.control }),
    onLink: new LinkReport(flags).onLink,
  });
  const ended = allEnded(running);
  const outcome = await Promise.race([stopped, ended]);
  await running.close();
  process.exitCode = typeof outcome === 'string' ? serviceExitCode(outcome) : exitCodeOf(outcome);
}

/** Whom to dial with what: the guest's host and those of its further balloon devices. */
function hostsOf(flags: GuestFlags) {
  const { connect, id, balloon = [], tlsCa, insecure = false } = flags;
  const token = readToken(flags.tokenFile);
  const isOverTls = (url: string): boolean => /^wss:/i.test(url);
  const urls = [connect, ...balloon.map((flag) => flag.connect ?? connect)];
  const ca = readCa(tlsCa, urls.find(isOverTls) ?? connect);
  const caFor = (url: string): string | undefined => (isOverTls(url) ? ca : undefined);
  const report = new BalloonReport(id, connect, balloon);
  return {
    ...{ connect, token, ca: caFor(connect), insecure },
    balloons: balloon.map((flag) => ({ ...flag, token, ca: caFor(flag.connect ?? connect) })),
    onBalloonLink: report.onLink,
    onBalloonEnd: report.onEnd,
  } satisfies Partial<StartGuestOptions>;
}

/** RAM, and with --image the recorded guest to boot from. */
function memoryOf({ memory, image }: GuestFlags): Partial<GuestImage> {
  if (image !== undefined) return readGuestImage(image, memory);
  return memory === undefined ? {} : { memoryBytes: memory };
}

function traceOf({ image, kmemTrace }: GuestFlags): KmemEvent[] | undefined {
  if (kmemTrace === undefined) return undefined;
  if (image === undefined) throw new UsageError('--kmem-trace needs --image: what came before it');
  return readKmemTrace(kmemTrace);
}

function sayPlayed(id: string, report: TraceReport): void {
  const { allocations, sameFrames, failed, frees, impossibleFrees } = report;
  const had = `${allocations} allocations, ${sameFrames} with the recorded frame, ${failed} failed`;
  say(id, `trace played: ${had}; ${frees} frees, ${impossibleFrees} of nothing`);
}

/** With --count the number behind the id must fit as well. */
function requireIds({ id, count }: GuestFlags): void {
  if (count === 1 || isGuestId(`${id}-${count - 1}`)) return;
  throw new UsageError(
    `--id ${id}: with --count ${count} an id gets longer than ${MAX_GUEST_ID_LENGTH} characters`,
  );
}

/** Tells what becomes of connections: a line each, a bar on a terminal for many guests. */
class LinkReport {
  readonly #flags: GuestFlags;
  readonly #progress: Progress | undefined;
  #openCount = 0;

  constructor(flags: GuestFlags) {
    this.#flags = flags;
    const isBar = flags.count > 1 && process.stdout.isTTY;
    if (isBar) this.#progress = new Progress(process.stdout, `puff guest ${flags.id}: connected`);
  }

  readonly onLink = (id: string, state: 'open' | 'resumed' | 'lost', end?: LinkEnd): void => {
    const { connect, seed, count } = this.#flags;
    if (state === 'lost') {
      // The reason may be the host's own words.
      say(id, `lost (${quotePeer(end?.reason || `code ${end?.code}`)}), trying again`);
    } else if (state === 'resumed') {
      say(id, 'resumed');
    } else if (this.#progress === undefined || this.#openCount >= count) {
      say(id, `connected to ${connect}, seed ${seed}`);
    } else {
      this.#openCount++;
      this.#progress.show(this.#openCount, count, `${this.#openCount} of ${count}`);
      if (this.#openCount === count) this.#progress.end();
    }
  };
}

/** Tells each guest's end as it comes; resolves when all have ended. */
function allEnded({ guests }: RunningGuests): Promise<readonly GuestEnd[]> {
  return Promise.all(
    guests.map(async ({ id, ended }) => {
      const end = await ended;
      const reason = quotePeer(end.reason);
      if (end.by === 'refused') {
        process.stderr.write(`puff: the host does not take guest ${id}: ${reason}\n`);
      } else if (end.by === 'host') {
        say(id, `powered off (${reason})`);
      }
      return end;
    }),
  );
}

function exitCodeOf(ends: readonly GuestEnd[]): number {
  return ends.some((end) => end.by === 'refused') ? EXIT.unusable : EXIT.ok;
}

function say(id: string, text: string): void {
  process.stdout.write(`puff guest ${id}: ${text}\n`);
}
