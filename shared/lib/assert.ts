/**
 * Assertions for our own bugs. A peer's mistake is never asserted: it gets a coded error
 * (`shared/protocol/errors.ts`) and a counter. Messages are constants and unique in the tree, so
 * that a message is a location; details are added by `fail` on the cold path only.
 */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message);
}

/** Throws; `detail` is evaluated by the caller only once something is already wrong. */
export function fail(message: string, detail = ''): never {
  throw new AssertionError(detail === '' ? message : `${message}: ${detail}`);
}
