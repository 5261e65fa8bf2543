import { MAX_QMP_NESTING, MAX_QMP_REQUEST_BYTES } from '../../../shared/limits.ts';
import { JsonBuilder, type JsonLimits, type JsonSink } from './json-builder.ts';
import { JsonLexer } from './json-lexer.ts';

/**
 * Reads a stream of JSON values as QEMU 7.2's QMP monitor does (json-lexer.c, json-parser.c,
 * json-streamer.c): values follow each other with or without white space, arrive in any number of
 * pieces, and a fault costs one message and not the connection. Strings may stand in single quotes;
 * integers are exact.
 *
 * Not as in QEMU: a message may have 1 MiB of tokens instead of 64 MiB, with the same error text.
 * Interpolation (`%d`), which QEMU has for its own format strings, does not exist here; QMP
 * clients cannot use it in QEMU either.
 */
export class JsonReader {
  readonly #lexer: JsonLexer;

  constructor(sink: JsonSink, limits: Partial<JsonLimits> = {}) {
    const maxBytes = limits.maxBytes ?? MAX_QMP_REQUEST_BYTES;
    const maxNesting = limits.maxNesting ?? MAX_QMP_NESTING;
    this.#lexer = new JsonLexer(new JsonBuilder(sink, { maxBytes, maxNesting }), maxBytes);
  }

  /** Calls the sink for each message that ends in `bytes`, before it returns. */
  feed(bytes: Uint8Array): void {
    this.#lexer.feed(bytes);
  }
}
