import { STATS_TAGS } from '../../../shared/virtio/balloon.ts';
import { type BalloonControl, hasId, type Machine, qomPath } from '../../vmm/machine.ts';
import { isInt64 } from './arguments.ts';
import { deviceNotFound, QmpCommandError, wrongType } from './errors.ts';
import type { Json, JsonInteger } from './json-value.ts';
import { visitorOrder } from './key-order.ts';
import { Ambiguous, alias, type QomObject, type QomProperty, resolve } from './qom.ts';
import type { QmpSettings } from './settings.ts';

/**
 * The objects of one machine: `/machine/peripheral/ID` is the balloon's PCI proxy,
 * `virtio-backend` below it the balloon itself, as QEMU 7.2's q35 has them; a balloon that was
 * plugged without an id is in `/machine/peripheral-anon`. Properties are those that are true of
 * Puff's device, in the order of QEMU's qom-list.
 *
 * Not emulated: the other objects of a machine but for the root port of a slot, PCI and ring
 * properties (addr, packed, ...), links to buses, `realized` as something to be written.
 */
export interface QomTree {
  readonly root: QomObject;
  readonly peripheral: QomObject;
}

/** The bus of q35's own devices, and the one between a PCI proxy and its backend. */
export const ROOT_BUS = 'pcie.0';
export const BACKEND_BUS = 'virtio-bus';

export const BACKEND_TYPE = 'virtio-balloon-device';
export const PROXY_TYPE = 'virtio-balloon-pci';
const ROOT_PORT_TYPE = 'pcie-root-port';

export const POLLING_INTERVAL = 'guest-stats-polling-interval';

const UINT32_MAX = 2 ** 32 - 1;

/** What a statistic the guest did not send reads as: -1 as an unsigned number. */
const UNSET_STAT = 2n ** 64n - 1n;

/** The machine's type, which is also its name in query-machines. */
export function machineType({ version }: QmpSettings): string {
  return `pc-q35-${version.major}.${version.minor}`;
}

/** The tree as it is now: it follows from the machine and is made anew for each request. */
export function buildQomTree(machine: Machine, settings: QmpSettings): QomTree {
  const devices = devicesOf(machine, settings, () => tree.root);
  const [peripheral, anonymous] = [true, false].map((withId) => {
    const found = new Map([...devices].filter(([name]) => hasId(name) === withId));
    // qom-list shows the hash table's order backwards.
    const names = visitorOrder([...found.keys()]).toReversed();
    return container(
      'container',
      names.map((name) => childProperty(qomPath(name), found.get(name) as QomObject)),
    );
  }) as [QomObject, QomObject];
  const machineObject = container(`${machineType(settings)}-machine`, [
    childProperty('/machine/peripheral-anon', anonymous),
    childProperty('/machine/peripheral', peripheral),
  ]);
  const root = container('container', [childProperty('/machine', machineObject)]);
  const tree: QomTree = { root, peripheral };
  return tree;
}

/** Devices by the last part of their path. */
function devicesOf(
  { balloon, slot }: Machine,
  settings: QmpSettings,
  rootOf: () => QomObject,
): Map<string, QomObject> {
  const devices = new Map<string, QomObject>();
  if (slot !== undefined) {
    devices.set(slot.bus, deviceObject({ typename: ROOT_PORT_TYPE, bus: ROOT_BUS }));
  }
  if (balloon !== undefined) {
    const place: DevicePlace = {
      typename: slot?.typename ?? PROXY_TYPE,
      bus: slot?.bus ?? ROOT_BUS,
      hotpluggable: slot !== undefined,
      hotplugged: slot?.hotplugged ?? false,
    };
    devices.set(
      balloon.qomId,
      balloonProxy(balloon, place, balloonProperties(balloon, settings, rootOf)),
    );
  }
  return devices;
}

/** The reply to qom-list; an ambiguous path has a text of its own here. */
export function listProperties(root: QomObject, path: string): Json {
  const object = resolve(root, path);
  if (object === Ambiguous) throw new QmpCommandError(`Path '${path}' is ambiguous`);
  if (object === undefined) throw deviceNotFound(path);
  return object.properties.map(({ name, type }) => ({ name, type }));
}

function container(typename: string, children: readonly QomProperty[]): QomObject {
  return { typename, properties: [typeProperty(typename), ...children] };
}

function typeProperty(typename: string): QomProperty {
  return { name: 'type', type: 'string', get: () => typename };
}

function childProperty(path: string, child: QomObject): QomProperty {
  const name = path.slice(path.lastIndexOf('/') + 1);
  return { name, type: `child<${child.typename}>`, child, get: () => path };
}

function constant(name: string, value: boolean): QomProperty {
  return { name, type: 'bool', get: () => value };
}

