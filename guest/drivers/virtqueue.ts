import { type GuestToHost, Op } from '../../shared/protocol/messages.ts';
import { DriverQueue } from '../../shared/virtio/virtqueue.ts';

const NOTHING = new Uint8Array(0);

export interface VirtqueueOptions {
  readonly name: string;
  readonly index: number;
  readonly size: number;
  readonly port: { send(message: GuestToHost): void };
}

/** The driver's end of one queue: add and kick in one step, and fetch what came back. */
export class Virtqueue {
  readonly name: string;
  readonly #index: number;
  readonly #port: VirtqueueOptions['port'];
  readonly #buffers: DriverQueue;
  #returnedCount = 0;
  #broken = false;
  /** The interrupt handler: called for each buffer that comes back. */
  onUsed: (() => void) | undefined;

  constructor(options: VirtqueueOptions) {
    this.name = options.name;
    this.#index = options.index;
    this.#port = options.port;
    this.#buffers = new DriverQueue(options.size);
  }

  get inFlight(): number {
    return this.#buffers.inFlight;
  }

  get size(): number {
    return this.#buffers.size;
  }

  /** num_free: buffers that can be added; one that came back counts once it was fetched. */
  get numFree(): number {
    return this.#buffers.freeCount - this.#returnedCount;
  }

  /** virtqueue_is_broken. */
  get broken(): boolean {
    return this.#broken;
  }

  /**
   * virtio_break_device: the device is gone. Nothing is sent any more and whoever waits for a
   * buffer has it back; what was told is void.
   */
  break(): void {
    this.#broken = true;
    this.onUsed?.();
  }

  /** virtqueue_add_outbuf and kick. False when the queue is full (ENOSPC). */
  addOutbuf(readable: Uint8Array): boolean {
    return this.#add(readable, NOTHING);
  }

  /** virtqueue_add_inbuf and kick; `writable` is by writeWritable. False when full (ENOSPC). */
  addInbuf(writable: Uint8Array): boolean {
    return this.#add(NOTHING, writable);
  }

  #add(readable: Uint8Array, writable: Uint8Array): boolean {
    if (this.#broken) return true;
    const id = this.#buffers.take();
    if (id < 0) return false;
    this.#port.send([Op.avail, this.#index, id, readable, writable]);
    return true;
  }

  /** A `used` message came in; one for a buffer that is not in flight is the host's mistake. */
  returned(id: number): void {
    if (!this.#buffers.complete(id)) return;
    this.#returnedCount++;
    this.onUsed?.();
  }

  /** virtqueue_get_buf: takes one returned buffer; false when there is none. */
  getBuf(): boolean {
    if (this.#broken) return true;
    if (this.#returnedCount === 0) return false;
    this.#returnedCount--;
    return true;
  }

  /** Fetches every buffer that came back, for a driver that does not wait for them. */
  drain(): void {
    this.#returnedCount = 0;
  }
}
