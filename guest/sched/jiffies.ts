/**
 * Time as the kernel's timers count it: in ticks. A timer is late, never early, by up to one
 * bucket of the timer wheel (calc_wheel_index of Linux 6.1): recorded are 208 ms between two
 * pauses of msleep(200), and 2,015 to 2,025 ms for a work delayed by 2 * HZ.
 *
 * Not emulated: the phase of a real guest's tick (ticks fall on multiples of 4 ms of the guest's
 * clock), high-resolution timers, wheel levels beyond the third.
 */

/** CONFIG_HZ of Debian's cloud kernel. */
export const HZ = 250;
export const TICK_MS = 1000 / HZ;

/** Levels have 64 buckets; each is 8 times coarser than the one before. */
const LEVEL_SHIFT = 3;
const LEVEL_LAST_BUCKET = 63;
const LEVELS = 3;

/** msecs_to_jiffies: rounded up. */
export function msecsToJiffies(ms: number): number {
  return Math.ceil(ms / TICK_MS);
}

/** How long after `nowMs` a timer expires that is armed now for `jiffies` ticks. */
export function timerWaitMs(nowMs: number, jiffies: number): number {
  const expires = Math.floor(nowMs / TICK_MS) + jiffies;
  const granularity = granularityOf(jiffies);
  const bucket = (Math.floor(expires / granularity) + 1) * granularity;
  return bucket * TICK_MS - nowMs;
}

/** How late such a timer may be at most. */
export function timerGranularityMs(jiffies: number): number {
  return granularityOf(jiffies) * TICK_MS;
}

/** Ticks between two buckets of the level that a timer of this length goes to. */
function granularityOf(jiffies: number): number {
  let level = 0;
  while (level < LEVELS - 1 && jiffies >= LEVEL_LAST_BUCKET << (level * LEVEL_SHIFT)) level++;
  return 1 << (level * LEVEL_SHIFT);
}

/** How long msleep(ms) sleeps: schedule_timeout of one tick more than asked for. */
export function msleepMs(nowMs: number, ms: number): number {
  return timerWaitMs(nowMs, msecsToJiffies(ms) + 1);
}
