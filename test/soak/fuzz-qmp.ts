import fc from 'fast-check';
import type { Prng } from '../../shared/lib/prng.ts';

const PATH = '/machine/peripheral/balloon0';

/** What controllers say, right and wrong. */
const REQUESTS = [
  '{"execute":"qmp_capabilities"}',
  '{"execute":"qmp_capabilities","arguments":{"enable":["oob"]},"id":1}',
  '{"execute":"query-balloon"}',
  '{"execute":"balloon","arguments":{"value":50000000}}',
  '{"execute":"balloon","arguments":{"value":-1}}',
  '{"execute":"balloon","arguments":{"value":1e300}}',
  '{"execute":"query-status","id":{"a":[1,2,3]}}',
  '{"execute":"stop"}',
  '{"execute":"cont"}',
  '{"exec-oob":"query-status","id":"x"}',
  '{"execute":"qom-list","arguments":{"path":"/machine/peripheral"}}',
  `{"execute":"qom-get","arguments":{"path":"${PATH}","property":"guest-stats"}}`,
  `{"execute":"qom-set","arguments":{"path":"${PATH}",
    "property":"guest-stats-polling-interval","value":1}}`,
  '{"execute":"device_del","arguments":{"id":"balloon0"}}',
  '{"execute":"human-monitor-command","arguments":{"command-line":"info balloon"}}',
  '{"execute":"query-commands"}',
  "{'execute':'query-version'}",
  '{"execute":"no-such-command"}',
  '{"execute":"quit"',
];

const anyJson = fc.json({ maxDepth: 4 });
const anyText = fc.string({ maxLength: 60, unit: 'binary' });
const pieces = fc.constantFrom('{', '}', '[', ']', '"', '\\', '\\u12', ',', ':', '\0', '\n', '1e9');
const broken = fc.array(pieces, { maxLength: 20 }).map((list) => list.join(''));

/** Lines for a QMP socket: requests as they are and mutated, JSON of any shape, and junk. */
export class QmpSource {
  readonly #prng: Prng;
  #samples: string[] = [];

  constructor(prng: Prng) {
    this.#prng = prng;
  }

  next(): Buffer {
    const percent = this.#prng.below(100);
    if (percent < 30) return this.#ended(this.#request());
    if (percent < 70) return this.#ended(this.#mutated(this.#request()));
    return this.#ended(this.#sample());
  }

  #request(): string {
    return REQUESTS[this.#prng.below(REQUESTS.length)];
  }

  /** QMP needs no line ends; most clients send them. */
  #ended(text: string): Buffer {
    return Buffer.from(this.#prng.below(8) === 0 ? text : `${text}\r\n`);
  }

  #mutated(text: string): string {
    const at = this.#prng.below(text.length);
    const end = at + this.#prng.below(4);
    const other = this.#request();
    switch (this.#prng.below(4)) {
      case 0:
        return text.slice(0, at) + text.slice(end);
      case 1:
        return text.slice(0, at) + String.fromCharCode(this.#prng.below(256)) + text.slice(end);
      case 2:
        return text.slice(0, at) + other.slice(this.#prng.below(other.length));
      default:
        return text.slice(0, at) + this.#sample() + text.slice(end);
    }
  }

  #sample(): string {
    if (this.#samples.length === 0) {
      const seed = this.#prng.next() | 0;
      this.#samples = fc.sample(fc.oneof(anyJson, anyText, broken), { seed, numRuns: 200 });
    }
    return this.#samples.pop() as string;
  }
}
