import { Packr, Unpackr } from 'msgpackr';
import type { Prng } from '../../shared/lib/prng.ts';
import { scanFrame } from '../../shared/protocol/scan.ts';

const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: false });
const packr = new Packr({ useRecords: false });

/** Integers at the ends of what fields and encodings hold, and just beyond. */
const EDGES = [0, 1, 5, 31, 32, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32];

/** Makes frames that are nearly right out of right ones. */
export class Mutator {
  readonly #prng: Prng;
  readonly #others: readonly Uint8Array[];

  constructor(prng: Prng, others: readonly Uint8Array[]) {
    this.#prng = prng;
    this.#others = others;
  }

  mutate(frame: Uint8Array): Uint8Array {
    switch (this.#prng.below(8)) {
      case 0:
        return this.#change(frame, (byte) => byte ^ (1 << this.#prng.below(8)));
      case 1:
        return this.#change(frame, () => this.#prng.below(256));
      case 2:
        return frame.subarray(0, this.#prng.below(frame.length + 1));
      case 3:
        return this.#insert(frame);
      case 4:
        return this.#remove(frame);
      case 5:
        return this.#splice(frame);
      default:
        return this.#field(frame);
    }
  }

  /** One to four bytes, most often near the start, where the structure is. */
  #change(frame: Uint8Array, to: (byte: number) => number): Uint8Array {
    const changed = Uint8Array.from(frame);
    for (let left = 1 + this.#prng.below(4); left > 0; left--) {
      const near = this.#prng.below(2) === 0 ? Math.min(12, frame.length) : frame.length;
      const at = this.#prng.below(near);
      changed[at] = to(changed[at]);
    }
    return changed;
  }

  #insert(frame: Uint8Array): Uint8Array {
    const at = this.#prng.below(frame.length + 1);
    const more = Uint8Array.from({ length: 1 + this.#prng.below(8) }, () => this.#prng.below(256));
    return Buffer.concat([frame.subarray(0, at), more, frame.subarray(at)]);
  }

  #remove(frame: Uint8Array): Uint8Array {
    const at = this.#prng.below(frame.length);
    const end = at + 1 + this.#prng.below(8);
    return Buffer.concat([frame.subarray(0, at), frame.subarray(end)]);
  }

  #splice(frame: Uint8Array): Uint8Array {
    const other = this.#others[this.#prng.below(this.#others.length)];
    const cut = this.#prng.below(frame.length + 1);
    return Buffer.concat([frame.subarray(0, cut), other.subarray(this.#prng.below(other.length))]);
  }

  /** Another value in one field: of an integer, of a length, or of another kind. */
  #field(frame: Uint8Array): Uint8Array {
    if (scanFrame(frame) !== undefined) return frame;
    const values = [...(unpackr.unpack(frame) as unknown[])];
    const at = this.#prng.below(values.length);
    values[at] = this.#other(values[at]);
    return packr.pack(values);
  }

  #other(value: unknown): unknown {
    const prng = this.#prng;
    if (prng.below(12) === 0) return [true, 'text', new Uint8Array(3), -1, 1.5][prng.below(5)];
    if (typeof value === 'number') {
      return prng.below(2) === 0 ? EDGES[prng.below(EDGES.length)] : value + 1 - prng.below(3);
    }
    if (typeof value === 'boolean') return !value;
    if (typeof value === 'string') return `${value}${'x'.repeat(prng.below(300))}`;
    const bytes = value as Uint8Array;
    if (prng.below(2) === 0) return bytes.subarray(0, prng.below(bytes.length + 1));
    return this.#change(bytes.length === 0 ? Uint8Array.of(0) : bytes, () => prng.below(256));
  }
}
