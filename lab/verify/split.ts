import type { Alignment } from './align.ts';
import { takeExpectations } from './expectations.ts';
import { takeInputs } from './inputs.ts';
import type { Recording } from './recording.ts';
import type { Expectations, Inputs } from './types.ts';

/**
 * Splits a recording in two parts that share nothing but the order of requests: the emulator
 * never sees `expectations`. `blank` proves it: inputs do not change when every expected value
 * is wiped. The alignment is an argument because calibrating the clocks needs those values.
 * Throws UnusableRecording.
 */
export function split(
  recording: Recording,
  alignment: Alignment,
): { readonly inputs: Inputs; readonly expectations: Expectations } {
  return {
    inputs: takeInputs(recording, alignment),
    expectations: takeExpectations(recording),
  };
}
