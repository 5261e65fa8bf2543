import type { Machine } from '../../vmm/machine.ts';
import { Arguments, checkArguments, type Parameter } from './arguments.ts';
import { queryBalloon, setBalloon } from './balloon-commands.ts';
import { addDevice } from './device-add.ts';
import { deleteDevice } from './device-del.ts';
import { badValue, QmpCommandError } from './errors.ts';
import { runHmpCommand } from './hmp.ts';
import type { Json, JsonObject } from './json-value.ts';
import { pveBalloonInfo, queryMachines, queryProxmoxSupport } from './pve.ts';
import { getProperty, mustResolve, setProperty } from './qom.ts';
import { buildQomTree, listProperties } from './qom-tree.ts';
import type { QmpDialect, QmpSettings } from './settings.ts';

/**
 * QMP's commands as far as Puff has them. Each answers at once; what takes time (an inflation) is
 * the guest's and shows in later queries and events. None may run out of band.
 *
 * Not emulated: query-qmp-schema, which no client asks for that docs/QMP.md lists; migration, block
 * devices, CPUs.
 */
export interface CommandContext {
  readonly machine: Machine;
  readonly settings: QmpSettings;
  /** Ends negotiation. Throws QmpCommandError when that is done already. */
  negotiate(capabilities: readonly string[]): void;
}

interface Command {
  /** 'unchecked' is QAPI's `gen: false`: the command looks at its arguments itself. */
  readonly parameters: readonly Parameter[] | 'unchecked';
  /**
   * Nothing returned is `{}` on the wire. Members stand in QAPI's order, which decides between two
   * of one bucket (qdict-order.ts). Throws QmpCommandError.
   */
  run(context: CommandContext, args: Arguments, given: JsonObject): Json | undefined;
}

/** Capabilities offered in the greeting. */
export const CAPABILITIES = ['oob'] as const;

/** The only command there is before capabilities are negotiated. */
export const NEGOTIATION_COMMAND = 'qmp_capabilities';

const PATH: Parameter = { name: 'path', type: 'str' };
const PROPERTY: Parameter = { name: 'property', type: 'str' };

