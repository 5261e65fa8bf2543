import type { BalloonProperties } from '../../vmm/machine.ts';
import { badValue, QmpCommandError } from './errors.ts';
import type { QomObject } from './qom.ts';
import { BACKEND_TYPE, linkIothread, POLLING_INTERVAL, pollingSeconds } from './qom-tree.ts';

/** What device_add's arguments make of a new device. */
export interface DeviceProperties {
  /** Those that were set. */
  readonly properties: Partial<BalloonProperties>;
  readonly pollingIntervalSeconds: number;
}

/** Spelled as they are; the record makes sure that none is left out. */
const SWITCHES: Readonly<Record<keyof BalloonProperties, true>> = {
  'deflate-on-oom': true,
  'free-page-hint': true,
  'free-page-reporting': true,
  'page-poison': true,
  'qemu-4-0-config-size': true,
};

/** Properties of PCI devices and of rings, on or off, of which a device here has none. */
const WITHOUT_EFFECT: readonly string[] = [
  'ats',
  'event_idx',
  'indirect_desc',
  'iommu_platform',
  'multifunction',
  'packed',
];

const READ_ONLY: readonly string[] = ['type', 'hotplugged', 'hotpluggable', 'virtio-backend'];

/** Slot and function; behind a root port both are 0, other functions than the first are not had. */
const ADDRESS = /^(0x)?0{1,2}(\.0)?$/;

/**
 * Sets properties from the text after each `=`, in the order given, as `-device` and device_add do.
 * Throws QmpCommandError for the first that cannot be set.
 *
 * Not emulated: other properties than the balloon's own and the few in WITHOUT_EFFECT; addresses
 * other than 0.0, which QEMU takes although no guest finds a device there.
 */
export function setDeviceProperties(
  typename: string,
  options: ReadonlyMap<string, string>,
  root: QomObject,
): DeviceProperties {
  const properties: Partial<Record<string, boolean>> = {};
  let pollingIntervalSeconds = 0;
  for (const [name, text] of options) {
    if (Object.hasOwn(SWITCHES, name)) properties[name] = parseSwitch(name, text);
    else if (name === POLLING_INTERVAL) pollingIntervalSeconds = pollingSeconds(parseInt64(text));
    else if (name === 'iothread') linkIothread(root, text);
    else if (WITHOUT_EFFECT.includes(name)) parseSwitch(name, text);
    else if (name === 'addr') checkAddress(typename, text);
    else throw cannotSet(typename, name);
  }
  return { properties, pollingIntervalSeconds };
}

function parseSwitch(name: string, text: string): boolean {
  if (['on', 'yes', 'true', 'y'].includes(text)) return true;
  if (['off', 'no', 'false', 'n'].includes(text)) return false;
  throw badValue(name, "'on' or 'off'");
}

/** An integer as C's strtoll takes it: decimal, 0x hexadecimal or 0 octal. */
function parseInt64(text: string): bigint {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9]\d{0,18})$/.exec(text);
  if (match === null) throw badValue(POLLING_INTERVAL, 'integer');
  const [, sign, digits] = match;
  const magnitude = BigInt(/^0[0-7]/.test(digits) ? `0o${digits.slice(1)}` : digits);
  return sign === '-' ? -magnitude : magnitude;
}

function checkAddress(typename: string, text: string): void {
  if (ADDRESS.test(text)) return;
  throw new QmpCommandError(`Property '${typename}.addr' doesn't take value '${text}'`);
}

function cannotSet(typename: string, name: string): QmpCommandError {
  if (name === 'guest-stats') {
    return new QmpCommandError(`Property '${BACKEND_TYPE}.${name}' is not writable`);
  }
  const what = READ_ONLY.includes(name) ? 'is not writable' : 'not found';
  return new QmpCommandError(`Property '${typename}.${name}' ${what}`);
}
