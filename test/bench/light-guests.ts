import { Prng } from '../../shared/lib/prng.ts';
import { RealClock } from '../../shared/lib/real-clock.ts';
import { GIB, PAGE_SIZE } from '../../shared/lib/units.ts';
import { writePairs } from '../../shared/protocol/bodies.ts';
import { type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { GuestConnection } from '../../shared/transport/guest-connection.ts';
import { transportCounters } from '../../shared/transport/transport-counters.ts';
import { dial } from '../../shared/transport/ws-client.ts';
import {
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../shared/virtio/balloon.ts';
import { ACKNOWLEDGE, DRIVER, DRIVER_OK, FEATURES_OK } from '../../shared/virtio/device-status.ts';
import {
  featureSet,
  fromWords,
  toWords,
  VIRTIO_F_VERSION_1,
} from '../../shared/virtio/features.ts';
import { encodeStats, LINUX_6_1_TAG_ORDER } from '../../shared/virtio/stats.ts';
import type { Part } from './child.ts';
import { nowNs } from './measure.ts';

/**
 * Guests that are only what a host sees of an idle one: a connection, a session and a driver that
 * is up. They have no memory, so thousands fit one process.
 */
const MEMORY_BYTES = 2 * GIB;
const REGIONS = writePairs([{ start: 0, count: MEMORY_BYTES / PAGE_SIZE }]);
const DRIVER_FEATURES = featureSet([
  VIRTIO_BALLOON_F_MUST_TELL_HOST,
  VIRTIO_BALLOON_F_STATS_VQ,
  VIRTIO_F_VERSION_1,
]);
/** Reset, ACKNOWLEDGE, DRIVER, FEATURES_OK, DRIVER_OK. */
const STATUS_WRITES = 5;
const QUEUE_SIZE = 128;
const STATS_QUEUE = 2;
const NOTHING = new Uint8Array(0);

export interface Opening {
  readonly url: string;
  readonly count: number;
  /** How many connect at a time. */
  readonly parallel: number;
}

/** Opens `count` things, `parallel` at a time, and returns how long that took in nanoseconds. */
export async function openMany(
  { count, parallel }: Opening,
  open: (index: number) => Promise<void>,
): Promise<number> {
  const start = nowNs();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await open(next++);
  };
  await Promise.all(Array.from({ length: parallel }, worker));
  return nowNs() - start;
}

class LightGuest {
  readonly #connection: GuestConnection;
  readonly up: Promise<void>;
  #resolveUp: () => void = () => {};
  #statusAnswers = 0;

  constructor(url: string, id: string, clock: RealClock) {
    const counters = transportCounters();
    this.up = new Promise((resolve) => {
      this.#resolveUp = resolve;
    });
    this.#connection = new GuestConnection({
      clock,
      prng: new Prng(1),
      dial: () => dial(url, { clock, counters }),
      guestId: id,
      epoch: 1,
      regions: REGIONS,
      handlers: {
        onPowerOn: () => {},
        onResumed: () => {},
        onMessage: (message) => this.#take(message),
        onLost: () => {},
        onRefused: ({ text }) => {
          throw new Error(`${id} was refused: ${text}`);
        },
        onClosed: () => {},
      },
    });
    this.#connection.start();
  }

  #take(message: HostToGuest): void {
    if (message[0] === Op.device) this.#initialise(fromWords(message[2], message[3]));
    else if (message[0] === Op.statusValue && ++this.#statusAnswers === STATUS_WRITES)
      this.#resolveUp();
  }

  /** What a driver sends from reset to DRIVER_OK, without waiting for answers. */
  #initialise(offered: bigint): void {
    const connection = this.#connection;
    const [low, high] = toWords(offered & DRIVER_FEATURES);
    const known = ACKNOWLEDGE | DRIVER;
    connection.send([Op.status, 0]);
    connection.send([Op.status, ACKNOWLEDGE]);
    connection.send([Op.status, known]);
    connection.send([Op.features, low, high]);
    connection.send([Op.status, known | FEATURES_OK]);
    for (let queue = 0; queue <= STATS_QUEUE; queue++) {
      connection.send([Op.queue, queue, QUEUE_SIZE]);
    }
    const stats = encodeStats(LINUX_6_1_TAG_ORDER.map((tag) => [tag, BigInt(MEMORY_BYTES)]));
    connection.send([Op.avail, STATS_QUEUE, 0, stats, NOTHING]);
    connection.send([Op.status, known | FEATURES_OK | DRIVER_OK]);
  }
}

export function lightGuestsPart(): Part {
  const clock = new RealClock();
  const guests: LightGuest[] = [];
  return {
    open: (opening: Opening) =>
      openMany(opening, (index) => {
        const guest = new LightGuest(opening.url, `vm${index}`, clock);
        guests.push(guest);
        return guest.up;
      }),
  };
}
