import type { Clock } from '../../shared/lib/clock.ts';
import { type GuestToHost, type HostToGuest, Op } from '../../shared/protocol/messages.ts';
import {
  CONFIG_ACTUAL,
  CONFIG_NUM_PAGES,
  type QueueName,
  queueLayout,
} from '../../shared/virtio/balloon.ts';
import { fromWords } from '../../shared/virtio/features.ts';

/**
 * What passes between one driver and its device, in the form of the recordings' wire.jsonl: `t` in
 * microseconds, PFNs as runs of [first, count, step]. A trace of Puff and a recording of QEMU can
 * so be read, and compared, by the same tools. Unlike there, `used` names its queue.
 */
export type WireTraceEvent =
  | { readonly t: number; readonly ev: 'status'; readonly val: number }
  | { readonly t: number; readonly ev: 'features'; readonly bits: string }
  | { readonly t: number; readonly ev: 'target'; readonly num_pages: number }
  | {
      readonly t: number;
      readonly ev: 'buf';
      readonly queue: QueueName;
      readonly id: number;
      readonly outn: number;
      readonly inn: number;
      readonly n: number;
      readonly runs: readonly PfnRun[];
    }
  | {
      readonly t: number;
      readonly ev: 'used';
      readonly queue: QueueName;
      readonly id: number;
      readonly len: number;
    }
  | { readonly t: number; readonly ev: 'config-set'; readonly actual: number };

export type PfnRun = readonly [first: number, count: number, step: number];

/** Bytes of one entry of a writable part: le64 address, le32 length. */
const WRITABLE_ENTRY_BYTES = 12;

export class WireTrace {
  readonly #clock: Clock;
  readonly #sink: (event: WireTraceEvent) => void;
  #offered = 0n;
  #queues: readonly QueueName[] = [];
  #numPages: number | undefined;

  constructor(clock: Clock, sink: (event: WireTraceEvent) => void) {
    this.#clock = clock;
    this.#sink = sink;
  }

  fromGuest(message: GuestToHost): void {
    const t = this.#now();
    switch (message[0]) {
      case Op.status:
        this.#sink({ t, ev: 'status', val: message[1] });
        break;
      case Op.features: {
        const bits = fromWords(message[1], message[2]);
        this.#queues = queueLayout(bits & this.#offered);
        this.#sink({ t, ev: 'features', bits: lsbFirst(bits) });
        break;
      }
      case Op.configWrite:
        if (message[1] !== CONFIG_ACTUAL || message[2].length !== 4) break;
        this.#sink({ t, ev: 'config-set', actual: readWord(message[2], 0) });
        break;
      case Op.avail:
        this.#buffer(t, message[1], message[2], { out: message[3], in: message[4] });
        break;
      default:
        break;
    }
  }

  toGuest(message: HostToGuest): void {
    const t = this.#now();
    switch (message[0]) {
      case Op.device:
        this.#offered = fromWords(message[2], message[3]);
        this.#numPages = readWord(message[6], CONFIG_NUM_PAGES);
        break;
      case Op.config: {
        const numPages = readWord(message[2], CONFIG_NUM_PAGES);
        if (numPages === this.#numPages) break;
        this.#numPages = numPages;
        this.#sink({ t, ev: 'target', num_pages: numPages });
        break;
      }
      case Op.used: {
        const queue = this.#queues[message[1]] ?? 'inflate';
        this.#sink({ t, ev: 'used', queue, id: message[2], len: message[3] });
        break;
      }
      default:
        break;
    }
  }

  #buffer(t: number, index: number, id: number, parts: { out: Uint8Array; in: Uint8Array }): void {
    const queue = this.#queues[index];
    if (queue === undefined) return;
    const holdsPfns = queue === 'inflate' || queue === 'deflate';
    const inn = Math.floor(parts.in.length / WRITABLE_ENTRY_BYTES);
    const runs = holdsPfns ? toRuns(parts.out) : [];
    const n = holdsPfns ? Math.floor(parts.out.length / 4) : inn;
    const outn = parts.out.length > 0 ? 1 : 0;
    this.#sink({ t, ev: 'buf', queue, id, outn, inn, n, runs });
  }

  #now(): number {
    return Math.round(this.#clock.now() * 1000);
  }
}

/** PFNs in order as runs: neighbours up or down share one; a single page has step 0. */
export function toRuns(bytes: Uint8Array): PfnRun[] {
  const runs: [number, number, number][] = [];
  let last: [number, number, number] | undefined;
  for (let offset = 0; offset + 4 <= bytes.length; offset += 4) {
    const pfn = readWord(bytes, offset);
    const step = last === undefined ? 0 : pfn - (last[0] + (last[1] - 1) * last[2]);
    const extends_ =
      last !== undefined && (last[1] === 1 ? Math.abs(step) === 1 : step === last[2]);
    if (last !== undefined && extends_) {
      last[1]++;
      last[2] = step;
    } else {
      last = [pfn, 1, 0];
      runs.push(last);
    }
  }
  return runs;
}

function readWord(bytes: Uint8Array, offset: number): number {
  if (offset + 4 > bytes.length) return 0;
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(offset, true);
}

function lsbFirst(bits: bigint): string {
  return Array.from({ length: 64 }, (_, bit) => ((bits >> BigInt(bit)) & 1n).toString()).join('');
}
