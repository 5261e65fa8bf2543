import { Kernel } from '../../../guest/kernel.ts';
import { VirtualClock } from '../../../shared/lib/clock.ts';
import { SILENT } from '../../../shared/lib/log.ts';
import { PausableClock } from '../../../shared/lib/pausable-clock.ts';
import { MIB } from '../../../shared/lib/units.ts';
import { writeQueueSizes } from '../../../shared/protocol/bodies.ts';
import { type GuestToHost, Op } from '../../../shared/protocol/messages.ts';
import { VIRTIO_ID_BALLOON } from '../../../shared/virtio/balloon.ts';
import { featureSet, toWords, VIRTIO_F_VERSION_1 } from '../../../shared/virtio/features.ts';

/**
 * A kernel with a device whose queues may have any size, which no device of Puff's host has. It
 * answers every status write and never returns a buffer.
 */
export class FakeHost {
  readonly base = new VirtualClock();
  readonly sent: GuestToHost[] = [];
  readonly kernel: Kernel;

  constructor(bits: readonly number[], queueSizes: readonly number[]) {
    this.kernel = new Kernel({
      memoryBytes: 256 * MIB,
      clock: new PausableClock(this.base),
      seed: 1,
      linux: '6.1',
      log: SILENT,
      port: { send: (message) => this.#receive(message) },
    });
    const [low, high] = toWords(featureSet([...bits, VIRTIO_F_VERSION_1]));
    const sizes = writeQueueSizes(queueSizes);
    this.kernel.handle([Op.device, VIRTIO_ID_BALLOON, low, high, sizes, 0, new Uint8Array(16)]);
  }

  /** Status bytes the driver wrote. */
  get status(): number[] {
    return this.sent.flatMap((message) => (message[0] === Op.status ? [message[1]] : []));
  }

  #receive(message: GuestToHost): void {
    this.sent.push(structuredClone(message));
    if (message[0] === Op.status) this.kernel.handle([Op.statusValue, message[1], true]);
  }
}
