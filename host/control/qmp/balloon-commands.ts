import type { BalloonControl, Machine } from '../../vmm/machine.ts';
import { badValue, QmpCommandError } from './errors.ts';
import type { JsonInteger } from './json-value.ts';

/** What QMP's and HMP's balloon commands share. Sizes are bytes that remain to the guest. */

/** Throws DeviceNotActive. */
export function mustHaveBalloon(machine: Machine): BalloonControl {
  if (machine.balloon !== undefined) return machine.balloon;
  throw new QmpCommandError('No balloon device has been activated', 'DeviceNotActive');
}

/** RAM less the balloon as the guest last reported it. */
export function queryBalloon(machine: Machine): number {
  return mustHaveBalloon(machine).actualBytes;
}

/** Sets the target. QEMU calls the value `target` here, whatever the command calls it. */
export function setBalloon(machine: Machine, value: JsonInteger): void {
  const balloon = mustHaveBalloon(machine);
  if (value <= 0) throw badValue('target', 'a size');
  balloon.setTargetBytes(Number(value));
}
