import { ARRAY_PFNS_MAX } from '../../shared/limits.ts';
import { WordScratch, writePfns } from '../../shared/protocol/bodies.ts';
import { decode, encode } from '../../shared/protocol/codec.ts';
import { type Avail, Op, type Used } from '../../shared/protocol/messages.ts';
import { inTurns, loop } from './measure.ts';
import type { Report } from './report.ts';

const MESSAGES = 20_000;
const ROUNDS = 11;
const HEADER_BYTES = 16;

/** Raw baseline: a fixed header and the words behind it, checked for nothing but their number. */
class RawFrame {
  readonly #body: Uint8Array;
  readonly #bytes = new Uint8Array(64 * 1024);
  readonly #words = new Int32Array(this.#bytes.buffer);
  #sequence = 0;

  constructor(body: Uint8Array) {
    this.#body = body;
  }

  encode(): Buffer {
    const frame = Buffer.allocUnsafe(HEADER_BYTES + this.#body.length);
    frame.writeUInt32LE(1, 0);
    frame.writeUInt32LE(this.#sequence++, 4);
    frame.writeUInt32LE(this.#body.length >> 2, 8);
    frame.writeUInt32LE(0, 12);
    frame.set(this.#body, HEADER_BYTES);
    return frame;
  }

  /** The first word of the body, once it lies in an aligned scratch. */
  decode(frame: Buffer): number {
    const count = frame.readUInt32LE(8);
    if (frame.length !== HEADER_BYTES + count * 4) throw new Error('a raw frame is cut');
    this.#bytes.set(frame);
    return count === 0 ? 0 : this.#words[HEADER_BYTES >> 2];
  }
}

/** Encoding and decoding of the two messages of the data path, checks included. */
export async function codec(): Promise<Report> {
  const pfns = writePfns(Array.from({ length: ARRAY_PFNS_MAX }, (_, at) => at * 65_537));
  const none = new Uint8Array(0);
  const scratch = new WordScratch();
  let sink = 0;
  const rawAvail = new RawFrame(pfns);
  const rawUsed = new RawFrame(none);
  const raw = (frame: RawFrame) => () => {
    for (let done = 0; done < MESSAGES; done++) sink += frame.decode(frame.encode());
  };
  const ns = await inTurns(ROUNDS, {
    rawAvail: loop(MESSAGES, raw(rawAvail)),
    avail: loop(MESSAGES, () => {
      for (let done = 0; done < MESSAGES; done++) {
        const frame = encode([Op.avail, 0, done & 127, pfns, none]);
        const message = decode(frame, 'guest') as Avail;
        sink += scratch.load(message[3]) + scratch.words[0];
      }
    }),
    rawUsed: loop(MESSAGES, raw(rawUsed)),
    used: loop(MESSAGES, () => {
      for (let done = 0; done < MESSAGES; done++) {
        sink += (decode(encode([Op.used, 0, done & 127, 0]), 'host') as Used)[2];
      }
    }),
  });
  if (sink < 0) throw new Error('nothing was decoded');
  return {
    name: 'codec',
    title: 'encode and decode one message, checks included',
    baseline: '16-byte header and words, no checks (the ratio is of speeds)',
    rows: [
      {
        what: `avail, ${ARRAY_PFNS_MAX} PFNs`,
        figure: 1e3 / ns.avail,
        unit: 'M messages/s',
        raw: 1e3 / ns.rawAvail,
        beside: `${ns.avail.toFixed(0)} ns; limit L7: own header 90-215, msgpackr 510, JSON 8900`,
      },
      {
        what: 'used',
        figure: 1e3 / ns.used,
        unit: 'M messages/s',
        raw: 1e3 / ns.rawUsed,
        beside: `${ns.used.toFixed(0)} ns`,
      },
    ],
  };
}
