/**
 * JSON values as QEMU's QObject tells them apart: integers are exact, doubles are a kind of their
 * own, so that 1.5 and 1e3 are refused where an integer is wanted.
 */

/** A number written with a fraction or an exponent, or an integer beyond 64 bits (QNUM_DOUBLE). */
export class JsonDouble {
  readonly value: number;

  constructor(value: number) {
    this.value = value;
  }
}

/** An integer of -2^63 to 2^64 - 1: `number` where it is safe, `bigint` beyond 2^53. */
export type JsonInteger = number | bigint;

/** What the reader yields. Objects are maps: a client's member may be called `__proto__`. */
export type JsonValue =
  | null
  | boolean
  | JsonInteger
  | string
  | JsonDouble
  | readonly JsonValue[]
  | JsonObject;
export type JsonObject = ReadonlyMap<string, JsonValue>;

/** What the writer takes: parsed values and our own plain objects, mixed. */
export type Json =
  | null
  | boolean
  | JsonInteger
  | string
  | JsonDouble
  | readonly Json[]
  | ReadonlyMap<string, Json>
  | { readonly [member: string]: Json };

/** Narrows to an object; arrays are `readonly`, so a plain Array.isArray would not do. */
export function isJsonObject(value: JsonValue): value is JsonObject {
  return value instanceof Map;
}
