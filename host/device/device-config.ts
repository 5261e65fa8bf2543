import { Op } from '../../shared/protocol/messages.ts';
import {
  type ConfigAccess,
  type ConfigFieldName,
  ConfigSpace,
  type ConfigViolation,
} from '../../shared/virtio/config-space.ts';
import type { DevicePort } from './device-port.ts';

/**
 * The device's config space and its change notifications. While the machine is paused they are
 * held back and joined into one, because a paused guest is sent no interrupt.
 */
export class DeviceConfig {
  readonly #space: ConfigSpace;
  readonly #port: DevicePort;
  #holding = false;
  /** What is to be told when holding ends; undefined when nothing is. */
  #heldInterrupt: boolean | undefined;

  constructor(sizeBytes: number, port: DevicePort) {
    this.#space = new ConfigSpace(sizeBytes);
    this.#port = port;
  }

  get generation(): number {
    return this.#space.generation;
  }

  /** Valid until the next change. */
  get bytes(): Uint8Array {
    return this.#space.bytes;
  }

  /** 0 for a field that this device's config space does not reach. */
  read(name: ConfigFieldName): number {
    return this.#space.has(name) ? this.#space.read(name) : 0;
  }

  /** The device changes a field without telling the driver yet; true if it differs. */
  set(name: ConfigFieldName, value: number): boolean {
    return this.#space.has(name) && this.#space.deviceWrite(name, value);
  }

  driverWrite(offset: number, data: Uint8Array, access: ConfigAccess): ConfigViolation | undefined {
    return this.#space.driverWrite(offset, data, access);
  }

  /** Sends the whole space; with `interrupt` it is a configuration change notification. */
  announce(interrupt: boolean): void {
    if (this.#holding) {
      this.#heldInterrupt = interrupt || this.#heldInterrupt === true;
      return;
    }
    this.#port.send([Op.config, this.#space.generation, this.#space.bytes, interrupt]);
  }

  hold(): void {
    this.#holding = true;
  }

  /** Sends what was held back, once. */
  release(): void {
    this.#holding = false;
    const interrupt = this.#heldInterrupt;
    this.#heldInterrupt = undefined;
    if (interrupt !== undefined) this.announce(interrupt);
  }
}