const QEMU_COMMANDS: ReadonlyMap<string, Command> = new Map<string, Command>(
  Object.entries({
    [NEGOTIATION_COMMAND]: {
      parameters: [{ name: 'enable', type: { listOf: CAPABILITIES }, optional: true }],
      run: (context, args) => {
        context.negotiate(args.words('enable'));
        return undefined;
      },
    },
    balloon: {
      parameters: [{ name: 'value', type: 'int' }],
      run: ({ machine }, args) => {
        setBalloon(machine, args.int('value') ?? 0);
        return undefined;
      },
    },
    cont: {
      parameters: [],
      run: ({ machine }) => {
        if (machine.runState === 'shutdown') {
          throw new QmpCommandError('Resetting the Virtual Machine is required');
        }
        machine.cont();
        return undefined;
      },
    },
    device_add: {
      parameters: 'unchecked',
      run: ({ machine, settings }, _args, given) => {
        addDevice(machine, settings, given);
        return undefined;
      },
    },
    device_del: {
      parameters: [{ name: 'id', type: 'str' }],
      run: ({ machine, settings }, args) => {
        deleteDevice(machine, settings, args.str('id'));
        return undefined;
      },
    },
    'human-monitor-command': {
      parameters: [
        { name: 'command-line', type: 'str' },
        { name: 'cpu-index', type: 'int', optional: true },
      ],
      run: (context, args) => {
        // QEMU keeps the number in 32 bits, and there is one CPU.
        const cpuIndex = BigInt.asIntN(32, BigInt(args.int('cpu-index') ?? 0));
        if (cpuIndex !== 0n) throw badValue('cpu-index', 'a CPU number');
        return runHmpCommand(context, args.str('command-line'));
      },
    },
    'qom-get': {
      parameters: [PATH, PROPERTY],
      run: ({ machine, settings }, args) => {
        const { root } = buildQomTree(machine, settings);
        return getProperty(mustResolve(root, args.str('path')), args.str('property'));
      },
    },
    'qom-list': {
      parameters: [PATH],
      run: ({ machine, settings }, args) =>
        listProperties(buildQomTree(machine, settings).root, args.str('path')),
    },
    'qom-set': {
      parameters: [PATH, PROPERTY, { name: 'value', type: 'any' }],
      run: ({ machine, settings }, args) => {
        const object = mustResolve(buildQomTree(machine, settings).root, args.str('path'));
        setProperty(object, args.str('property'), args.any('value') ?? null);
        return undefined;
      },
    },
    'query-balloon': {
      parameters: [],
      run: ({ machine }) => ({ actual: queryBalloon(machine) }),
    },
    'query-commands': {
      parameters: [],
      run: ({ settings }) => [...COMMANDS_OF[settings.dialect].keys()].map((name) => ({ name })),
    },
    // What a QEMU without KVM says on a host that could have it; the recorded one ran so.
    'query-kvm': { parameters: [], run: () => ({ enabled: false, present: true }) },
    'query-memory-devices': { parameters: [], run: () => [] },
    'query-memory-size-summary': {
      parameters: [],
      run: ({ machine }) => ({ 'base-memory': machine.ramBytes, 'plugged-memory': 0 }),
    },
    'query-name': {
      parameters: [],
      run: ({ settings }) => (settings.name === undefined ? {} : { name: settings.name }),
    },
    'query-status': {
      parameters: [],
      run: ({ machine: { runState } }) => ({
        running: runState === 'running',
        singlestep: false,
        status: runState,
      }),
    },
    'query-version': { parameters: [], run: ({ settings }) => queryVersion(settings) },
    quit: {
      parameters: [],
      run: ({ machine }) => {
        machine.quit();
        return undefined;
      },
    },
    stop: {
      parameters: [],
      run: ({ machine }) => {
        machine.stop();
        return undefined;
      },
    },
  } satisfies Record<string, Command>),
);

/** What Proxmox' build adds or does in its own way (pve.ts). */
const PVE_COMMANDS: Readonly<Record<string, Command>> = {
  'query-balloon': { parameters: [], run: ({ machine }) => pveBalloonInfo(machine) },
  // No machine of Puff's has a block device.
  'query-blockstats': { parameters: [], run: () => [] },
  'query-machines': { parameters: [], run: ({ settings }) => queryMachines(settings) },
  'query-proxmox-support': { parameters: [], run: () => queryProxmoxSupport() },
};

const COMMANDS_OF: Readonly<Record<QmpDialect, ReadonlyMap<string, Command>>> = {
  qemu: QEMU_COMMANDS,
  pve: new Map([...QEMU_COMMANDS, ...Object.entries(PVE_COMMANDS)]),
};

/** Also the first part of the greeting. */
export function queryVersion({ version, package: name }: QmpSettings): Json {
  const { major, minor, micro } = version;
  return { qemu: { major, minor, micro }, package: name };
}

/** Whether a dialect has a command of this name, once capabilities are negotiated. */
export function hasCommand(dialect: QmpDialect, name: string): boolean {
  return COMMANDS_OF[dialect].has(name);
}

/** Checks the arguments and runs the command; it must exist. Throws QmpCommandError. */
export function runCommand(name: string, given: JsonObject, context: CommandContext): Json {
  const command = COMMANDS_OF[context.settings.dialect].get(name);
  if (command === undefined) throw commandNotFound(name);
  const { parameters } = command;
  const args =
    parameters === 'unchecked' ? new Arguments(given) : checkArguments(parameters, given);
  return command.run(context, args, given) ?? {};
}

export function commandNotFound(name: string): QmpCommandError {
  return new QmpCommandError(`The command ${name} has not been found`, 'CommandNotFound');
}
