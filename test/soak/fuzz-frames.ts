import fc from 'fast-check';
import { Packr } from 'msgpackr';
import type { Prng } from '../../shared/lib/prng.ts';
import { writePairs, writePfns } from '../../shared/protocol/bodies.ts';
import { encode } from '../../shared/protocol/codec.ts';
import { type Message, Op } from '../../shared/protocol/messages.ts';
import { anyMessage } from '../shared/protocol/arbitraries.ts';
import { Mutator } from './fuzz-mutator.ts';

/** How a peer misbehaves over the whole of one connection. */
export const MANNERS = ['honest', 'plausible', 'careless', 'rude'] as const;
export type Manner = (typeof MANNERS)[number];

/** PFNs around the 16,384 of a guest of 64 MiB. */
const pfns = fc.array(fc.nat(17_000), { maxLength: 300 }).map((list) => writePfns(list));
const ranges = fc
  .array(fc.record({ start: fc.nat(17_000), count: fc.integer({ min: 1, max: 600 }) }), {
    maxLength: 20,
  })
  .map((list) => writePairs(list));
const bytes = fc.uint8Array({ maxLength: 40 });
const body = fc.oneof(pfns, ranges, bytes);
const config = fc.uint8Array({ minLength: 8, maxLength: 16 });
const queue = fc.integer({ min: 0, max: 5 });
const id = fc.integer({ min: 0, max: 140 });
const u32 = fc.integer({ min: 0, max: 0xffff_ffff });
const size = fc.constantFrom(0, 1, 32, 128, 1024);
const status = fc.oneof(fc.constantFrom(0, 1, 3, 11, 15, 64, 79), fc.nat(255));
const text = fc.string({ maxLength: 20 });

type Shape = fc.Arbitrary<Message>;
const shape = (op: number, ...fields: fc.Arbitrary<unknown>[]): Shape =>
  fc.tuple(fc.constant(op), ...fields) as unknown as Shape;

/** What a driver that means no good says with well-formed messages, and what a device does. */
const PLAUSIBLE: Readonly<Record<'guest' | 'host', Shape>> = {
  guest: fc.oneof(
    { weight: 4, arbitrary: shape(Op.status, status) },
    { weight: 2, arbitrary: shape(Op.features, fc.oneof(fc.constant(0x3f), u32), fc.nat(2)) },
    { weight: 2, arbitrary: shape(Op.queue, queue, size) },
    { weight: 2, arbitrary: shape(Op.configWrite, fc.integer({ min: 0, max: 20 }), body) },
    { weight: 8, arbitrary: shape(Op.avail, queue, id, body, body) },
    { weight: 1, arbitrary: shape(Op.unplugged) },
    { weight: 1, arbitrary: shape(Op.bye, text) },
    { weight: 1, arbitrary: shape(Op.ack, fc.nat(300)) },
  ),
  host: fc.oneof(
    { weight: 4, arbitrary: shape(Op.statusValue, status, fc.boolean()) },
    { weight: 8, arbitrary: shape(Op.used, queue, id, u32) },
    { weight: 4, arbitrary: shape(Op.config, u32, config, fc.boolean()) },
    { weight: 4, arbitrary: shape(Op.discard, fc.oneof(ranges, bytes)) },
    {
      weight: 2,
      arbitrary: shape(
        Op.device,
        fc.constantFrom(5, 2),
        fc.constantFrom(0x3f, 0x2, 0),
        fc.nat(2),
        fc.oneof(fc.constant(writeSizes()), bytes),
        u32,
        config,
      ),
    },
    { weight: 2, arbitrary: fc.oneof(shape(Op.pause), shape(Op.run)) },
    { weight: 1, arbitrary: shape(Op.unplug, fc.nat(65_535)) },
    { weight: 1, arbitrary: shape(Op.powerOff, text) },
    { weight: 1, arbitrary: shape(Op.ack, fc.nat(300)) },
  ),
};

