import type { Machine } from '../../vmm/machine.ts';
import { noHotplug } from './device-del.ts';
import { type DeviceProperties, setDeviceProperties } from './device-properties.ts';
import { badValue, QmpCommandError } from './errors.ts';
import { JsonDouble, type JsonObject } from './json-value.ts';
import { qdictEntries } from './qdict-order.ts';
import { BACKEND_BUS, buildQomTree, PROXY_TYPE, ROOT_BUS } from './qom-tree.ts';
import type { QmpSettings } from './settings.ts';

/** The types of devices that exist in Puff, by what `driver` may say. */
const TYPE_OF_DRIVER: ReadonlyMap<string, string> = new Map([
  [PROXY_TYPE, PROXY_TYPE],
  ['virtio-balloon', PROXY_TYPE],
  ['virtio-balloon-pci-transitional', 'virtio-balloon-pci-transitional'],
  ['virtio-balloon-pci-non-transitional', 'virtio-balloon-pci-non-transitional'],
]);

/** Members of the arguments that are no properties of the device. */
const NO_PROPERTIES: readonly string[] = ['driver', 'id', 'bus'];

/**
 * device_add of a balloon, which only a slot takes. Of several mistakes the one is told that QEMU
 * tells: it looks at id, driver, bus, uniqueness, properties and other balloons in this order.
 *
 * Not emulated: paths instead of a bus' name, devices other than balloons. Throws QmpCommandError.
 */
export function addDevice(machine: Machine, settings: QmpSettings, given: JsonObject): void {
  const asked = given.get('id');
  if (typeof asked === 'string' && !/^[a-zA-Z][-._a-zA-Z0-9]*$/.test(asked)) {
    throw badValue('id', 'an identifier');
  }
  const options = optionsOf(given);
  const [id, driver] = [options.get('id'), options.get('driver')];
  if (driver === undefined) throw new QmpCommandError("Parameter 'driver' is missing");
  const typename = TYPE_OF_DRIVER.get(driver);
  if (typename === undefined) {
    throw new QmpCommandError(`'${driver}' is not a valid device model name`);
  }
  const slot = slotAt(machine, typename, options.get('bus') ?? ROOT_BUS);
  const { root, peripheral } = buildQomTree(machine, settings);
  if (id !== undefined && peripheral.properties.some(({ name }) => name === id)) {
    throw new QmpCommandError(`Duplicate device ID '${id}'`);
  }
  for (const name of NO_PROPERTIES) options.delete(name);
  const { properties, pollingIntervalSeconds } = setDeviceProperties(typename, options, root);
  if (machine.balloon !== undefined || slot.state !== 'empty') {
    throw new QmpCommandError('Only one balloon device is supported');
  }
  refuseHinting(properties);
  slot.plug({ id, typename, properties, pollingIntervalSeconds });
}

function slotAt({ balloon, slot }: Machine, typename: string, bus: string) {
  if (slot !== undefined && bus === slot.bus) return slot;
  if (bus === ROOT_BUS) throw noHotplug(bus);
  if (bus === 'main-system-bus') {
    throw new QmpCommandError(`Device '${typename}' can't go on System bus`);
  }
  if (bus === BACKEND_BUS && balloon !== undefined) {
    throw new QmpCommandError(`Bus '${bus}' is full`);
  }
  throw new QmpCommandError(`Bus '${bus}' not found`);
}

/** Puff has no I/O threads to link to. */
function refuseHinting(properties: DeviceProperties['properties']): void {
  if (!properties['free-page-hint']) return;
  throw new QmpCommandError("'free-page-hint' requires 'iothread' to be set");
}

/** Arguments the way QEMU turns them into command-line options; lists and objects are dropped. */
function optionsOf(given: JsonObject): Map<string, string> {
  const options = new Map<string, string>();
  for (const [name, value] of qdictEntries(given)) {
    if (typeof value === 'boolean') options.set(name, value ? 'on' : 'off');
    else if (value instanceof JsonDouble) options.set(name, String(value.value));
    else if (['string', 'number', 'bigint'].includes(typeof value)) options.set(name, `${value}`);
  }
  return options;
}
