import { PAGE_SIZE } from '../../shared/lib/units.ts';
import { MAX_REPORT_PAGES } from '../../shared/limits.ts';
import { readPfns, readWritable } from '../../shared/protocol/bodies.ts';
import type { HintRounds } from './hint-rounds.ts';
import type { BufferContext } from './pfn-buffers.ts';

/** A command is one le32 id (N37). */
const COMMAND_BYTES = 4;

/**
 * A buffer on the free page queue, as QEMU's get_free_page_hints takes it: a command first, where
 * there is one, then hinted blocks. Blocks outside a round the driver has taken up are returned
 * without effect (N49); those within are marked as what a migration would leave out. Nothing is
 * done to their content. Returns false when the policy refuses the buffer; throws `bad-schema` for
 * a cut range.
 */
export function takeHint(
  readable: Uint8Array,
  writable: Uint8Array,
  rounds: HintRounds,
  context: BufferContext,
): boolean {
  const { checks, counters } = context;
  counters.add('free_page_buffers');
  const isCommand = readable.length > 0;
  if (isCommand) {
    const wrongSize = readable.length !== COMMAND_BYTES;
    if (checks.violatedBy('hint-command-size', Number(wrongSize))) return false;
    if (!wrongSize && !takeCommand(readPfns(readable)[0], rounds, context)) return false;
  }
  if (writable.length === 0) return true;
  if (rounds.takesHints) return takeBlocks(writable, context);
  counters.add('ignored_hints');
  return true;
}

function takeCommand(id: number, rounds: HintRounds, { checks, counters }: BufferContext): boolean {
  counters.add('hint_commands');
  const isRepeated = rounds.takesHints && id === rounds.id;
  if (checks.violatedBy('hint-id-repeated', Number(isRepeated))) return false;
  if (rounds.command(id)) counters.add('hint_rounds');
  return true;
}

function takeBlocks(writable: Uint8Array, { ledger, checks, counters }: BufferContext): boolean {
  let unaligned = 0;
  let outside = 0;
  let excess = 0;
  let pages = 0;
  for (const { address, lengthBytes } of readWritable(writable)) {
    const pageCount = lengthBytes / PAGE_SIZE;
    if (address % PAGE_SIZE !== 0 || lengthBytes % PAGE_SIZE !== 0 || pageCount === 0) {
      unaligned++;
    } else if (pages + pageCount > MAX_REPORT_PAGES) {
      excess++;
    } else {
      pages += pageCount;
      const added = ledger.hinted.add(address / PAGE_SIZE, pageCount);
      if (added < 0) outside++;
      else counters.add('hinted_pages', added);
    }
  }
  const refused = [
    checks.violatedBy('hint-unaligned', unaligned),
    checks.violatedBy('hint-out-of-ram', outside),
    checks.violatedBy('MAX_REPORT_PAGES', excess),
  ];
  return !refused.includes(true);
}
