import { fail } from '../../shared/lib/assert.ts';
import type { Log } from '../../shared/lib/log.ts';
import { ProtocolError } from '../../shared/protocol/errors.ts';
import { type GuestToHost, type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import {
  ACKNOWLEDGE,
  DEVICE_NEEDS_RESET,
  DRIVER,
  DRIVER_OK,
  FAILED,
  FEATURES_OK,
} from '../../shared/virtio/device-status.ts';
import { type Features, toWords } from '../../shared/virtio/features.ts';
import { type Scheduler, type Waiting, WaitQueue } from '../sched/scheduler.ts';
import { readDescription } from './device-description.ts';
import { Virtqueue } from './virtqueue.ts';

/** Where a driver's messages go. Binary fields may be reused as soon as `send` returns. */
export interface VirtioPort {
  send(message: GuestToHost): void;
}

/** What the driver core calls back on a configuration-change interrupt. */
export type ConfigChanged = () => void;

/**
 * The guest's view of one virtio device: the part of Linux' virtio core that a transport serves.
 * Config space is mirrored here: the host sends it whole whenever it changes, so a read never
 * leaves the guest and is never torn (G23, G24 hold by construction).
 *
 * Not emulated: rings in memory, interrupt status and acknowledgement, queue reset, packed rings.
 */
export class VirtioDevice {
  readonly #scheduler: Scheduler;
  readonly #port: VirtioPort;
  readonly #log: Log;
  readonly #statusAnswered = new WaitQueue('device status');
  #statusAnswers = 0;
  #statusWrites = 0;
  /** What the device showed last. */
  #status = 0;
  #offered: Features = 0n;
  #negotiated: Features = 0n;
  #queueSizes: readonly number[] = [];
  #queues: Virtqueue[] = [];
  #config = new DataView(new ArrayBuffer(0));
  #generation = 0;
  /** The host that had this device is gone (virtqueue_is_broken): nothing is sent or waited for. */
  #broken = false;
  onConfigChanged: ConfigChanged | undefined;

  constructor(scheduler: Scheduler, port: VirtioPort, log: Log) {
    this.#scheduler = scheduler;
    this.#port = port;
    this.#log = log;
  }

  get offered(): Features {
    return this.#offered;
  }

  get negotiated(): Features {
    return this.#negotiated;
  }

  get status(): number {
    return this.#status;
  }

  get generation(): number {
    return this.#generation;
  }

  /** Buffers made available and not returned, over all queues. */
  get inFlight(): number {
    return this.#queues.reduce((sum, queue) => sum + queue.inFlight, 0);
  }

  /** The host is gone with all it knew: every wait ends, every message is void from now on. */
  break(): void {
    this.#broken = true;
    for (const queue of this.#queues) queue.break();
    this.#scheduler.wake(this.#statusAnswered);
  }

  /** A new host has the device: it is as after a power-on and has to be initialised. */
  mend(): void {
    this.#broken = false;
    this.#status = 0;
    this.#statusAnswers = this.#statusWrites;
    this.#queues = [];
  }

  /** The device is given back: its host is told, if still there, and it is forgotten. */
  eject(): void {
    if (this.#broken) return;
    this.#port.send([Op.unplugged]);
    this.#status = 0;
    this.#offered = 0n;
    this.#negotiated = 0n;
    this.#queues = [];
    this.#config = new DataView(new ArrayBuffer(0));
  }

  /**
   * Delivers what the host sent about this device. Throws ProtocolError for what no device is.
   */
  handle(message: HostToGuest): void {
    switch (message[0]) {
      case Op.device:
        ({ offered: this.#offered, queueSizes: this.#queueSizes } = readDescription(message));
        this.#setConfig(message[5], message[6]);
        return;
      case Op.statusValue:
        this.#show(message[1]);
        // An answer to nothing is the host's mistake: counted, it would answer the next write.
        if (!message[2] || this.#statusAnswers === this.#statusWrites) return;
        this.#statusAnswers++;
        this.#scheduler.wake(this.#statusAnswered);
        return;
      case Op.config:
        if (message[2].length !== this.#config.byteLength) {
          throw new ProtocolError('bad-schema', 'the size of the config space changed');
        }
        this.#setConfig(message[1], message[2]);
        if (message[3]) this.onConfigChanged?.();
        return;
      case Op.used:
        this.#queues[message[1]]?.returned(message[2]);
        return;
      default:
        fail('a virtio device gets only messages about itself', String(message[0]));
    }
  }

  /** virtio_reset_device: done when the status reads 0 (G22); queues and features are gone. */
  *reset(): Waiting {
    yield* this.#writeStatus(0);
    this.#queues = [];
    this.#negotiated = 0n;
  }

  /** Sets one more status bit and waits until the device shows it or not. */
  *addStatus(bit: number): Waiting {
    yield* this.#writeStatus(this.#status | bit);
  }

  /** register_virtio_device and what remove leaves behind: reset, then ACKNOWLEDGE. */
  *acknowledge(): Waiting {
    yield* this.reset();
    yield* this.addStatus(ACKNOWLEDGE);
  }

  /**
   * G29 steps 3 to 6: DRIVER, the accepted subset, FEATURES_OK and its re-read.
   * Returns false when the device does not accept the subset (G32); FAILED is set then.
   */
  *negotiate(accepted: Features): Waiting<boolean> {
    yield* this.addStatus(DRIVER);
    const [low, high] = toWords(accepted);
    if (!this.#broken) this.#port.send([Op.features, low, high]);
    yield* this.addStatus(FEATURES_OK);
    if ((this.#status & FEATURES_OK) === 0) {
      yield* this.addStatus(FAILED);
      return false;
    }
    this.#negotiated = accepted;
    return true;
  }

  /**
   * virtio_find_vqs: enables the first `names.length` queues, each with its maximum size. Undefined
   * (ENOENT of virtio_pci_modern's setup_vq) when a probe that failed left them enabled: without a
   * reset there is no way back.
   */
  findVqs(names: readonly string[]): Virtqueue[] | undefined {
    if (this.#queues.length > 0) return undefined;
    this.#queues = names.map((name, index) => {
      // A device that is gone may be followed by one with fewer queues; it is sent nothing.
      const size = this.#queueSizes[index] ?? 1;
      if (!this.#broken) this.#port.send([Op.queue, index, size]);
      return new Virtqueue({ name, index, size, port: this.#port });
    });
    if (this.#broken) for (const queue of this.#queues) queue.break();
    return this.#queues;
  }

  /** virtio_device_ready. */
  *ready(): Waiting {
    yield* this.addStatus(DRIVER_OK);
  }

  /** Reads a 32-bit field of the mirrored config space; 0 past its end. */
  readConfig32(offset: number): number {
    if (offset + 4 > this.#config.byteLength) return 0;
    return this.#config.getUint32(offset, true);
  }

  /** Writes a 32-bit field in one access (N23). */
  writeConfig32(offset: number, value: number): void {
    const bytes = Uint8Array.of(value, value >>> 8, value >>> 16, value >>> 24);
    if (offset + 4 <= this.#config.byteLength) this.#config.setUint32(offset, value, true);
    if (!this.#broken) this.#port.send([Op.configWrite, offset, bytes]);
  }

  *#writeStatus(value: number): Waiting {
    const mine = ++this.#statusWrites;
    if (!this.#broken) this.#port.send([Op.status, value]);
    while (this.#statusAnswers < mine && !this.#broken) yield this.#statusAnswered;
    if (this.#broken) this.#status = value;
  }

  /** As in Linux 6.1 nothing is done about a broken device: whoever waits for a buffer waits on. */
  #show(status: number): void {
    const broke = (status & ~this.#status & DEVICE_NEEDS_RESET) !== 0;
    this.#status = status;
    if (broke)
      this.#log.warn({ status }, 'the device needs a reset and takes no buffer until then');
  }

  #setConfig(generation: number, config: Uint8Array): void {
    this.#generation = generation;
    // Not config.slice(): on a Buffer that is a view of the socket's chunk.
    this.#config = new DataView(new Uint8Array(config).buffer);
  }
}
