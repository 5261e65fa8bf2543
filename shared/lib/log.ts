/**
 * What subsystems log through. The impure entry points hand in a pino logger (same shape); the
 * default is silence. Peer-supplied text goes through `quotePeer` before it is logged.
 */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
}

const nothing = (): void => {};
export const SILENT: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing };

/** A peer's text that is as long as this is shown whole. */
const PEER_TEXT_LENGTH = 128;

/** A peer's string with control characters and separators as \uXXXX; cut at `limit` characters. */
export function escapePeer(text: string, limit = PEER_TEXT_LENGTH): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}...` : text;
  return cut.replace(/\p{Cc}|[\u2028\u2029]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** A peer's string in quotes, its control characters escaped, cut at `limit` characters. */
export function quotePeer(text: string, limit = PEER_TEXT_LENGTH): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}...` : text;
  return escapePeer(JSON.stringify(cut), Number.POSITIVE_INFINITY);
}
