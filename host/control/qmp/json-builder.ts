import { assert } from '../../../shared/lib/assert.ts';
import { Token, type TokenSink } from './json-lexer.ts';
import {
  asciiText,
  parseFloatToken,
  parseInteger,
  parseString,
  StringFault,
} from './json-scalars.ts';
import type { JsonValue } from './json-value.ts';
import { printable } from './modified-utf8.ts';

/** Where the values and the faults of a stream go, in the order in which they end. */
export interface JsonSink {
  value(value: JsonValue): void;
  /** `message` is QEMU's, with "JSON parse error, " where QEMU has it. */
  fault(message: string): void;
  /** The fault that follows is a limit's. */
  limit?(name: JsonLimit): void;
}

/** What a message may have too much of. */
export type JsonLimit = 'MAX_QMP_REQUEST_BYTES' | 'MAX_QMP_NESTING';

const LIMIT_FAULTS: Readonly<Record<JsonLimit, string>> = {
  MAX_QMP_REQUEST_BYTES: 'JSON token size limit exceeded',
  MAX_QMP_NESTING: 'JSON nesting depth limit exceeded',
};

export interface JsonLimits {
  /** Bytes of all tokens of one value, white space not counted. */
  readonly maxBytes: number;
  /** Braces and brackets open at once. */
  readonly maxNesting: number;
}

/** What may come next in an open container. */
const Expect = {
  itemOrEnd: 0,
  item: 1,
  commaOrEnd: 2,
  keyOrEnd: 3,
  key: 4,
  colon: 5,
  memberValue: 6,
  commaOrEndOfObject: 7,
} as const;
type Expect = (typeof Expect)[keyof typeof Expect];

type OpenContainer = { expect: Expect; key: string } & (
  | { readonly items: JsonValue[]; readonly members?: never }
  | { readonly members: Map<string, JsonValue>; readonly items?: never }
);

/** QEMU formats the text behind "JSON parse error, " into 1024 bytes, the final zero included. */
const MAX_FAULT_LENGTH = 1023;

/**
 * Builds values from tokens. A message ends where as many braces and brackets are closed as were
 * opened, also when a fault was found before: only then the first fault is told, as QEMU does,
 * which collects the tokens of a whole message and parses them at its end.
 */
export class JsonBuilder implements TokenSink {
  readonly #sink: JsonSink;
  readonly #limits: JsonLimits;
  readonly #open: OpenContainer[] = [];
  #root: JsonValue | undefined;
  #fault: string | undefined;
  #braces = 0;
  #brackets = 0;
  #tokenBytes = 0;

  constructor(sink: JsonSink, limits: JsonLimits) {
    this.#sink = sink;
    this.#limits = limits;
  }

  token(type: Token, bytes: Uint8Array): void {
    this.#count(type);
    if (this.#tokenBytes + bytes.length + 1 > this.#limits.maxBytes) {
      this.#endBeyond('MAX_QMP_REQUEST_BYTES');
      return;
    }
    if (this.#braces + this.#brackets > this.#limits.maxNesting) {
      this.#endBeyond('MAX_QMP_NESTING');
      return;
    }
    this.#tokenBytes += bytes.length;
    if (this.#fault === undefined) this.#shift(type, bytes);
    const isNested = this.#braces > 0 || this.#brackets > 0;
    if (isNested && this.#braces >= 0 && this.#brackets >= 0) return;
    this.#end();
  }

  stray(bytes: Uint8Array): void {
    this.#endWith(`JSON parse error, stray '${printable(bytes)}'`);
  }

  oversized(): void {
    this.#endBeyond('MAX_QMP_REQUEST_BYTES');
  }

  #count(type: Token): void {
    if (type === Token.openBrace) this.#braces++;
    else if (type === Token.closeBrace) this.#braces--;
    else if (type === Token.openBracket) this.#brackets++;
    else if (type === Token.closeBracket) this.#brackets--;
  }

  #shift(type: Token, bytes: Uint8Array): void {
    const top = this.#open.at(-1);
    switch (top?.expect) {
      case Expect.colon:
        if (type === Token.colon) top.expect = Expect.memberValue;
        else this.#refuse('missing : in object pair');
        break;
      case Expect.commaOrEndOfObject:
        if (type === Token.closeBrace) this.#close();
        else if (type === Token.comma) top.expect = Expect.key;
        else this.#refuse('expected separator in dict');
        break;
      case Expect.commaOrEnd:
        if (type === Token.closeBracket) this.#close();
        else if (type === Token.comma) top.expect = Expect.item;
        else this.#refuse('expected separator in list');
        break;
      case Expect.keyOrEnd:
        if (type === Token.closeBrace) this.#close();
        else this.#startValue(type, bytes);
        break;
      case Expect.itemOrEnd:
        if (type === Token.closeBracket) this.#close();
        else this.#startValue(type, bytes);
        break;
      default:
        this.#startValue(type, bytes);
    }
  }

