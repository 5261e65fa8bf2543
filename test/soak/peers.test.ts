import { expect, it } from 'vitest';
import { PeersSoak } from './peers.ts';

/** Its rounds kill and stop the host and guests and cut links, each at least once. */
const SEED = 219;

it('peers that are lost at random moments agree again: a few rounds of the soak', async () => {
  const lines: string[] = [];
  const soak = new PeersSoak({ rounds: 4, seed: SEED, report: (line) => lines.push(line) });
  const result = await soak.run();
  expect(lines).toHaveLength(4);
  for (const name of [
    'host killed',
    'guest killed',
    'host stopped',
    'guest stopped',
    'links cut',
  ]) {
    expect(lines.join('\n')).toContain(name);
  }
  expect(result.framesCompared).toBeGreaterThan(0);
}, 300_000);