/** What a device is and where it sits. */
interface DevicePlace {
  readonly typename: string;
  readonly bus: string;
  /** Whether its bus lets go of it. */
  readonly hotpluggable?: boolean;
  /** Whether it came while the machine ran. */
  readonly hotplugged?: boolean;
}

/** A device with what every device has, and properties of its own. */
function deviceObject(place: DevicePlace, own: readonly QomProperty[] = []): QomObject {
  const { typename, bus, hotpluggable = false, hotplugged = false } = place;
  return {
    typename,
    bus,
    properties: [
      typeProperty(typename),
      constant('realized', true),
      constant('hotplugged', hotplugged),
      constant('hotpluggable', hotpluggable),
      ...own,
    ],
  };
}

/** What the proxy passes on to its backend, in the order of its own list. */
const PROXIED = [
  'free-page-reporting',
  'deflate-on-oom',
  'page-poison',
  POLLING_INTERVAL,
  'guest-stats',
  'iothread',
  'qemu-4-0-config-size',
  'free-page-hint',
];

function balloonProxy(
  control: BalloonControl,
  place: DevicePlace,
  own: readonly QomProperty[],
): QomObject {
  const { hotplugged = false } = place;
  const backend = deviceObject({ typename: BACKEND_TYPE, bus: BACKEND_BUS, hotplugged }, own);
  const passedOn = own.toSorted((a, b) => PROXIED.indexOf(a.name) - PROXIED.indexOf(b.name));
  return deviceObject(place, [
    ...passedOn.map((property) => alias(backend, property)),
    childProperty(`${qomPath(control.qomId)}/virtio-backend`, backend),
  ]);
}

function balloonProperties(
  control: BalloonControl,
  settings: QmpSettings,
  rootOf: () => QomObject,
): QomProperty[] {
  return [
    iothreadLink(rootOf),
    deviceOption(control, 'deflate-on-oom'),
    deviceOption(control, 'free-page-hint'),
    deviceOption(control, 'page-poison'),
    deviceOption(control, 'qemu-4-0-config-size'),
    deviceOption(control, 'free-page-reporting'),
    pollingInterval(control),
    {
      name: 'guest-stats',
      type: 'guest statistics',
      get: () => guestStats(control, settings.statsCount),
    },
  ];
}

/** An option of `-device`: may be read, and written only before the device exists. */
function deviceOption(
  control: BalloonControl,
  name: keyof BalloonControl['properties'],
): QomProperty {
  return {
    name,
    type: 'bool',
    get: () => control.properties[name],
    set: () => {
      throw new QmpCommandError(
        `Attempt to set property '${name}' on anonymous device (type '${BACKEND_TYPE}') ` +
          'after it was realized',
      );
    },
  };
}

/** Puff's device has no I/O thread: the link is empty and stays so. */
function iothreadLink(rootOf: () => QomObject): QomProperty {
  const name = 'iothread';
  return {
    name,
    type: 'link<iothread>',
    get: () => '',
    set: (path) => {
      if (typeof path !== 'string') throw wrongType(name, 'string');
      linkIothread(rootOf(), path);
      throw new QmpCommandError(
        `Attempt to set link property '${name}' on device '(null)' (type '${BACKEND_TYPE}') ` +
          'after it was realized',
      );
    },
  };
}

/** Nothing in the tree is an I/O thread, so only the empty path can be linked to. */
export function linkIothread(root: QomObject, path: string): void {
  if (path === '') return;
  if (resolve(root, path) === undefined) throw deviceNotFound(path);
  throw wrongType('iothread', 'iothread');
}

function pollingInterval(control: BalloonControl): QomProperty {
  return {
    name: POLLING_INTERVAL,
    type: 'int',
    get: () => control.pollingIntervalSeconds,
    set: (value) => {
      if (!isInt64(value)) throw wrongType(POLLING_INTERVAL, 'integer');
      control.pollingIntervalSeconds = pollingSeconds(value);
    },
  };
}

/** A polling interval in the range QEMU takes. */
export function pollingSeconds(value: JsonInteger): number {
  if (value < 0) throw new QmpCommandError('timer value must be greater than zero');
  if (value > UINT32_MAX) throw new QmpCommandError('timer value is too big');
  return Number(value);
}

/** One member per statistic of this QEMU version, whether the guest sent it or not. */
function guestStats(control: BalloonControl, count: number): Json {
  const { values, lastUpdateSeconds } = control.stats;
  const shown = STATS_TAGS.slice(0, count);
  const stats = Object.fromEntries(shown.map((tag) => [`stat-${tag}`, values[tag] ?? UNSET_STAT]));
  return { 'last-update': lastUpdateSeconds, stats };
}
