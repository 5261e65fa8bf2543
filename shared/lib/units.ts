/** Sizes: pages are 4096 bytes everywhere, whatever the host or guest page size (N-table rule). */
export const PAGE_SHIFT = 12;
export const PAGE_SIZE = 4096;
export const MIB = 1024 * 1024;
export const GIB = 1024 * MIB;
export const PAGES_PER_MIB = MIB / PAGE_SIZE;

export class SizeError extends Error {
  override readonly name = 'SizeError';
}

const SUFFIX: Record<string, number> = { '': MIB, B: 1, K: 1024, M: MIB, G: GIB, T: 1024 * GIB };

/**
 * Parses a size as QEMU's `-m` does: a plain number is MiB, suffixes B, K, M, G, T are binary.
 * Returns bytes. Throws SizeError with the text and what is accepted.
 */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:(B)|([KMGT])(?:iB|B)?)?$/i.exec(text.trim());
  const factor = match ? SUFFIX[(match[2] ?? match[3] ?? '').toUpperCase()] : undefined;
  const bytes = match && factor ? Number(match[1]) * factor : Number.NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new SizeError(`'${text}' is no size; write a number of MiB or use a suffix: 512M, 2G`);
  }
  return bytes;
}

/** Writes bytes in the largest unit that keeps it exact: 512M, 2G, 4097B. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    const factor = SUFFIX[unit] ?? 1;
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}
