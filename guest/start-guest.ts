import { LineServer } from '../shared/control/line-server.ts';
import { guestRequestSchema } from '../shared/control/schemas.ts';
import { type Log, SILENT } from '../shared/lib/log.ts';
import { RealClock } from '../shared/lib/real-clock.ts';
import { GIB, MIB } from '../shared/lib/units.ts';
import { requireSafeDial } from '../shared/transport/exposure.ts';
import type { LinkEnd } from '../shared/transport/link.ts';
import { transportCounters } from '../shared/transport/transport-counters.ts';
import { dial, endpointUrl } from '../shared/transport/ws-client.ts';
import { requireCertificates } from '../shared/transport/ws-tls.ts';
import { GuestControl } from './control.ts';
import type { LinuxVersion } from './drivers/balloon-stats.ts';
import { Guest, type GuestEnd } from './guest.ts';
import type { BalloonCompaction } from './mm/balloon/compaction-mode.ts';
import type { FreeListDump } from './mm/page/image.ts';
import { StartQueue } from './start-queue.ts';
import type { KmemEvent } from './workload/kmem-trace.ts';
import type { Program } from './workload/programs.ts';
import type { TraceReport } from './workload/trace-program.ts';

export interface StartGuestOptions {
  /** The host's URL: ws://127.0.0.1:7420 */
  readonly connect: string;
  /** What the host asks of every request; over TLS or to this machine alone, see `insecure`. */
  readonly token?: string | undefined;
  /** Certificates, as PEM, that are trusted in the place of the system's. */
  readonly ca?: string | undefined;
  /** The token may go to another machine in the clear. */
  readonly insecure?: boolean;
  readonly id: string;
  /** RAM in bytes; 1 GiB if left out. With an image exactly the image's. */
  readonly memoryBytes?: number;
  /** A recorded free-list dump to boot from instead of a fresh layout (image.ts). */
  readonly image?: FreeListDump | undefined;
  /** How many guests; with more than one the ids are ID-0, ID-1, ... */
  readonly count?: number;
  readonly seed?: number;
  /**
   * Number of this life, above those of earlier ones; microseconds since 1970 if left out. A clock
   * that was set back makes that too low: the host refuses the guest and says both numbers.
   */
  readonly epoch?: number;
  readonly linux?: LinuxVersion;
  /** Boots with page_poison=1; off if left out. */
  readonly pagePoison?: boolean;
  /** How compaction moves pages of the balloon, if at all; `movable` if left out. */
  readonly balloonCompaction?: BalloonCompaction;
  /** Requests recorded after the image, to be played from power-on (TraceProgram). */
  readonly kmemTrace?: readonly KmemEvent[] | undefined;
  readonly onTracePlayed?: (id: string, report: TraceReport) => void;
  /** Size of each guest's swap device; there is none if left out. */
  readonly swapBytes?: number;
  /** Programs to run from power-on; the default is one that makes statistics move. */
  readonly programs?: readonly Program[];
  /** Path of the control socket. */
  readonly control?: string;
  readonly log?: Log;
  readonly onLink?: (id: string, state: 'open' | 'resumed' | 'lost', end?: LinkEnd) => void;
}

export interface RunningGuests {
  readonly guests: readonly Guest[];
  /** Resolves when every guest has come to its end. */
  readonly ended: Promise<readonly GuestEnd[]>;
  /** Shuts all guests down by their own will and closes the control socket. */
  close(reason?: string): Promise<void>;
}

/** The default workload: around 2 % of RAM, at least 1 MiB, growing and shrinking for ever. */
export function defaultPrograms(memoryBytes: number): Program[] {
  return [{ name: 'daemon', mib: Math.max(1, memoryBytes / MIB / 50), periodMs: 500 }];
}

/**
 * Starts one or more guests in this process, one connection each. Rejects with ExposureError when
 * a token would leave this machine in the clear, with TlsError for a `ca` without certificates.
 */
export async function startGuest(options: StartGuestOptions): Promise<RunningGuests> {
  const clock = new RealClock();
  const counters = transportCounters();
  const url = endpointUrl(options.connect);
  const { token, ca, insecure = false } = options;
  requireSafeDial(url, { hasToken: token !== undefined, hasTls: ca !== undefined, insecure });
  if (ca !== undefined) requireCertificates(ca);
  const memoryBytes = options.memoryBytes ?? GIB;
  const count = options.count ?? 1;
  // Not milliseconds: a guest may shut down and be started again within one.
  const epoch = options.epoch ?? Math.floor(clock.wallMs() * 1000);
  const ids = Array.from({ length: count }, (_, index) => {
    return count === 1 ? options.id : `${options.id}-${index}`;
  });
  const guests = new Map<string, Guest>();
  const queue = new StartQueue();
  const control =
    options.control === undefined
      ? undefined
      : new LineServer(options.control, guestRequestSchema, (request) => {
          return new GuestControl(guests).handle(request);
        });
  await control?.listen();
  for (const [index, id] of ids.entries()) {
    const guest = new Guest({
      id,
      memoryBytes,
      ...(options.image === undefined ? {} : { image: options.image }),
      ...(options.kmemTrace === undefined ? {} : { kmemTrace: options.kmemTrace }),
      onTracePlayed: (report) => options.onTracePlayed?.(id, report),
      epoch,
      clock,
      seed: (options.seed ?? 1) + index,
      linux: options.linux ?? '6.1',
      pagePoison: options.pagePoison ?? false,
      balloonCompaction: options.balloonCompaction ?? 'movable',
      ...(options.swapBytes === undefined ? {} : { swapBytes: options.swapBytes }),
      programs: options.programs ?? defaultPrograms(memoryBytes),
      log: options.log ?? SILENT,
      dial: () => dial(url, { clock, counters, token, ca }),
      onLink: (state, end) => {
        if (state === 'open') queue.reached(id);
        options.onLink?.(id, state, end);
      },
    });
    guests.set(id, guest);
    queue.add(guest);
  }
  queue.startMore();
  const list = [...guests.values()];
  const ended = Promise.all(list.map((guest) => guest.ended));
  return {
    guests: list,
    ended,
    close: async (reason = 'guest-shutdown') => {
      for (const guest of list) guest.shutdown(reason);
      await ended;
      await control?.close();
    },
  };
}
