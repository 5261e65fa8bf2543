import { defineConfig } from 'vitest/config';

/**
 * For a test that waits for something that never comes. What comes, comes sooner, but how soon is
 * up to the machine and to what else it does.
 */
const NEVER_MS = 60_000;

// Only sources are tested: without `include`, compiled tests in dist would run as well.
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // One worker a core. By default one core is left free, which on two cores is half of them.
    maxWorkers: '100%',
    testTimeout: 2 * NEVER_MS,
    hookTimeout: 2 * NEVER_MS,
    expect: { poll: { timeout: NEVER_MS } },
    reporters: ['default'],
  },
});
