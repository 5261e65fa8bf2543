import type { VirtioDevice } from '../../guest/drivers/virtio-device.ts';
import type { Clock } from '../../shared/lib/clock.ts';
import { type ConfigMessage, type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import { queueLayout } from '../../shared/virtio/balloon.ts';
import type { Inputs } from './types.ts';

type Deliver = (message: HostToGuest) => void;

/** Interrupts of one kind: the times the recorded guest acted on them, and how many came here. */
interface Line {
  readonly timesMs: readonly number[];
  count: number;
  /** No interrupt of a kind overtakes one before it. */
  lastMs: number;
}

/**
 * Holds interrupts back until the recorded guest acted on them: the nth statistics buffer that
 * comes back, the nth of the other buffers, the nth configuration change. Config space itself is
 * the device's: what the guest reads is always the newest. An interrupt that the recording does
 * not have is delivered at once: what follows from it is then seen as a difference.
 */
export class InterruptHold {
  readonly #clock: Clock;
  readonly #device: () => VirtioDevice;
  readonly #lines: Readonly<Record<'stats' | 'other' | 'config', Line>>;
  #newestConfig: ConfigMessage | undefined;

  constructor(clock: Clock, inputs: Inputs, device: () => VirtioDevice) {
    this.#clock = clock;
    this.#device = device;
    const used = (kind: string): number[] =>
      inputs.used.filter(({ buffer }) => buffer === kind).map(({ actedMs }) => actedMs);
    this.#lines = {
      stats: newLine(used('stats')),
      other: newLine(used('other')),
      config: newLine(inputs.configInterrupts.map(({ actedMs }) => actedMs)),
    };
  }

  receive(message: HostToGuest, deliver: Deliver): void {
    const line = this.#lineOf(message);
    if (line === undefined) {
      deliver(message);
      return;
    }
    const timeMs = Math.max(line.timesMs[line.count++] ?? this.#clock.now(), line.lastMs);
    line.lastMs = timeMs;
    if (message[0] === Op.config) this.#showConfig(message, deliver);
    this.#clock.setTimeout(() => {
      deliver(message[0] === Op.config ? (this.#newestConfig ?? message) : message);
    }, timeMs - this.#clock.now());
  }

  /** The new content without its interrupt. Binary fields are valid during the call: a copy. */
  #showConfig([op, generation, config]: ConfigMessage, deliver: Deliver): void {
    const copy = new Uint8Array(config);
    this.#newestConfig = [op, generation, copy, true];
    deliver([op, generation, copy, false]);
  }

  #lineOf(message: HostToGuest): Line | undefined {
    if (message[0] === Op.config) return message[3] ? this.#lines.config : undefined;
    if (message[0] !== Op.used) return undefined;
    const queue = queueLayout(this.#device().negotiated)[message[1]];
    return queue === 'stats' ? this.#lines.stats : this.#lines.other;
  }
}

function newLine(timesMs: readonly number[]): Line {
  return { timesMs, count: 0, lastMs: 0 };
}
