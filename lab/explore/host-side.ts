import { FRAME_EVENT, FRAME_STATE, frameTable } from '../../host/ram/frame-lifecycle.ts';
import { fail } from '../../shared/lib/assert.ts';

/** Pages of one buffer: batches of the explorer have at most two. */
export const BUFFER_PAGES = 2;

/** Where a buffer is. */
export const BUFFER = { none: 0, available: 1, taken: 2, used: 3 } as const;

/** Words of a queue: where its buffer is, how many pages, which. */
export const QUEUE_WORDS = 2 + BUFFER_PAGES;

/**
 * One virtqueue with room for one buffer, for a driver that tells and waits. It is told by the
 * driver (available), taken by the host, who changes the ledger, and given back (used).
 */
export class ExploredQueue {
  readonly name: 'inflate' | 'deflate';
  readonly words: Int32Array;
  readonly #ledger: Uint8Array;

  /** `words` holds QUEUE_WORDS numbers, `ledger` a lifecycle state of the host's per frame. */
  constructor(name: 'inflate' | 'deflate', words: Int32Array, ledger: Uint8Array) {
    this.name = name;
    this.words = words;
    this.#ledger = ledger;
  }

  /** virtqueue_add_outbuf and kick. */
  tell(pfns: Int32Array, count: number): void {
    if (this.words[0] !== BUFFER.none) fail('a driver that waits has told a second buffer');
    this.words[0] = BUFFER.available;
    this.words[1] = count;
    for (let index = 0; index < count; index++) this.words[2 + index] = pfns[index];
  }

  /** The host sees the buffer. False when there is none to see. */
  take(): boolean {
    if (this.words[0] !== BUFFER.available) return false;
    this.words[0] = BUFFER.taken;
    for (let index = 0; index < this.words[1]; index++) this.#account(this.words[2 + index]);
    return true;
  }

  /** The host gives the buffer back. */
  giveBack(): boolean {
    if (this.words[0] !== BUFFER.taken) return false;
    this.words[0] = BUFFER.used;
    return true;
  }

  /** virtqueue_get_buf. */
  getBuf(): boolean {
    if (this.words[0] !== BUFFER.used) return false;
    this.words.fill(0);
    return true;
  }

  /** Is `pfn` in a buffer that the driver has not got back yet? */
  holds(pfn: number): boolean {
    if (this.words[0] === BUFFER.none) return false;
    for (let index = 0; index < this.words[1]; index++) {
      if (this.words[2 + index] === pfn) return true;
    }
    return false;
  }

  /** For schedules: the pages of the buffer. */
  pageList(): string {
    return [...this.words.subarray(2, 2 + this.words[1])].join(', ');
  }

  #account(pfn: number): void {
    if (this.name === 'inflate') {
      this.#stepLedger(pfn, FRAME_EVENT.inflate);
      this.#stepLedger(pfn, FRAME_EVENT.discard);
    } else {
      this.#stepLedger(pfn, FRAME_EVENT.deflate);
    }
  }

  #stepLedger(pfn: number, event: number): void {
    const state = this.#ledger[pfn];
    if (!frameTable.can(state, event)) {
      fail(
        'the host is told what it cannot explain',
        `page ${pfn}: ${frameTable.describe(state, event)}`,
      );
    }
    this.#ledger[pfn] = frameTable.step(state, event);
  }
}

export function inLedger(state: number): boolean {
  return state === FRAME_STATE.ballooned || state === FRAME_STATE.discarded;
}
