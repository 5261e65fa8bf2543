import { MAX_FRAME_DEPTH, MAX_FRAME_ITEMS } from '../limits.ts';
import type { ProtocolErrorName } from './errors.ts';
import { utf8Valid } from './utf8.ts';

/**
 * The structural check of every inbound frame, before any decoder sees it. A frame passes when it
 * is exactly one msgpack fixarray whose first element is a positive integer and whose elements
 * are integers, strings of valid UTF-8, bins or booleans. Maps, extensions, floats, nil, nested
 * arrays and the unused byte 0xc1 never pass, because decoders do surprising things with them
 * (records that compile functions, cyclic graphs, `__proto__` keys, marker objects).
 *
 * Nothing is allocated and no element is read twice; the cost of a bin does not depend on its
 * length. Not checked here: what the fields mean (see codec.ts).
 */

/** Elements still to come at each level of nesting; kept, for scanning cannot be re-entered. */
const remaining = new Int32Array(MAX_FRAME_DEPTH);

const FIXARRAY = 0x90;
const FIXSTR = 0xa0;
const NIL = 0xc0;
const BIN8 = 0xc4;
const BIN32 = 0xc6;
const UINT8 = 0xcc;
const UINT32 = 0xce;
const STR8 = 0xd9;
const ARRAY16 = 0xdc;
const NEGATIVE_FIXINT = 0xe0;

/** How many bytes of number or length follow each type byte, or REFUSED. */
const REFUSED = 0xff;
const FOLLOWING = new Uint8Array(256).fill(REFUSED);
FOLLOWING.fill(0, 0x00, 0x80);
FOLLOWING.fill(0, FIXARRAY, NIL);
FOLLOWING.fill(0, 0xc2, 0xc4);
FOLLOWING.set([1, 2, 4], BIN8);
FOLLOWING.set([1, 2, 4], UINT8);
FOLLOWING.set([1, 2, 4], 0xd0);
FOLLOWING.set([1, 2, 4], STR8);
FOLLOWING.set([2, 4], ARRAY16);
FOLLOWING.fill(0, NEGATIVE_FIXINT);

/** Returns the name of the first thing wrong, or undefined for a frame that may be decoded. */
export function scanFrame(frame: Uint8Array): ProtocolErrorName | undefined {
  const size = frame.length;
  if (size < 2) return 'malformed-frame';
  const top = frame[0];
  if (top <= FIXARRAY || top >= FIXSTR) return topError(top);
  const op = frame[1];
  if (!(op > 0 && op < 0x80) && !(op >= UINT8 && op <= UINT32)) return 'forbidden-type';
  let depth = 1;
  let items = 1 + top - FIXARRAY;
  let nested = false;
  let position = 1;
  remaining[0] = top - FIXARRAY;
  while (depth > 0) {
    if (remaining[depth - 1] === 0) {
      depth--;
      continue;
    }
    remaining[depth - 1]--;
    if (position >= size) return 'malformed-frame';
    const type = frame[position++];
    const following = FOLLOWING[type];
    if (following === REFUSED) return 'forbidden-type';
    if (position + following > size) return 'malformed-frame';
    const length = contentLength(type, frame, position);
    position += following;
    if (isArray(type)) {
      nested = true;
      items += length;
      if (items > MAX_FRAME_ITEMS) return 'MAX_FRAME_ITEMS';
      if (depth === MAX_FRAME_DEPTH) return 'MAX_FRAME_DEPTH';
      remaining[depth++] = length;
      continue;
    }
    if (position + length > size) return 'malformed-frame';
    if (isString(type) && !utf8Valid(frame, position, position + length)) return 'malformed-frame';
    position += length;
  }
  if (position !== size) return 'malformed-frame';
  return nested ? 'forbidden-type' : undefined;
}

/** An empty array is well-formed but no message; anything else at the top is no array at all. */
function topError(top: number): ProtocolErrorName {
  return top === FIXARRAY ? 'malformed-frame' : 'forbidden-type';
}

function isArray(type: number): boolean {
  return (type & 0xf0) === FIXARRAY || type === ARRAY16 || type === ARRAY16 + 1;
}

function isString(type: number): boolean {
  return (type & 0xe0) === FIXSTR || (type >= STR8 && type < ARRAY16);
}

/** Bytes of a string or bin, elements of an array, 0 for anything else. */
function contentLength(type: number, frame: Uint8Array, position: number): number {
  if ((type & 0xe0) === FIXSTR) return type & 0x1f;
  if ((type & 0xf0) === FIXARRAY) return type & 0x0f;
  if (type >= BIN8 && type <= BIN32) return readLength(frame, position, type - BIN8);
  if (type >= STR8 && type < ARRAY16) return readLength(frame, position, type - STR8);
  if (type === ARRAY16 || type === ARRAY16 + 1) return readLength(frame, position, type - 0xdb);
  return 0;
}

/** Big-endian length of 1, 2 or 4 bytes (`width` 0, 1, 2). */
function readLength(frame: Uint8Array, position: number, width: number): number {
  if (width === 0) return frame[position];
  const high = (frame[position] << 8) | frame[position + 1];
  if (width === 1) return high;
  return high * 0x1_0000 + ((frame[position + 2] << 8) | frame[position + 3]);
}
