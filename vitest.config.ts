import { defineConfig } from 'vitest/config';

// Only sources are tested: without `include`, compiled tests in dist would run as well.
export default defineConfig({
  test: { include: ['test/**/*.test.ts'], testTimeout: 20_000, reporters: ['default'] },
});
