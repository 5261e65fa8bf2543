import { describe, expect, it } from 'vitest';
import { AssertionError, assert, fail } from '../../../shared/lib/assert.ts';

describe('assertions', () => {
  it('pass or throw their message', () => {
    expect(() => assert(true, 'holds')).not.toThrow();
    expect(() => assert(false, 'does not hold')).toThrow(AssertionError);
    expect(() => assert(false, 'does not hold')).toThrow(/^does not hold$/);
  });

  it('fail with a detail, where there is one', () => {
    expect(() => fail('broken')).toThrow(/^broken$/);
    expect(() => fail('broken', 'pfn 7')).toThrow(/^broken: pfn 7$/);
  });
});
