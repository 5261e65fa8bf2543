import { assert } from '../../../shared/lib/assert.ts';
import { QmpCommandError, wrongType } from './errors.ts';
import type { JsonInteger, JsonObject, JsonValue } from './json-value.ts';
import { visitorOrder } from './key-order.ts';
import { qdictEntries } from './qdict-order.ts';

/** A parameter's type: QAPI's int, str and any, or a list of words out of an enumeration. */
export type ParameterType = 'int' | 'str' | 'any' | { readonly listOf: readonly string[] };

export interface Parameter {
  readonly name: string;
  readonly type: ParameterType;
  readonly optional?: true;
}

const INT64_MAX = 2n ** 63n - 1n;

/** Whether QAPI takes the value for a signed 64-bit integer; 1.0 and 2^63 are none. */
export function isInt64(value: JsonValue): value is JsonInteger {
  return typeof value === 'number' || (typeof value === 'bigint' && value <= INT64_MAX);
}

/** Arguments of a request after they were checked; asking for one of another type is our bug. */
export class Arguments {
  readonly #values: JsonObject;

  constructor(values: JsonObject) {
    this.#values = values;
  }

  int(name: string): JsonInteger | undefined {
    const value = this.#values.get(name);
    assert(value === undefined || isInt64(value), 'an int argument was checked to be one');
    return value;
  }

  str(name: string): string {
    const value = this.#values.get(name);
    assert(typeof value === 'string', 'a str argument was checked to be one');
    return value;
  }

  any(name: string): JsonValue | undefined {
    return this.#values.get(name);
  }

  words(name: string): readonly string[] {
    const value = this.#values.get(name) ?? [];
    assert(Array.isArray(value), 'a list argument was checked to be one');
    return value;
  }
}

/**
 * Checks a request's arguments in the order of QEMU's input visitor: parameter after parameter as
 * declared, missing before mistyped, and at the end one of those that are left over.
 */
export function checkArguments(parameters: readonly Parameter[], given: JsonObject): Arguments {
  for (const { name, type, optional } of parameters) {
    const value = given.get(name);
    if (value !== undefined) checkType(name, type, value);
    else if (!optional) throw new QmpCommandError(`Parameter '${name}' is missing`);
  }
  const surplus = visitorOrder(qdictEntries(given).map(([name]) => name)).find(
    (name) => !parameters.some((parameter) => parameter.name === name),
  );
  if (surplus !== undefined) throw new QmpCommandError(`Parameter '${surplus}' is unexpected`);
  return new Arguments(given);
}

function checkType(name: string, type: ParameterType, value: JsonValue): void {
  if (type === 'any') return;
  if (type === 'int') {
    if (!isInt64(value)) throw wrongType(name, 'integer');
  } else if (type === 'str') {
    if (typeof value !== 'string') throw wrongType(name, 'string');
  } else {
    checkWords(name, type.listOf, value);
  }
}

function checkWords(name: string, allowed: readonly string[], value: JsonValue): void {
  if (!Array.isArray(value)) throw wrongType(name, 'array');
  value.forEach((word: JsonValue, index) => {
    if (typeof word !== 'string') throw wrongType(`${name}[${index}]`, 'string');
    // An element of a list has no name, which QEMU prints as 'null'.
    if (!allowed.includes(word)) {
      throw new QmpCommandError(`Parameter 'null' does not accept value '${word}'`);
    }
  });
}
