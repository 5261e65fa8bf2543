import { QmpCommandError } from './errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json-value.ts';
import { qdictEntries } from './qdict-order.ts';

/** A well-formed request. The id is not part of it: it is echoed whatever else is wrong. */
export interface QmpRequest {
  readonly command: string;
  readonly arguments: JsonObject;
  /** Asked for with `exec-oob`. */
  readonly outOfBand: boolean;
}

const NO_ARGUMENTS: JsonObject = new Map();

/**
 * Checks a request's members as qmp_dispatch does, in QDict order, so that of two mistakes the same
 * one is told. `exec-oob` is a member like any unknown one until the capability is enabled.
 */
export function parseRequest(value: JsonValue, isOobEnabled: boolean): QmpRequest {
  if (!isJsonObject(value)) throw new QmpCommandError('QMP input must be a JSON object');
  let found: { readonly member: string; readonly command: string } | undefined;
  let given = NO_ARGUMENTS;
  for (const [member, content] of qdictEntries(value)) {
    if (member === 'execute' || (member === 'exec-oob' && isOobEnabled)) {
      if (typeof content !== 'string') throw memberError(member, 'must be a string');
      if (found !== undefined) throw memberError(member, `clashes with '${found.member}'`);
      found = { member, command: content };
    } else if (member === 'arguments') {
      if (!isJsonObject(content)) throw memberError(member, 'must be an object');
      given = content;
    } else if (member !== 'id') {
      throw memberError(member, 'is unexpected');
    }
  }
  if (found === undefined) throw new QmpCommandError("QMP input lacks member 'execute'");
  return { command: found.command, arguments: given, outOfBand: found.member === 'exec-oob' };
}

function memberError(member: string, what: string): QmpCommandError {
  return new QmpCommandError(`QMP input member '${member}' ${what}`);
}
