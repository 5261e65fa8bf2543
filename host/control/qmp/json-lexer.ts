import { assert } from '../../../shared/lib/assert.ts';

/**
 * Splits a byte stream into JSON tokens as QEMU 7.2's monitor does: strings in either kind of
 * quotes, words of lower-case letters whatever they mean, numbers, six punctuation marks.
 * A byte that fits nowhere ends the token as stray and everything up to the next punctuation mark,
 * control character (other than tab) or byte FE or FF is skipped.
 */
export const Token = {
  openBrace: 0,
  closeBrace: 1,
  openBracket: 2,
  closeBracket: 3,
  comma: 4,
  colon: 5,
  string: 6,
  integer: 7,
  float: 8,
  word: 9,
} as const;
export type Token = (typeof Token)[keyof typeof Token];

/** `bytes` is valid during the call only. */
export interface TokenSink {
  token(type: Token, bytes: Uint8Array): void;
  /** The bytes of the unfinished token with the one that fits nowhere. */
  stray(bytes: Uint8Array): void;
  /** A token grew beyond the limit and was thrown away. */
  oversized(): void;
}

const State = {
  start: 0,
  recovery: 1,
  doubleQuoted: 2,
  doubleQuotedEscape: 3,
  singleQuoted: 4,
  singleQuotedEscape: 5,
  minus: 6,
  zero: 7,
  digits: 8,
  point: 9,
  fraction: 10,
  exponent: 11,
  exponentSign: 12,
  exponentDigits: 13,
  word: 14,
} as const;
type State = (typeof State)[keyof typeof State];
const STATE_COUNT = 15;

/**
 * An outcome is a state (the byte is taken and the token goes on), or one of these with a token
 * type in the low bits, or STRAY, or RESUME.
 */
const LAST = 0x20;
const BEHIND = 0x40;
const STRAY = 0x80;
const RESUME = 0x81;

const PUNCTUATION: Readonly<Record<string, Token>> = {
  '{': Token.openBrace,
  '}': Token.closeBrace,
  '[': Token.openBracket,
  ']': Token.closeBracket,
  ',': Token.comma,
  ':': Token.colon,
};

const isDigit = (char: string): boolean => char >= '0' && char <= '9';
const isLower = (char: string): boolean => char >= 'a' && char <= 'z';
const isExponent = (char: string): boolean => char === 'e' || char === 'E';

function fromStart(char: string): number {
  if (' \t\r\n'.includes(char)) return State.start;
  if (Object.hasOwn(PUNCTUATION, char)) return LAST | PUNCTUATION[char];
  if (char === '"') return State.doubleQuoted;
  if (char === "'") return State.singleQuoted;
  if (char === '-') return State.minus;
  if (char === '0') return State.zero;
  if (isDigit(char)) return State.digits;
  return isLower(char) ? State.word : STRAY;
}

function inRecovery(char: string, byte: number): number {
  const isControl = byte < 0x20 && char !== '\t';
  return isControl || byte >= 0xfe || Object.hasOwn(PUNCTUATION, char) ? RESUME : State.recovery;
}

function inString(char: string, byte: number, quote: '"' | "'"): number {
  if (byte < 0x20 || byte >= 0xfe) return STRAY;
  if (char === quote) return LAST | Token.string;
  if (quote === '"') return char === '\\' ? State.doubleQuotedEscape : State.doubleQuoted;
  return char === '\\' ? State.singleQuotedEscape : State.singleQuoted;
}

/** Any character but a control character may follow a backslash; the parser judges it. */
function inEscape(byte: number, back: State): number {
  return byte < 0x20 || byte >= 0xfe ? STRAY : back;
}

/** A number may not start with 01, and QEMU takes no exponent right after a lone 0. */
function inNumber(state: State, char: string): number {
  switch (state) {
    case State.minus:
      return char === '0' ? State.zero : isDigit(char) ? State.digits : STRAY;
    case State.zero:
      return char === '.' ? State.point : isDigit(char) ? STRAY : BEHIND | Token.integer;
    case State.digits:
      if (isDigit(char)) return State.digits;
      if (char === '.') return State.point;
      return isExponent(char) ? State.exponent : BEHIND | Token.integer;
    case State.point:
      return isDigit(char) ? State.fraction : STRAY;
    case State.fraction:
      if (isDigit(char)) return State.fraction;
      return isExponent(char) ? State.exponent : BEHIND | Token.float;
    case State.exponent:
      if (char === '-' || char === '+') return State.exponentSign;
      return isDigit(char) ? State.exponentDigits : STRAY;
    case State.exponentSign:
      return isDigit(char) ? State.exponentDigits : STRAY;
    default:
      return isDigit(char) ? State.exponentDigits : BEHIND | Token.float;
  }
}

function outcome(state: State, byte: number): number {
  const char = String.fromCharCode(byte);
  switch (state) {
    case State.start:
      return fromStart(char);
    case State.recovery:
      return inRecovery(char, byte);
    case State.doubleQuoted:
      return inString(char, byte, '"');
    case State.singleQuoted:
      return inString(char, byte, "'");
    case State.doubleQuotedEscape:
      return inEscape(byte, State.doubleQuoted);
    case State.singleQuotedEscape:
      return inEscape(byte, State.singleQuoted);
    case State.word:
      return isLower(char) ? State.word : BEHIND | Token.word;
    default:
      return inNumber(state, char);
  }
}

const TABLE = new Uint8Array(STATE_COUNT * 256);
for (const state of Object.values(State)) {
  for (let byte = 0; byte < 256; byte++) TABLE[state * 256 + byte] = outcome(state, byte);
}

const INITIAL_CAPACITY = 4096;

export class JsonLexer {
  readonly #sink: TokenSink;
  readonly #maxBytes: number;
  #state: State = State.start;
  #bytes = new Uint8Array(INITIAL_CAPACITY);
  #length = 0;

  /** A token of more than `maxBytes` bytes is thrown away. */
  constructor(sink: TokenSink, maxBytes: number) {
    assert(maxBytes >= 1, 'a JSON token may have at least one byte');
    this.#sink = sink;
    this.#maxBytes = maxBytes;
  }

  feed(chunk: Uint8Array): void {
    for (let index = 0; index < chunk.length; index++) this.#feedByte(chunk[index]);
  }

  #feedByte(byte: number): void {
    let next = TABLE[this.#state * 256 + byte];
    if ((next & BEHIND) !== 0) {
      this.#emit((next & ~BEHIND) as Token);
      next = TABLE[State.start * 256 + byte];
    } else if (next === RESUME) {
      next = TABLE[State.start * 256 + byte];
    }
    if (next === State.start || next === State.recovery) {
      this.#state = next;
      return;
    }
    this.#append(byte);
    if (next === STRAY) {
      this.#state = State.recovery;
      this.#sink.stray(this.#take());
    } else if ((next & LAST) !== 0) {
      this.#emit((next & ~LAST) as Token);
    } else {
      this.#state = next as State;
      if (this.#length > this.#maxBytes) {
        this.#take();
        this.#state = State.start;
        this.#sink.oversized();
      }
    }
  }

  #emit(type: Token): void {
    this.#state = State.start;
    this.#sink.token(type, this.#take());
  }

  #append(byte: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(this.#bytes.length * 2);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = byte;
  }

  /** The token's bytes, and a small buffer again after a large one. */
  #take(): Uint8Array {
    const token = this.#bytes.subarray(0, this.#length);
    this.#length = 0;
    if (this.#bytes.length > INITIAL_CAPACITY) this.#bytes = new Uint8Array(INITIAL_CAPACITY);
    return token;
  }
}
