import { checkHinting } from './hinting-check.ts';
import { checkDeflateOnOom } from './oom-check.ts';
import { checkOutOfPuff } from './out-of-puff-check.ts';
import type { Recording } from './recording.ts';
import { checkReporting } from './reporting-check.ts';
import type { Check, Expectations, Observed } from './types.ts';

/**
 * The checks of single features, for recordings that show them: by the device's options, and where
 * the guest was short of memory.
 */
export function featureChecks(
  { deviceOptions }: Recording,
  { traffic: expected }: Expectations,
  { traffic: observed }: Observed,
): Check[] {
  const checks: Check[] = [];
  if (deviceOptions['free-page-reporting'] === 'on') {
    checks.push(checkReporting(expected, observed));
  }
  if (deviceOptions['free-page-hint'] === 'on') checks.push(checkHinting(expected, observed));
  const giveBacks = deviceOptions['deflate-on-oom'] === 'on';
  const oom = giveBacks ? checkDeflateOnOom : checkOutOfPuff;
  const check = oom(expected, observed);
  return check.total > 0 ? [...checks, check] : checks;
}
