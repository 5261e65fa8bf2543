import { sameJson } from './compare.ts';
import type { ExpectedReply, JsonObject, JsonValue } from './types.ts';

/** What Puff's QOM has of the device; QEMU lists dozens of properties of PCI and of the rings. */
const QOM_PROPERTIES: ReadonlySet<unknown> = new Set([
  'type',
  'deflate-on-oom',
  'free-page-hint',
  'free-page-reporting',
  'page-poison',
  'qemu-4-0-config-size',
  'iothread',
  'guest-stats',
  'guest-stats-polling-interval',
]);

/**
 * Is this the reply that was recorded? Whole messages, ids included, with three exceptions, all
 * of the value in `return`: the list of commands is what Puff has, QOM's list is compared on the
 * properties Puff has, and statistics are compared without their values.
 */
export function sameReply(expected: ExpectedReply, actual: JsonObject): boolean {
  const { return: recorded, ...rest } = expected.message;
  const { return: given, ...actualRest } = actual;
  if (recorded === undefined || given === undefined) return sameJson(expected.message, actual);
  return sameJson(rest, actualRest) && sameReturn(expected.command, recorded, given);
}

function sameReturn(command: string | undefined, recorded: JsonValue, given: JsonValue): boolean {
  if (command === 'query-commands') return isCommandList(given);
  if (command === 'qom-list') return sameProperties(recorded, given);
  if (isStatistics(recorded)) return isStatistics(given) && sameStatistics(recorded, given);
  return sameJson(recorded, given);
}

function isCommandList(value: JsonValue): boolean {
  if (!Array.isArray(value) || value.length === 0) return false;
  return value.every((item) => isObject(item) && typeof item.name === 'string');
}

/** The order of QOM's list is that of a hash table and says nothing. */
function sameProperties(recorded: JsonValue, given: JsonValue): boolean {
  const wanted = compared(recorded);
  const actual = compared(given);
  return wanted !== undefined && actual !== undefined && sameJson(wanted, actual);
}

/** The compared properties, sorted by name; undefined if the value is no list of objects. */
function compared(value: JsonValue): JsonValue[] | undefined {
  if (!Array.isArray(value) || !value.every(isObject)) return undefined;
  const properties: JsonObject[] = value.filter((item) => QOM_PROPERTIES.has(item.name));
  return properties.sort((a, b) => (String(a.name) < String(b.name) ? -1 : 1));
}

interface Statistics extends JsonObject {
  readonly stats: JsonObject;
  readonly 'last-update': number;
}

function isStatistics(value: JsonValue): value is Statistics {
  return isObject(value) && isObject(value.stats) && typeof value['last-update'] === 'number';
}

/** The same statistics have a value, and both or neither were ever updated. */
function sameStatistics(recorded: Statistics, given: Statistics): boolean {
  const shape = ({ stats, 'last-update': lastUpdate, ...rest }: Statistics): JsonObject => ({
    ...rest,
    updated: lastUpdate !== 0,
    stats: Object.fromEntries(Object.entries(stats).map(([name, value]) => [name, typeof value])),
  });
  return sameJson(shape(recorded), shape(given));
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
