import { LineServer } from '../shared/control/line-server.ts';
import { guestRequestSchema } from '../shared/control/schemas.ts';
import { SILENT } from '../shared/lib/log.ts';
import { RealClock } from '../shared/lib/real-clock.ts';
import { GIB, MIB } from '../shared/lib/units.ts';
import { requireSafeDial } from '../shared/transport/exposure.ts';
import type { Link, LinkEnd } from '../shared/transport/link.ts';
import { transportCounters } from '../shared/transport/transport-counters.ts';
import { dial, endpointUrl } from '../shared/transport/ws-client.ts';
import { requireCertificates } from '../shared/transport/ws-tls.ts';
import { GuestControl } from './control.ts';
import { type BalloonChoice, requireBalloons } from './further-balloons.ts';
import type { BalloonEnd, FurtherBalloon } from './further-connection.ts';
import { Guest, type GuestEnd, type GuestOptions } from './guest.ts';
import { StartQueue } from './start-queue.ts';
import type { Program } from './workload/programs.ts';
import type { TraceReport } from './workload/trace-program.ts';

/** What each guest is given as it is; see GuestOptions. */
type PassedOn = Pick<
  GuestOptions,
  'image' | 'kmemTrace' | 'pagePoison' | 'balloonCompaction' | 'swapBytes'
>;

export interface StartGuestOptions
  extends PassedOn,
    Partial<Pick<GuestOptions, 'seed' | 'linux' | 'log'>> {
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
  /** How many guests; with more than one the ids are ID-0, ID-1, ... */
  readonly count?: number;
  /** Balloon devices beside the first, of a guest that is the only one. */
  readonly balloons?: readonly BalloonChoice[];
  /**
   * Number of this life, above those of earlier ones; microseconds since 1970 if left out. A clock
   * that was set back makes that too low: the host refuses the guest and says both numbers.
   */
  readonly epoch?: number;
  /** Programs to run from power-on; the default is one that makes statistics move. */
  readonly programs?: readonly Program[];
  /** Path of the control socket. */
  readonly control?: string;
  readonly onTracePlayed?: (id: string, report: TraceReport) => void;
  readonly onLink?: (id: string, state: 'open' | 'resumed' | 'lost', end?: LinkEnd) => void;
  /** The same of the balloon devices beside the first, by their ids. */
  readonly onBalloonLink?: StartGuestOptions['onLink'];
  /** One of them is gone for good; its guest runs on. */
  readonly onBalloonEnd?: (id: string, end: BalloonEnd) => void;
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
 * Starts one or more guests in this process, one connection for each balloon device. Rejects with
 * ExposureError when a token would leave this machine in the clear, with TlsError for a `ca`
 * without certificates, with BalloonChoiceError for devices that no guest can have.
 */
export async function startGuest(options: StartGuestOptions): Promise<RunningGuests> {
  const { id, count = 1, balloons = [] } = options;
  requireBalloons(balloons, { id, count });
  const dialler = new Dialler(options.insecure ?? false);
  const dialHost = dialler.to(options);
  const dialFurther = balloons.map(({ connect, ...choice }) => {
    return connect === undefined ? dialHost : dialler.to({ ...choice, connect });
  });
  const guests = new Map<string, Guest>();
  const control =
    options.control === undefined
      ? undefined
      : new LineServer(options.control, guestRequestSchema, (request) => {
          return new GuestControl(guests).handle(request);
        });
  await control?.listen();
  const queue = new StartQueue();
  const common = commonOptions(options, dialler.clock);
  for (let index = 0; index < count; index++) {
    const guestId = count === 1 ? id : `${id}-${index}`;
    const guest = new Guest({
      ...common,
      id: guestId,
      seed: common.seed + index,
      dial: dialHost,
      balloons: balloons.map((balloon, at) => further(balloon.id, dialFurther[at], options)),
      onTracePlayed: (report) => options.onTracePlayed?.(guestId, report),
      onLink: (state, end) => {
        if (state === 'open') queue.reached(guestId);
        options.onLink?.(guestId, state, end);
      },
    });
    guests.set(guestId, guest);
    queue.add(guest);
  }
  queue.startMore();
  return running([...guests.values()], control);
}

/** What a URL, a token and certificates become: something that opens links. */
class Dialler {
  readonly clock = new RealClock();
  readonly #counters = transportCounters();
  readonly #insecure: boolean;

  constructor(insecure: boolean) {
    this.#insecure = insecure;
  }

  to({ connect, token, ca }: Pick<StartGuestOptions, 'connect' | 'token' | 'ca'>): () => Link {
    const url = endpointUrl(connect);
    const protection = { hasToken: token !== undefined, hasTls: ca !== undefined };
    requireSafeDial(url, { ...protection, insecure: this.#insecure });
    if (ca !== undefined) requireCertificates(ca);
    const { clock } = this;
    return () => dial(url, { clock, counters: this.#counters, token, ca });
  }
}

/** What all guests of the process have in common. */
function commonOptions(options: StartGuestOptions, clock: RealClock) {
  const { image, kmemTrace, pagePoison, balloonCompaction, swapBytes } = options;
  const memoryBytes = options.memoryBytes ?? GIB;
  return {
    ...{ image, kmemTrace, pagePoison, balloonCompaction, swapBytes },
    memoryBytes,
    clock,
    // Not milliseconds: a guest may shut down and be started again within one.
    epoch: options.epoch ?? Math.floor(clock.wallMs() * 1000),
    seed: options.seed ?? 1,
    linux: options.linux ?? '6.1',
    programs: options.programs ?? defaultPrograms(memoryBytes),
    log: options.log ?? SILENT,
  } satisfies Partial<GuestOptions>;
}

function further(id: string, dialHost: () => Link, options: StartGuestOptions): FurtherBalloon {
  return {
    id,
    dial: dialHost,
    onLink: (state, end) => options.onBalloonLink?.(id, state, end),
    onEnd: (end) => options.onBalloonEnd?.(id, end),
  };
}

function running(guests: readonly Guest[], control: { close(): Promise<void> } | undefined) {
  const ended = Promise.all(guests.map((guest) => guest.ended));
  return {
    guests,
    ended,
    close: async (reason = 'guest-shutdown') => {
      for (const guest of guests) guest.shutdown(reason);
      await ended;
      await control?.close();
    },
  } satisfies RunningGuests;
}
