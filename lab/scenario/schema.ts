import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { BALLOON_COMPACTIONS } from '../../guest/mm/balloon/compaction-mode.ts';
import { programSchema } from '../../guest/workload/programs.ts';
import { issueText } from '../../shared/control/issues.ts';
import { hugePageSize } from '../../shared/control/schemas.ts';
import { parseSize } from '../../shared/lib/units.ts';
import { MAX_NR_HUGEPAGES, MAX_TIMER_MS } from '../../shared/limits.ts';
import { isGuestId } from '../../shared/protocol/codec.ts';
import { parseDevice } from '../device-option.ts';
import { parseGuestMemory } from '../guest-memory.ts';

/**
 * A scenario file: JSON with a host, guests and steps that are done one after the other. `puff run`
 * starts them as processes and uses only QMP and the control channels.
 */

/** A text that `parse` takes; what it throws is the issue. */
function parsed<Value>(parse: (text: string) => Value) {
  return z.string().transform((text, context) => {
    try {
      return parse(text);
    } catch (error) {
      context.addIssue({ code: 'custom', message: (error as Error).message });
      return z.NEVER;
    }
  });
}

const size = parsed(parseSize);
const guest = z.string().refine(isGuestId, 'an id has 1 to 64 letters, digits, _ . -');
const MAX_SECONDS = Math.floor(MAX_TIMER_MS / 1000);
const timeoutSeconds = z.number().positive().max(MAX_SECONDS).default(30);

const hugePages = z.int().min(0).max(MAX_NR_HUGEPAGES);

const stepSchema = z.discriminatedUnion('do', [
  /** Asks for a size over QMP: what remains to the guest. */
  z.strictObject({ do: z.literal('balloon'), guest, size }),
  /** Waits until target, actual, ledger and list agree. */
  z.strictObject({ do: z.literal('settle'), guest, timeoutSeconds }),
  z.strictObject({ do: z.literal('sleep'), seconds: z.number().nonnegative().max(MAX_SECONDS) }),
  /**
   * Sends one QMP command. `expect` must be contained in its return value; `expectError` is the
   * class of the error that it must give.
   */
  z.strictObject({
    do: z.literal('qmp'),
    guest,
    execute: z.string(),
    arguments: z.record(z.string(), z.json()).optional(),
    expect: z.json().optional(),
    expectError: z.string().optional(),
  }),
  /** An operator's action in the guest. */
  z.strictObject({
    do: z.literal('driver'),
    guest,
    verb: z.enum(['unbind', 'bind', 'rmmod', 'insmod', 'suspend', 'resume']),
  }),
  z.strictObject({ do: z.literal('run'), guest, program: programSchema }),
  /** Compacts the guest's memory; at least so many huge pages of 2 MiB are free then. */
  z.strictObject({
    do: z.literal('compact_memory'),
    guest,
    expectFree: z.int().nonnegative().optional(),
  }),
  /**
   * Asks for so many persistent huge pages of a size, 2M or 1G; `expect` is how many there have to
   * be, all if left out.
   */
  z.strictObject({
    do: z.literal('nr_hugepages'),
    guest,
    count: hugePages,
    size: hugePageSize.default('2M'),
    expect: hugePages.optional(),
  }),
  /** Cuts the guest's connection; it resumes by itself. */
  z.strictObject({ do: z.literal('cut'), guest }),
  /** The host's ledger and the guest's list hold the same frames, and so many. */
  z.strictObject({ do: z.literal('check'), guest, balloonSize: size.optional() }),
]);
export type Step = z.infer<typeof stepSchema>;

/** As QEMU spells it after -device; handed on to the host as it stands. */
const device = parsed((text) => {
  parseDevice(text);
  return text;
});

export const scenarioSchema = z
  .strictObject({
    name: z.string().regex(/^\P{Cc}{1,64}$/u, '1 to 64 characters on one line'),
    about: z.string().optional(),
    seed: z.int().min(0).max(0xffff_ffff).default(1),
    host: z
      .strictObject({ device: device.optional(), strict: z.boolean().default(false) })
      .default({ strict: false }),
    guests: z
      .array(
        z.strictObject({
          id: guest,
          /** RAM; may be left out with an image. */
          memory: parsed(parseGuestMemory).optional(),
          /** A recorded guest to boot from; the path is from the file's own folder. */
          image: z.string().min(1).optional(),
          workload: z.enum(['none', 'default']).default('default'),
          balloonCompaction: z.enum(BALLOON_COMPACTIONS).default('movable'),
        }),
      )
      .min(1),
    steps: z.array(stepSchema).min(1),
  })
  .superRefine(({ guests, steps }, context) => {
    const ids = guests.map(({ id }) => id);
    for (const [index, id] of ids.entries()) {
      if (ids.indexOf(id) === index) continue;
      context.addIssue({ code: 'custom', path: ['guests', index, 'id'], message: `${id} twice` });
    }
    for (const [index, { memory, image }] of guests.entries()) {
      if (memory !== undefined || image !== undefined) continue;
      const message = 'is missing; say how much, or give an image';
      context.addIssue({ code: 'custom', path: ['guests', index, 'memory'], message });
    }
    for (const [index, step] of steps.entries()) {
      if (!('guest' in step) || ids.includes(step.guest)) continue;
      const message = `no guest '${step.guest}'; there is ${ids.join(', ')}`;
      context.addIssue({ code: 'custom', path: ['steps', index, 'guest'], message });
    }
  });
export type Scenario = z.infer<typeof scenarioSchema>;

/** A scenario file that cannot be used; one line that names the place. */
export class ScenarioError extends Error {
  override readonly name = 'ScenarioError';
}

/** Reads and checks a scenario file. Throws ScenarioError. */
export function readScenario(path: string): Scenario {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ScenarioError(`${path}: ${code === 'ENOENT' ? 'no such file' : message}`);
  }
  return parseScenario(text, path);
}

/** Images are named from where the scenario is, and opened from where Puff runs. */
function withImages(scenario: Scenario, folder: string): Scenario {
  const guests = scenario.guests.map((guest) => {
    return guest.image === undefined ? guest : { ...guest, image: resolve(folder, guest.image) };
  });
  return { ...scenario, guests };
}

/** Checks the text of a scenario file; `path` is for messages. Throws ScenarioError. */
export function parseScenario(text: string, path = 'scenario'): Scenario {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new ScenarioError(`${path}: is not JSON: ${(error as Error).message}`);
  }
  const result = scenarioSchema.safeParse(json);
  if (result.success) return withImages(result.data, dirname(path));
  throw new ScenarioError(`${path}: ${issueText(result.error)}`);
}
