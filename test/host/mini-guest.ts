import type { Clock } from '../../shared/lib/clock.ts';
import { Prng } from '../../shared/lib/prng.ts';
import { writePairs, writePfns } from '../../shared/protocol/bodies.ts';
import { type GuestToHost, type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { GuestConnection } from '../../shared/transport/guest-connection.ts';
import type { Link } from '../../shared/transport/link.ts';
import { fromWords, toWords } from '../../shared/virtio/features.ts';
import { opName, REGIONS } from './vmm/guest-end.ts';

export const NOTHING = new Uint8Array(0);

export interface MiniGuestOptions {
  readonly clock: Clock;
  dial(): Link;
  readonly guestId?: string;
  readonly epoch?: number;
  /** Called after each message and each change of the connection. */
  onNews?(): void;
}

/** A guest whose driver does as little as it can: initialises and sends what a test says. */
export class MiniGuest {
  readonly connection: GuestConnection;
  readonly received: HostToGuest[] = [];
  readonly events: string[] = [];
  readonly #options: MiniGuestOptions;
  #initialised = false;

  constructor(options: MiniGuestOptions) {
    this.#options = options;
    this.connection = new GuestConnection({
      clock: options.clock,
      prng: new Prng(1),
      dial: () => options.dial(),
      guestId: options.guestId ?? 'vm0',
      epoch: options.epoch ?? 1,
      regions: writePairs(REGIONS),
      handlers: {
        onPowerOn: () => this.#note('power-on'),
        onResumed: () => this.#note('resumed'),
        onMessage: (message) => this.#take(structuredClone(message)),
        onLost: ({ reason }) => this.#note(`lost ${reason}`),
        onRefused: ({ error }) => this.#note(`refused ${error}`),
        onClosed: () => this.#note('closed'),
      },
    });
    this.connection.start();
  }

  say(...messages: GuestToHost[]): void {
    for (const message of messages) this.connection.send(message);
  }

  inflate(id: number, ...pfns: number[]): void {
    this.say([Op.avail, 0, id, writePfns(pfns), NOTHING]);
  }

  ops(): string[] {
    return this.received.map(opName);
  }

  #note(event: string): void {
    this.events.push(event);
    this.#options.onNews?.();
  }

  #take(message: HostToGuest): void {
    this.received.push(message);
    this.#options.onNews?.();
    if (message[0] !== Op.device || this.#initialised) return;
    this.#initialised = true;
    const [low, high] = toWords(fromWords(message[2], message[3]));
    this.say([Op.status, 0], [Op.status, 1], [Op.status, 3], [Op.features, low, high]);
    this.say([Op.status, 11], [Op.queue, 0, 128], [Op.queue, 1, 128], [Op.queue, 2, 128]);
    this.say([Op.status, 15]);
  }
}
