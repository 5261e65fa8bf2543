import { setup } from 'xstate';
import { fail } from '../lib/assert.ts';
import { compileLifecycle } from '../lifecycle/compile.ts';
import { Population } from '../lifecycle/population.ts';

/**
 * One queue as its two halves see it over messages. A buffer is named by an id from 0 to size - 1,
 * so a queue of size n has n buffers of credit. Each half follows every buffer through the same
 * state machine; the half that cannot see a step takes it together with the next one it does see.
 *
 * Not emulated: rings in memory, descriptor chains, indirect descriptors, event suppression,
 * in-order use, reset of one queue (the features of these are never offered).
 */
export const bufferMachine = setup({}).createMachine({
  id: 'queue_buffer',
  initial: 'free',
  states: {
    free: { description: 'The driver may fill it.', on: { add: 'available', reset: 'free' } },
    available: {
      description: 'Made available, the device has not taken it.',
      tags: ['inFlight'],
      on: { pop: 'inUse', reset: 'free' },
    },
    inUse: {
      description: 'Taken by the device, which has its memory until it is returned.',
      tags: ['inFlight'],
      on: { push: 'used', reset: 'free' },
    },
    used: {
      description: 'Returned by the device, not fetched by the driver.',
      on: { get: 'free', reset: 'free' },
    },
  },
});

export const BUFFER_STATE = { free: 0, available: 1, inUse: 2, used: 3 } as const;
/** In Linux' and QEMU's words: virtqueue_add, _pop, _push, _get_buf; reset is the device's. */
export const BUFFER_EVENT = { add: 0, pop: 1, push: 2, get: 3, reset: 4 } as const;

export const bufferTable = compileLifecycle(bufferMachine, {
  states: BUFFER_STATE,
  events: BUFFER_EVENT,
});

/** The largest queue size of VIRTIO. */
export const QUEUE_SIZE_LIMIT = 32_768;

export function isQueueSize(size: number): boolean {
  return (
    Number.isInteger(size) && size > 0 && size <= QUEUE_SIZE_LIMIT && (size & (size - 1)) === 0
  );
}

function inFlightOf(buffers: Population): number {
  return buffers.countOf(BUFFER_STATE.available) + buffers.countOf(BUFFER_STATE.inUse);
}

/** The driver's half. Nothing allocates after construction. */
export class DriverQueue {
  readonly size: number;
  readonly #buffers: Population;
  /** Free ids as a stack: the id freed last goes out first, as in Linux' split ring. */
  readonly #free: Uint16Array;
  #freeCount = 0;

  /** `size` is a power of two up to QUEUE_SIZE_LIMIT. */
  constructor(size: number) {
    if (!isQueueSize(size)) fail('driver queue size is no power of two', `${size}`);
    this.size = size;
    this.#buffers = new Population(bufferTable, size);
    this.#free = new Uint16Array(size);
    this.#refill();
  }

