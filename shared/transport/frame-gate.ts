import type { Counters } from '../lib/counters.ts';
import { MAX_SCHEMA_ERRORS, MAX_TEXT_LENGTH } from '../limits.ts';
import { decode, frameOp } from '../protocol/codec.ts';
import type { ProtocolErrorName } from '../protocol/errors.ts';
import { ProtocolError } from '../protocol/errors.ts';
import type { ErrorMessage, Message } from '../protocol/messages.ts';
import { Op } from '../protocol/messages.ts';
import { clipUtf8 } from '../protocol/utf8.ts';
import type { TransportCounter } from './transport-counters.ts';

/**
 * What comes out of the gate of `link`; `refuse` must end it, `answer` only replies. One keeper
 * serves all links of a kind: functions of its own took each 0.3 KB.
 */
export interface GateKeeper<Owner> {
  message(link: Owner, message: Message): void;
  dropped(link: Owner, op: number): void;
  answer(link: Owner, error: ProtocolError): void;
  refuse(link: Owner, error: ProtocolError): void;
}

/** Errors of a well-formed frame that is no message this side takes; a peer may be newer. */
const SCHEMA_ERRORS: ReadonlySet<ProtocolErrorName> = new Set([
  'unknown-op',
  'wrong-direction',
  'bad-schema',
]);

/**
 * Decodes the frames of one connection and decides over bad ones, the same for every kind of
 * link. A frame that breaks the encoding ends the link at once; the first MAX_SCHEMA_ERRORS - 1
 * frames that only break the schema are answered with an error message and dropped.
 */
export class FrameGate<Owner> {
  readonly #from: 'guest' | 'host';
  readonly #counters: Counters<TransportCounter>;
  readonly #keeper: GateKeeper<Owner>;
  readonly #link: Owner;
  #schemaErrors = 0;

  constructor(
    from: 'guest' | 'host',
    counters: Counters<TransportCounter>,
    keeper: GateKeeper<Owner>,
    link: Owner,
  ) {
    this.#from = from;
    this.#counters = counters;
    this.#keeper = keeper;
    this.#link = link;
  }

  pass(frame: Uint8Array): void {
    this.#counters.add('messages_in');
    this.#counters.add('bytes_in', frame.length);
    const message = this.#decode(frame);
    if (message !== undefined) this.#keeper.message(this.#link, message);
  }

  /** The handler of a message runs outside of this, so that its errors are not taken for ours. */
  #decode(frame: Uint8Array): Message | undefined {
    try {
      return decode(frame, this.#from);
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#counters.add(error.code);
      this.#reject(error, frame);
      return undefined;
    }
  }

  #reject(error: ProtocolError, frame: Uint8Array): void {
    if (!SCHEMA_ERRORS.has(error.code) || ++this.#schemaErrors >= MAX_SCHEMA_ERRORS) {
      this.#keeper.refuse(this.#link, error);
      return;
    }
    this.#counters.add('messages_dropped');
    this.#keeper.answer(this.#link, error);
    this.#keeper.dropped(this.#link, frameOp(frame));
  }
}

/** The message that tells a peer what was wrong. */
export function errorMessage(error: ProtocolError): ErrorMessage {
  return [Op.error, error.close, error.code, clipUtf8(error.message, MAX_TEXT_LENGTH)];
}
