import {
  QUEUE_SIZE_BALLOON,
  QUEUE_SIZE_FREE_PAGE,
  QUEUE_SIZE_REPORTING,
  QUEUE_SIZE_STATS,
} from '../../shared/limits.ts';
import {
  type QueueName,
  queueLayout,
  VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  VIRTIO_BALLOON_F_PAGE_POISON,
  VIRTIO_BALLOON_F_REPORTING,
  VIRTIO_BALLOON_F_STATS_VQ,
} from '../../shared/virtio/balloon.ts';
import { configSizeBytes } from '../../shared/virtio/config-space.ts';
import {
  type Features,
  featureSet,
  hasFeature,
  VIRTIO_F_VERSION_1,
} from '../../shared/virtio/features.ts';
import type { BalloonProperties } from '../vmm/machine.ts';
import type { NegotiationRefusal } from './violations.ts';

/**
 * What a balloon device offers, from its properties, as QEMU 7.2 does: statistics always, poison
 * by default, MUST_TELL_HOST never (6.1 of the facts).
 */
export const DEFAULT_PROPERTIES: BalloonProperties = {
  'deflate-on-oom': false,
  'free-page-hint': false,
  'free-page-reporting': false,
  'page-poison': true,
  'qemu-4-0-config-size': false,
};

const FEATURE_OF_PROPERTY = {
  'deflate-on-oom': VIRTIO_BALLOON_F_DEFLATE_ON_OOM,
  'free-page-hint': VIRTIO_BALLOON_F_FREE_PAGE_HINT,
  'free-page-reporting': VIRTIO_BALLOON_F_REPORTING,
  'page-poison': VIRTIO_BALLOON_F_PAGE_POISON,
} as const satisfies Partial<Record<keyof BalloonProperties, number>>;

const QUEUE_SIZE: Readonly<Record<QueueName, number>> = {
  inflate: QUEUE_SIZE_BALLOON,
  deflate: QUEUE_SIZE_BALLOON,
  stats: QUEUE_SIZE_STATS,
  free_page: QUEUE_SIZE_FREE_PAGE,
  reporting: QUEUE_SIZE_REPORTING,
};

export interface Offer {
  readonly features: Features;
  /** Queues by index, compacted over the offered features (X4). */
  readonly queues: readonly QueueName[];
  /** Maximum sizes by index. */
  readonly queueSizes: readonly number[];
  readonly configBytes: number;
}

export function offerOf(properties: BalloonProperties): Offer {
  const bits: number[] = [VIRTIO_BALLOON_F_STATS_VQ, VIRTIO_F_VERSION_1];
  for (const [property, bit] of Object.entries(FEATURE_OF_PROPERTY)) {
    if (properties[property as keyof typeof FEATURE_OF_PROPERTY]) bits.push(bit);
  }
  const features = featureSet(bits);
  const queues = queueLayout(features);
  return {
    features,
    queues,
    queueSizes: queues.map((name) => QUEUE_SIZE[name]),
    configBytes: configSizeBytes(features, properties['qemu-4-0-config-size']),
  };
}

/**
 * Why a driver's subset cannot work, or undefined. Any subset of the offer is valid (G15) with two
 * exceptions: there is no legacy interface (G53), and a driver that compacts queue numbers over
 * its subset must arrive at the numbers of the offer. QEMU lets such a pair talk past each other.
 */
export function judgeSubset(offer: Offer, accepted: Features): NegotiationRefusal | undefined {
  if ((accepted & ~offer.features) !== 0n) return 'feature-not-offered';
  if (!hasFeature(accepted, VIRTIO_F_VERSION_1)) return 'version-1-not-accepted';
  const agreed = queueLayout(accepted).every((name, index) => name === offer.queues[index]);
  return agreed ? undefined : 'queue-layout-disagrees';
}
