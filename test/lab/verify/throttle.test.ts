import { describe, expect, test } from 'vitest';
import { throttleExpiries } from '../../../lab/verify/throttle.ts';

const at = (stampMs: number, arrivalMs = stampMs) => ({ stampMs, arrivalMs });

describe('throttleExpiries', () => {
  test('without events there is no timer', () => {
    expect(throttleExpiries([])).toEqual([]);
  });

  test('one event: the timer expires a second later and finds nothing', () => {
    expect(throttleExpiries([at(500, 500.3)])).toEqual([1500]);
  });

  test('a delayed event comes with the expiry, not with the write it reports', () => {
    expect(throttleExpiries([at(0), at(400, 1001.7)])).toEqual([1001.7, 2001.7]);
  });

  test('a delayed event may report a write of a moment before', () => {
    expect(throttleExpiries([at(0), at(999.9, 1004.6)])).toEqual([1004.6, 2004.6]);
  });

  test('an event after an idle timer goes out at once', () => {
    expect(throttleExpiries([at(0), at(3000, 3000.2)])).toEqual([1000, 4000]);
  });

  test('an expiry read late lies a second before the next one', () => {
    const events = [at(0), at(700, 1168), at(1100, 2001)];
    expect(throttleExpiries(events)).toEqual([1001, 2001, 3001]);
  });

  test('a late expiry that the next one confirms is kept', () => {
    const events = [at(0), at(700, 1050), at(1200, 2051)];
    expect(throttleExpiries(events)).toEqual([1050, 2051, 3051]);
  });

  test('events read together are spread over the seconds before', () => {
    const events = [at(0), at(829, 3988), at(2001, 3988), at(2941, 3988)];
    expect(throttleExpiries(events).map(Math.round)).toEqual([1000, 2001, 3001, 4001]);
  });
});