  #startValue(type: Token, bytes: Uint8Array): void {
    switch (type) {
      case Token.openBrace:
        this.#open.push({ expect: Expect.keyOrEnd, key: '', members: new Map() });
        break;
      case Token.openBracket:
        this.#open.push({ expect: Expect.itemOrEnd, key: '', items: [] });
        break;
      case Token.string: {
        const text = parseString(bytes);
        if (text instanceof StringFault) this.#refuse(text.text);
        else this.#place(text);
        break;
      }
      case Token.integer:
        this.#place(parseInteger(bytes));
        break;
      case Token.float:
        this.#place(parseFloatToken(bytes));
        break;
      case Token.word:
        this.#placeWord(asciiText(bytes));
        break;
      default:
        this.#refuse('expecting value');
    }
  }

  #placeWord(word: string): void {
    if (word === 'null') this.#place(null);
    else if (word === 'true' || word === 'false') this.#place(word === 'true');
    else this.#refuse(`invalid keyword '${word}'`);
  }

  #close(): void {
    const done = this.#open.pop();
    assert(done !== undefined, 'a JSON container is closed only while one is open');
    this.#place(done.items ?? done.members);
  }

  /** Puts a whole value where it belongs. A container in the place of a key is found out here. */
  #place(value: JsonValue): void {
    const top = this.#open.at(-1);
    if (top === undefined) {
      this.#root = value;
    } else if (top.items !== undefined) {
      top.items.push(value);
      top.expect = Expect.commaOrEnd;
    } else if (top.expect !== Expect.memberValue) {
      if (typeof value !== 'string') {
        this.#refuse('key is not a string in object');
        return;
      }
      top.key = value;
      top.expect = Expect.colon;
    } else if (top.members.has(top.key)) {
      this.#refuse('duplicate key');
    } else {
      top.members.set(top.key, value);
      top.expect = Expect.commaOrEndOfObject;
    }
  }

  /** Notes the first fault of a message; what was built so far is let go. */
  #refuse(text: string): void {
    this.#fault = `JSON parse error, ${text.slice(0, MAX_FAULT_LENGTH)}`;
    this.#open.length = 0;
    this.#root = undefined;
  }

  #endBeyond(limit: JsonLimit): void {
    this.#sink.limit?.(limit);
    this.#endWith(LIMIT_FAULTS[limit]);
  }

  #endWith(fault: string): void {
    this.#fault = fault;
    this.#end();
  }

  /** Starts over before the sink is called, for the sink may do anything. */
  #end(): void {
    const fault = this.#fault;
    const root = this.#root;
    this.#open.length = 0;
    this.#root = undefined;
    this.#fault = undefined;
    this.#braces = 0;
    this.#brackets = 0;
    this.#tokenBytes = 0;
    if (fault !== undefined) {
      this.#sink.fault(fault);
      return;
    }
    assert(root !== undefined, 'a JSON message without a fault has a value');
    this.#sink.value(root);
  }
}
