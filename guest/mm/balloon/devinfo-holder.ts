import { assert, fail } from '../../../shared/lib/assert.ts';
import type { BalloonDevInfo, BalloonOptions } from './balloon-dev-info.ts';

/** Who owns a balloon_dev_info: a driver (struct virtio_balloon). */
export interface DevinfoHolder {
  vbDevInfo: BalloonDevInfo | undefined;
}

/** Makes books: GuestMemory. */
interface BookMaker {
  newBalloon(options: BalloonOptions): BalloonDevInfo;
}

/** balloon_devinfo_alloc: a book for one device. Its holder has none at the time. */
export function balloonDevinfoAlloc(
  holder: DevinfoHolder,
  memory: BookMaker,
  options: BalloonOptions,
): BalloonDevInfo {
  assert(holder.vbDevInfo === undefined, 'a balloon device has one balloon_dev_info');
  holder.vbDevInfo = memory.newBalloon(options);
  return holder.vbDevInfo;
}

/**
 * balloon_devinfo_free as the review of the 2012 postings asked for it: it is given the holder and
 * clears its pointer, so that whoever uses or frees the book again fails at once. The book has to
 * be empty.
 */
export function balloonDevinfoFree(holder: DevinfoHolder): void {
  const book = holder.vbDevInfo ?? fail('a balloon_dev_info is freed once');
  const pages = book.length + book.isolatedPages;
  assert(pages === 0, 'a balloon_dev_info is freed without pages');
  holder.vbDevInfo = undefined;
}
