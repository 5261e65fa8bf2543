import { ProtocolError } from '../../shared/protocol/errors.ts';
import type { DeviceMessage } from '../../shared/protocol/messages.ts';
import { queueLayout, VIRTIO_ID_BALLOON } from '../../shared/virtio/balloon.ts';
import { CONFIG_BYTES_MAX, configSizeBytes } from '../../shared/virtio/config-space.ts';
import { type Features, fromWords } from '../../shared/virtio/features.ts';
import { isQueueSize } from '../../shared/virtio/virtqueue.ts';

/** A device as its host describes it. */
export interface DeviceDescription {
  readonly offered: Features;
  /** The largest size of each queue, by its index. */
  readonly queueSizes: readonly number[];
}

/**
 * Reads what the host says its device is, so that the driver can rely on it: a balloon, as many
 * queues as the offered features bring, each of a size there can be, and the config space of these
 * features (G26). Throws ProtocolError `bad-schema`: the host is none.
 */
export function readDescription(message: DeviceMessage): DeviceDescription {
  const [, deviceId, offeredLow, offeredHigh, sizes, , config] = message;
  if (deviceId !== VIRTIO_ID_BALLOON) refuse(`device id ${deviceId} is no balloon's`);
  const offered = fromWords(offeredLow, offeredHigh);
  const queueSizes = readSizes(sizes);
  const queueCount = queueLayout(offered).length;
  if (queueSizes.length < queueCount) refuse(`${queueSizes.length} queues of ${queueCount}`);
  const wrong = queueSizes.find((size) => !isQueueSize(size));
  if (wrong !== undefined) refuse(`a queue of ${wrong} entries`);
  if (config.length < configSizeBytes(offered) || config.length > CONFIG_BYTES_MAX) {
    refuse(`a config space of ${config.length} bytes`);
  }
  return { offered, queueSizes };
}

function refuse(detail: string): never {
  throw new ProtocolError('bad-schema', detail);
}

function readSizes(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.byteLength >> 1 }, (_, index) =>
    view.getUint16(2 * index, true),
  );
}
