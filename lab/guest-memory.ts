import { formatSize, MIB, parseSize, SizeError } from '../shared/lib/units.ts';
import { MAX_GUEST_MIB, MAX_SWAP_MIB, MIN_GUEST_MIB } from '../shared/limits.ts';

/** RAM of a guest as people write it, in bytes. Throws SizeError for what no guest can have. */
export function parseGuestMemory(text: string): number {
  const bytes = parseSize(text);
  const smallest = MIN_GUEST_MIB * MIB;
  const largest = MAX_GUEST_MIB * MIB;
  if (bytes < smallest || bytes > largest || bytes % MIB !== 0) {
    const range = `${formatSize(smallest)} to ${formatSize(largest)}`;
    throw new SizeError(`'${text}' is no guest's RAM; a guest has ${range}, whole MiB`);
  }
  return bytes;
}

/** Size of a swap device, in bytes. Throws SizeError for what no guest can have. */
export function parseSwapSize(text: string): number {
  const bytes = parseSize(text);
  const largest = MAX_SWAP_MIB * MIB;
  if (bytes < MIB || bytes > largest || bytes % MIB !== 0) {
    const range = `${formatSize(MIB)} to ${formatSize(largest)}`;
    throw new SizeError(`'${text}' is no swap device; one has ${range}, whole MiB`);
  }
  return bytes;
}
