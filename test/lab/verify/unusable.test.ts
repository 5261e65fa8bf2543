import { describe, expect, it } from 'vitest';
import type { FreeListDump } from '../../../guest/mm/page/image.ts';
import { allocatorChecks } from '../../../lab/verify/allocator-checks.ts';
import { compactionChecks } from '../../../lab/verify/compaction-checks.ts';
import { compactionCounts } from '../../../lab/verify/compaction-counts.ts';
import { UnusableRecording } from '../../../lab/verify/files.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { type Change, inJson, inLine, inText, withMutant } from './mutants.ts';

type Changes = Readonly<Record<string, Change>>;

/** What is said of a changed recording: one line. */
function refusal(
  recording: string,
  changes: Changes,
  check: (directory: string) => unknown = (directory) => verifyRecording(directory, runRecording),
): string {
  return withMutant(recording, changes, (directory) => {
    try {
      check(directory);
    } catch (error) {
      if (!(error instanceof UnusableRecording)) throw error;
      expect(error.message).not.toContain('\n');
      return error.message;
    }
    return 'was used';
  });
}

describe('a recording whose files contradict one another cannot be used', () => {
  const compaction = (directory: string) => compactionChecks(directory, readRecording(directory));
  const counts = (directory: string) => compactionCounts(directory, readRecording(directory));
  const dump = (change: (dump: FreeListDump) => void): Change => inJson(change);

  it('free memory after boot is of a guest of another size than meta.json', () => {
    const smaller = inJson<{ mem_mib: number }>((meta) => {
      meta.mem_mib = 511;
    });
    expect(refusal('page-reporting-512m', { 'meta.json': smaller })).toMatch(
      /guest\.jsonl\.gz: is of a guest of other zones, not of 511M/,
    );
  });

  it('numbers of a zone are none that a zone has', () => {
    const change = (from: RegExp, to: string) => ({
      'guest.jsonl.gz': inLine(0, (line) => line.replace(from, to)),
    });
    const said = (from: RegExp, to: string) => refusal('page-reporting-512m', change(from, to));
    expect(said(/batch: 1\b/, 'batch: 0')).toContain('zone DMA: batch is 0, of 1 to 63');
    expect(said(/min {6}22/, 'min      99')).toContain('zone DMA: watermarks do not ascend');
    expect(said(/managed {2}3840/, 'managed  9999')).toContain('do not ascend');
    expect(said(/managed {2}3840/, 'managed  38')).toContain('are free of 38');
  });

  it('a dump is of a guest of another size, or of none', () => {
    const smaller = inJson<{ mem_mib: number }>((meta) => {
      meta.mem_mib = 1000;
    });
    expect(refusal('exact-hugepages-1g', { 'meta.json': smaller }, compaction)).toContain(
      'freelists-after.json.gz: is of a guest of 1G, not of 1000M',
    );
    const twice = dump(({ zones }) => {
      const lists = zones.flatMap(({ free_area: area }) =>
        area.flatMap((one) => Object.values(one)),
      );
      const list = lists.find(({ length }) => length > 1);
      list?.splice(0, 1, list[1]);
    });
    for (const file of ['freelists-before.json.gz', 'freelists-after.json.gz']) {
      expect(refusal('exact-hugepages-1g', { [file]: twice }, compaction)).toMatch(
        new RegExp(`${file}: .*is there twice`),
      );
    }
  });

  it('a batch of a dump is larger than any zone has', () => {
    const batch = dump(({ zones: [{ pcp }] }) => {
      pcp.batch = 64;
    });
    const changes = { 'freelists-before.json.gz': batch };
    expect(refusal('exact-hugepages-1g', changes, compaction)).toContain('zone DMA: batch is 64');
  });

  it('a zone is missing in the dump that lists are compared with', () => {
    const shorter = dump(({ zones }) => zones.pop());
    const changes = { 'freelists-after.json.gz': shorter };
    expect(refusal('exact-hugepages-1g', changes, compaction)).toContain('freelists-after');
  });

  it('the balloon has a page that was free, or gives back more than it has', () => {
    const at = (line: string) => line.includes('"queue":"inflate"');
    const inFirst = (from: RegExp, to: string) =>
      inText((text) => {
        const lines = text.split('\n');
        const index = lines.findIndex(at);
        return lines.with(index, lines[index].replace(from, to)).join('\n');
      });
    const told = /"runs":\[.*?\]\]/;
    const free = { 'wire.jsonl.gz': inFirst(told, '"runs":[[1024,256,1]]') };
    expect(refusal('exact-hugepages-1g', free, compaction)).toMatch(
      /in the balloon PFN \d+ is there twice, or/,
    );
    const back = { 'wire.jsonl.gz': inFirst(/inflate/, 'deflate') };
    expect(refusal('exact-hugepages-1g', back, compaction)).toContain(
      '256 pages leave a balloon of 0',
    );
  });

  it('a buffer comes back that was not out', () => {
    // The second one may be the statistics buffer, which the device keeps.
    const thrice = inText((text) => text.replace(/^.*"ev":"used".*$/m, '$&\n$&\n$&'));
    expect(refusal('page-reporting-512m', { 'wire.jsonl.gz': thrice })).toMatch(
      /page-reporting-512m: at \d.* ms a buffer that was not out is used/,
    );
  });

  it('one part of what belongs together is missing', () => {
    const gone: Change = () => undefined;
    const allocator = (directory: string) => allocatorChecks(directory, readRecording(directory));
    expect(refusal('exact-inflate-512m', { 'kmem-trace.txt.gz': gone }, allocator)).toContain(
      'kmem-trace.txt.gz: no such file',
    );
    expect(refusal('hugepages-1g', { 'guest.jsonl.gz': gone }, counts)).toContain(
      "no snapshots 'inflated'",
    );
    const stepless = inJson<{ steps: unknown[] }>((meta) => {
      meta.steps = [];
    });
    expect(refusal('hugepages-1g', { 'meta.json': stepless }, counts)).toContain(
      'meta.json: no step says what compacted memory',
    );
  });
});

describe('a recording with numbers that nothing has cannot be used', () => {
  const wire = (from: RegExp, to: string): Changes => ({
    'wire.jsonl.gz': inText((text) => text.replace(from, to)),
  });

  it.each([
    [/"n":256/, '"n":255', 'n is 255, its runs have 256 PFNs'],
    [/\[\[(\d+),256,/, '[[$1,1e15,', 'runs.0.1: '],
    [/"num_pages":\d+/, '"num_pages":4294967296', 'num_pages: '],
    [/"actual":\d+/, '"actual":1e300', 'actual: '],
  ])('on the wire: %s', (from, to, message) => {
    expect(refusal('stats-512m', wire(from, to))).toContain(message);
  });

  it('a time that is days away', () => {
    const later = inLine(-1, (line) => line.replace(/"t":(\d+)/, '"t":9007199254740991'));
    expect(refusal('stats-512m', { 'wire.jsonl.gz': later })).toContain('times reach 9007199255 s');
  });

  it('a program larger than any guest', () => {
    const hog = inJson<{ steps: unknown[] }>((meta) => {
      meta.steps = [['hog', 1e300]];
    });
    expect(refusal('deflate-on-oom-512m', { 'meta.json': hog })).toContain('a hog of 1e+300 MiB');
  });
});
