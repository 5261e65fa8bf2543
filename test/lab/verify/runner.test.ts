import { describe, expect, it } from 'vitest';
import { compactionCounts } from '../../../lab/verify/compaction-counts.ts';
import { readRecording } from '../../../lab/verify/recording.ts';
import type { VerifyReport } from '../../../lab/verify/report.ts';
import { verifyRecording } from '../../../lab/verify/run.ts';
import { runRecording } from '../../../lab/verify/runner.ts';
import { inLine, inText, withMutant } from './mutants.ts';

const verify = (directory: string): VerifyReport => verifyRecording(directory, runRecording);

describe('where emulation and recording part', () => {
  it('a QEMU that quit starts no round of hinting: there are differences', () => {
    const quit = inLine(5, (line) => {
      const { t } = JSON.parse(line) as { t: number };
      return `${JSON.stringify({ t, dir: '>', msg: { execute: 'quit' } })}\n${line}`;
    });
    const { checks } = withMutant('free-page-hint-512m', { 'qmp.jsonl': quit }, verify);
    const hinting = checks.find(({ name }) => name === 'hinting');
    expect(hinting?.total).toBeGreaterThan(0);
    expect(hinting?.equal).toBeLessThan(hinting?.total ?? 0);
  });

  it('a reply that is no JSON is no reply', () => {
    const infinite = inLine(3, (line) => {
      const { t } = JSON.parse(line) as { t: number };
      const raw = `{"execute": "query-balloon", "id": ${'9'.repeat(400)}}\n`;
      return `${JSON.stringify({ t, dir: '>', raw })}\n${line}`;
    });
    const { checks } = withMutant('stats-512m', { 'qmp.jsonl': infinite }, verify);
    expect(checks.map(({ name, total }) => [name, total])).toContainEqual(['qmp.replies', 20]);
  });

  it('a kernel that took more than there is has all there is', () => {
    const drained = inText((text) => {
      const lines = text.split('\n');
      const after = lines.findIndex((line) => /"label": ?"inflated"/.test(line)) + 1;
      const none = lines[after].replace(/nr_free_pages \d+/, 'nr_free_pages -1000000000000000');
      return lines.with(after, none).join('\n');
    });
    const [check] = withMutant('hugepages-1g', { 'guest.jsonl.gz': drained }, (directory) =>
      compactionCounts(directory, readRecording(directory)),
    );
    expect(check.equal).toBeLessThan(check.total);
  });
});