function writeSizes(): Uint8Array {
  return new Uint8Array(Uint16Array.of(128, 128, 128, 1024, 32).buffer);
}

const anyValue = fc.oneof(
  fc.integer(),
  fc.string(),
  bytes,
  fc.boolean(),
  fc.double(),
  fc.constant(null),
  fc.array(fc.integer(), { maxLength: 4 }),
  fc.dictionary(fc.string(), fc.integer(), { maxKeys: 3 }),
  fc.bigInt({ min: -(2n ** 63n), max: 2n ** 64n - 1n }),
);
const packr = new Packr({ useRecords: false, variableMapSize: true });
/** Arrays of anything behind a plausible op: what breaks the schema or the list of types. */
const misshapen = fc
  .tuple(fc.integer({ min: 0, max: 40 }), fc.array(anyValue, { maxLength: 9 }))
  .map(([op, fields]) => new Uint8Array(packr.pack([op, ...fields])));
const junk = fc.uint8Array({ maxLength: 80 });

/** Samples of a generator, drawn many at a time because each draw has a price of its own. */
class Samples<Value> {
  readonly #arbitrary: fc.Arbitrary<Value>;
  readonly #prng: Prng;
  #values: Value[] = [];

  constructor(arbitrary: fc.Arbitrary<Value>, prng: Prng) {
    this.#arbitrary = arbitrary;
    this.#prng = prng;
  }

  next(): Value {
    if (this.#values.length === 0) {
      const seed = this.#prng.next() | 0;
      this.#values = fc.sample(this.#arbitrary, { seed, numRuns: 400 });
    }
    return this.#values.pop() as Value;
  }
}

/** Frames of one side, from honest to nonsense; a function of the seed and what was recorded. */
export class FrameSource {
  readonly #prng: Prng;
  readonly #recorded: readonly (readonly Uint8Array[])[];
  readonly #mutator: Mutator;
  readonly #plausible: Samples<Message>;
  readonly #valid: Samples<Message>;
  readonly #misshapen: Samples<Uint8Array>;
  readonly #junk: Samples<Uint8Array>;
  #session: readonly Uint8Array[] = [];
  #at = 0;

  constructor(side: 'guest' | 'host', recorded: readonly (readonly Uint8Array[])[], prng: Prng) {
    this.#prng = prng;
    this.#recorded = recorded;
    this.#mutator = new Mutator(prng.fork('mutations'), recorded.flat());
    this.#plausible = new Samples(PLAUSIBLE[side], prng.fork('plausible'));
    this.#valid = new Samples(anyMessage, prng.fork('valid'));
    this.#misshapen = new Samples(misshapen, prng.fork('misshapen'));
    this.#junk = new Samples(junk, prng.fork('junk'));
  }

  /** A connection begins: another recorded session is replayed, from its second frame on. */
  begin(): Manner {
    this.#session = this.#recorded[this.#prng.below(this.#recorded.length)];
    this.#at = 1;
    return MANNERS[this.#prng.below(MANNERS.length)];
  }

  /** Frames of a careless peer are wrong now and then, those of a rude one most of the time. */
  next(manner: Manner): Uint8Array {
    const percent = this.#prng.below(100);
    switch (manner) {
      case 'honest':
        return this.#replay();
      case 'plausible':
        return percent < 40 ? this.#replay() : encode(this.#plausible.next());
      case 'careless':
        if (percent < 60) return this.#replay();
        return percent < 90 ? encode(this.#plausible.next()) : this.#wrong();
      case 'rude':
        return percent < 30 ? this.#replay() : this.#wrong();
    }
  }

  #replay(): Uint8Array {
    const frame = this.#session[this.#at++];
    if (frame !== undefined) return frame;
    this.#at = 0;
    return this.#replay();
  }

  #wrong(): Uint8Array {
    const percent = this.#prng.below(100);
    if (percent < 60) return this.#mutator.mutate(this.#replay());
    if (percent < 75) return encode(this.#valid.next());
    return percent < 90 ? this.#misshapen.next() : this.#junk.next();
  }
}
