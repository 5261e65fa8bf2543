import type { GuestMemory } from './memory.ts';
import type { Spaces } from './space/spaces.ts';
import { verifySpaces } from './space/verify.ts';

/**
 * Everything that must hold of a guest's memory between any two steps of its tasks: allocator and
 * balloons (verify.ts), address spaces, page cache, LRU and TLB (space/verify.ts). Names each
 * violated invariant once, with its first case; empty when all hold. Walks everything.
 *
 * What processes find in their memory is beside it, with those who know what they wrote:
 * guest/workload/verify-content.ts.
 */
export function verifyGuest(memory: GuestMemory, spaces: Spaces): string[] {
  return [...memory.verify(), ...verifySpaces(spaces)];
}
