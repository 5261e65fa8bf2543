import type { Mm } from '../mm/space/mm-types.ts';
import { pteIn } from '../mm/space/page-tables.ts';
import { isHugePmd, isPresent, isTable, ptePfn } from '../mm/space/pte.ts';
import type { Spaces } from '../mm/space/spaces.ts';
import type { ProcessTable } from './processes.ts';
import type { Region } from './region.ts';

/**
 * Looks at the content of every process's memory without touching it: a page that is present holds
 * what its process wrote last, 0 where it never wrote, and what was written to private memory is
 * somewhere: in a frame, in swap, or on its way to another frame. Returns a line for the first
 * wrong page of each region. What is not present now is compared when the process reads it.
 */
export function verifyContent(processes: ProcessTable): string[] {
  const wrong: string[] = [];
  for (const { mm, killed, name, pid, regions } of processes.list()) {
    // The memory of a killed process may be gone before the process is.
    if (mm === undefined || killed) continue;
    for (const region of regions) {
      const difference = firstDifference(processes.spaces, mm, region);
      if (difference !== '') wrong.push(`${name} ${pid}: ${difference}`);
    }
  }
  return wrong;
}

function firstDifference(spaces: Spaces, mm: Mm, region: Region): string {
  const { tags } = spaces.frames.pages;
  for (let index = 0; index < region.pageCount; index++) {
    const vpn = region.start + index;
    const expected = region.expected[index];
    const frame = frameOf(spaces, mm, vpn);
    if (frame === LOST && expected !== 0 && !region.shared) return `page ${vpn} is lost`;
    if (frame < 0 || tags[frame] === expected) continue;
    return `page ${vpn} in frame ${frame} holds ${tags[frame]}, not ${expected}`;
  }
  return '';
}

/** No entry at all; an entry that is not present. */
const LOST = -1;
const ELSEWHERE = -2;

/** The frame behind a page. */
function frameOf({ tables }: Spaces, mm: Mm, vpn: number): number {
  const pmdAt = tables.pmdAt(mm.pgdBase, vpn);
  const pmd = pmdAt < 0 ? 0 : tables.entries[pmdAt];
  if (isHugePmd(pmd)) return ptePfn(pmd) + (vpn & 511);
  const entry = isTable(pmd) ? tables.entries[pteIn(tables.tableBase(pmd), vpn)] : pmd;
  if (entry === 0) return LOST;
  return isPresent(entry) ? ptePfn(entry) : ELSEWHERE;
}
