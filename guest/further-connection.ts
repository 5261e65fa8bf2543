import type { Clock } from '../shared/lib/clock.ts';
import type { Prng } from '../shared/lib/prng.ts';
import { type GuestToHost, type HostToGuest, Op } from '../shared/protocol/messages.ts';
import { GuestConnection, type Refusal } from '../shared/transport/guest-connection.ts';
import type { Link, LinkEnd } from '../shared/transport/link.ts';
import type { GuestBalloon } from './guest-balloon.ts';

/** How a further device came to be gone for good while its guest runs on. */
export interface BalloonEnd {
  /** `host` powered off what it took for a machine, `refused` never let the device in, or again. */
  readonly by: 'host' | 'refused';
  readonly reason: string;
}

/** A balloon device that another host, or the same one under this id, plugs into a guest. */
export interface FurtherBalloon {
  /** What the guest is called on this connection; no other device of the guest has it. */
  readonly id: string;
  /** Opens a link to the device's host; called again after each loss. */
  dial(): Link;
  readonly onLink?: (state: 'open' | 'resumed' | 'lost', end?: LinkEnd) => void;
  readonly onEnd?: (end: BalloonEnd) => void;
}

/** What a connection needs of the guest. */
export interface FurtherConnectionOptions {
  readonly clock: Clock;
  readonly prng: Prng;
  readonly epoch: number;
  /** All of the guest's RAM: the device may be given any page. */
  readonly regions: Uint8Array;
  /** The connection will not be tried again and its link has ended. */
  readonly onClosed: () => void;
}

/**
 * The connection of a further balloon device to its host. That host has plugged in a device and is
 * no hypervisor of the machine, whatever it takes itself for: the machine neither pauses nor runs
 * at its word (it stops serving its device by itself meanwhile), and when it powers the machine
 * off, or does not let the device in, its device is gone and the machine goes on.
 */
export class FurtherConnection {
  readonly #further: FurtherBalloon;
  readonly #balloon: GuestBalloon;
  readonly #connection: GuestConnection;

  constructor(further: FurtherBalloon, balloon: GuestBalloon, options: FurtherConnectionOptions) {
    this.#further = further;
    this.#balloon = balloon;
    const { onClosed, ...common } = options;
    this.#connection = new GuestConnection({
      ...common,
      dial: () => further.dial(),
      guestId: further.id,
      handlers: {
        onPowerOn: () => this.#onPowerOn(),
        onResumed: () => further.onLink?.('resumed'),
        onMessage: (message) => this.#onMessage(message),
        onLost: (end) => further.onLink?.('lost', end),
        onRefused: (refusal) => this.#onRefused(refusal),
        onClosed,
      },
    });
  }

  get state(): string {
    return this.#connection.state;
  }

  start(): void {
    this.#connection.start();
  }

  send(message: GuestToHost): void {
    this.#connection.send(message);
  }

  close(reason: string): void {
    this.#connection.close(reason);
  }

  /** A host that does not know the device: it begins anew, if there was one. */
  #onPowerOn(): void {
    if (this.#balloon.core.hasDevice) this.#balloon.hostLost();
    this.#further.onLink?.('open');
  }

  #onMessage(message: HostToGuest): void {
    switch (message[0]) {
      case Op.pause:
      case Op.run:
        this.#balloon.refused.add('power_verbs_refused');
        return;
      case Op.powerOff:
        this.#gone({ by: 'host', reason: message[1] });
        this.#connection.close('');
        return;
      default:
        this.#balloon.handle(message);
    }
  }

  #onRefused(refusal: Refusal): void {
    this.#gone({ by: 'refused', reason: refusal.text });
  }

  #gone(end: BalloonEnd): void {
    this.#balloon.pulledOut();
    this.#further.onEnd?.(end);
  }
}
