import type { Machine } from '../../vmm/machine.ts';
import { deviceNotFound, QmpCommandError } from './errors.ts';
import { resolveAt } from './qom.ts';
import { buildQomTree } from './qom-tree.ts';
import type { QmpSettings } from './settings.ts';

/**
 * device_del: the guest is asked, the reply does not wait for it. Only a balloon in a slot can be
 * unplugged; q35's root bus and the bus between a proxy and its backend refuse. `id` is a device's
 * id or path. Throws QmpCommandError.
 */
export function deleteDevice(machine: Machine, settings: QmpSettings, id: string): void {
  const { root, peripheral } = buildQomTree(machine, settings);
  const object = resolveAt(root, peripheral, id);
  if (object === undefined) throw deviceNotFound(id);
  if (object.bus === undefined) throw new QmpCommandError(`${id} is not a hotpluggable device`);
  const { slot } = machine;
  if (slot === undefined || object.bus !== slot.bus) throw noHotplug(object.bus);
  if (slot.state === 'pressed') {
    throw new QmpCommandError(`Device ${id} is already in the process of unplug`);
  }
  if (slot.state === 'blinking') {
    throw new QmpCommandError('Hot-unplug failed: guest is busy (power indicator blinking)');
  }
  slot.requestUnplug();
}

export function noHotplug(bus: string): QmpCommandError {
  return new QmpCommandError(`Bus '${bus}' does not support hotplugging`);
}