  /** Buffers made available that the device has not returned. */
  get inFlight(): number {
    return inFlightOf(this.#buffers);
  }

  /** Ids that `take` can still hand out (num_free in Linux). */
  get freeCount(): number {
    return this.#freeCount;
  }

  /** virtqueue_add: the id for a new buffer, or -1 when the queue is full (ENOSPC). */
  take(): number {
    if (this.#freeCount === 0) return -1;
    const id = this.#free[--this.#freeCount];
    this.#buffers.step(id, BUFFER_EVENT.add);
    return id;
  }

  /**
   * The device returned `id`, which is free again at once: a driver that fetches later counts what
   * it has not fetched. False is the device's mistake: it had no such buffer.
   */
  complete(id: number): boolean {
    const known = Number.isInteger(id) && id >= 0 && id < this.size;
    if (!known || this.#buffers.stateOf(id) !== BUFFER_STATE.available) return false;
    // The first two happened at the device; the driver learns of them together.
    this.#buffers.step(id, BUFFER_EVENT.pop);
    this.#buffers.step(id, BUFFER_EVENT.push);
    this.#buffers.step(id, BUFFER_EVENT.get);
    this.#free[this.#freeCount++] = id;
    return true;
  }

  /** The device was reset: all buffers are the driver's again and ids start over. */
  reset(): void {
    for (let id = 0; id < this.size; id++) this.#buffers.step(id, BUFFER_EVENT.reset);
    this.#refill();
  }

  /** Puts all ids on the stack with 0 on top. */
  #refill(): void {
    this.#freeCount = this.size;
    for (let place = 0; place < this.size; place++) this.#free[place] = this.size - 1 - place;
  }
}

/** What a driver can do wrong with a queue; the device half decides what follows. */
export type QueueViolation =
  /** The size is no power of two or above the maximum (G83). */
  | 'queue-bad-size'
  /** Set up twice without a reset between. */
  | 'queue-enabled-twice'
  /** A buffer for a queue that was not set up (G82). */
  | 'not-enabled'
  /** More buffers than the queue has entries. */
  | 'credit'
  /** An id the queue does not have. */
  | 'bad-id'
  /** A second buffer with the id of one that was not returned. */
  | 'id-in-flight';

/** What a device keeps of the buffers of one queue. */
interface HeldBuffers {
  readonly states: Population;
  /** Ids made available and not taken, in the order they came; a live device leaves none. */
  readonly waiting: number[];
}

/**
 * The device's half. A driver's mistakes are values; only our own throw. What it keeps of buffers
 * is made with the first one: an idle guest of a host uses one of its queues, and the others would
 * hold 1 KB each.
 */
export class DeviceQueue {
  readonly maxSize: number;
  #size = 0;
  #held: HeldBuffers | undefined;

  /** `maxSize` is what the device advertises. */
  constructor(maxSize: number) {
    if (!isQueueSize(maxSize)) fail('device queue size is no power of two', `${maxSize}`);
    this.maxSize = maxSize;
  }

  get enabled(): boolean {
    return this.#size > 0;
  }

  /** The size the driver chose; 0 while the queue is not enabled. */
  get size(): number {
    return this.#size;
  }

  /** Buffers the device has and did not return, taken or not. */
  get inFlight(): number {
    return this.#held === undefined ? 0 : inFlightOf(this.#held.states);
  }

  /** Buffers made available that the device has not taken. */
  get available(): number {
    return this.#held?.waiting.length ?? 0;
  }

  enable(size: number): QueueViolation | undefined {
    if (this.enabled) return 'queue-enabled-twice';
    if (!isQueueSize(size) || size > this.maxSize) return 'queue-bad-size';
    this.#size = size;
    return undefined;
  }

  /** The driver made buffer `id` available. */
  accept(id: number): QueueViolation | undefined {
    if (!this.enabled) return 'not-enabled';
    this.#held ??= { states: new Population(bufferTable, this.#size), waiting: [] };
    const { states, waiting } = this.#held;
    if (inFlightOf(states) === this.#size) return 'credit';
    if (!Number.isInteger(id) || id < 0 || id >= this.#size) return 'bad-id';
    // That the id comes again is how the device learns that the driver fetched the last one.
    if (states.stateOf(id) === BUFFER_STATE.used) states.step(id, BUFFER_EVENT.get);
    if (states.stateOf(id) !== BUFFER_STATE.free) return 'id-in-flight';
    states.step(id, BUFFER_EVENT.add);
    waiting.push(id);
    return undefined;
  }

  /** virtqueue_pop: takes the buffer made available first, or -1. Not before DRIVER_OK (G05). */
  pop(): number {
    if (this.#held === undefined) return -1;
    const id = this.#held.waiting.shift() ?? -1;
    if (id >= 0) this.#held.states.step(id, BUFFER_EVENT.pop);
    return id;
  }

  /** virtqueue_push: returns a buffer it took, in any order. */
  use(id: number): void {
    if (this.#held === undefined) fail('a queue that is not enabled has no buffers', `${id}`);
    this.#held.states.step(id, BUFFER_EVENT.push);
  }

  /** Device reset: no buffer is left and the queue is not enabled (G21). */
  reset(): void {
    this.#size = 0;
    this.#held = undefined;
  }
}
