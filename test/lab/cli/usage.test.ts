import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { makeProgram } from '../../../lab/cli/program.ts';
import { MAIN, puff, ROOT } from '../../support/puff.ts';

const COMMANDS = ['host', 'guest', 'run', 'ctl', 'verify', 'explore', 'demo'] as const;
const GUEST = ['guest', '--connect', 'ws://127.0.0.1:1'];
const SIXTEEN_BALLOONS = Array.from({ length: 16 }, (_, at) => ['--balloon', `b${at}`]).flat();
const LONG_ID = 'a'.repeat(65);

describe.concurrent('help', () => {
  test('--version is the package’s', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    expect(await puff(['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  test('--help names every command and every exit code', async () => {
    const { code, stdout, stderr } = await puff(['--help']);
    expect([code, stderr]).toEqual([0, '']);
    for (const name of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${name}\\b`, 'm'));
    for (const exit of ['0', '1', '2', '70'])
      expect(stdout).toMatch(new RegExp(`^  ${exit} +`, 'm'));
    expect(stdout).toContain('129, 130, 143');
  });

  test.each(COMMANDS)('%s --help tells its exit codes', async (name) => {
    const { code, stdout, stderr } = await puff([name, '--help']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`^Usage: puff ${name}`));
    expect(stdout).toContain('\nExit code: 0 ');
  });

  test('without a command the usage goes to stderr, exit 2', async () => {
    const { code, stdout, stderr } = await puff([]);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^Usage: puff/);
  });
});

describe('flags', () => {
  const commands = makeProgram('0').commands;

  test('the program has these commands', () => {
    expect(commands.map((command) => command.name())).toEqual([...COMMANDS]);
  });

  test.each(commands.map((command) => [command.name(), command] as const))(
    '%s: every flag and argument is described, and no default is shown as an object',
    (_name, command) => {
      const described = [...command.options, ...command.registeredArguments];
      for (const { description } of described) expect(description).not.toBe('');
      expect(command.helpInformation()).not.toMatch(/default: [{[]/);
    },
  );

  test.each([
    ['host', '--listen', '127.0.0.1:7420'],
    ['host', '--qmp', 'none'],
    ['host', '--control', 'none'],
    ['host', '--device', 'virtio-balloon-pci'],
    ['host', '--strict', 'tolerate it as QEMU does'],
    ['host', '--qemu-version', '7.2.22'],
    ['host', '--log', 'errors as text; alone: info'],
    ['guest', '--id', 'vm0'],
    ['guest', '--memory', '1G'],
    ['guest', '--count', '1'],
    ['guest', '--seed', '1'],
    ['guest', '--linux', '6.1'],
    ['guest', '--workload', 'default'],
    ['guest', '--control', 'none'],
    ['verify', '--json', 'a line per check'],
  ])('%s --help shows the default of %s: %s', (name, flag, shown) => {
    const help = commands.find((command) => command.name() === name)?.helpInformation() ?? '';
    const [, text = ''] = new RegExp(`^  ${flag}\\b([^]*?)(?=^  -|(?![^]))`, 'm').exec(help) ?? [];
    expect(text.replace(/\s+/g, ' ')).toContain(`(default: ${shown})`);
  });
});

/** What the command line makes of arguments before anything is started. */
async function parse(args: readonly string[]): Promise<{ code: number; stderr: string }> {
  let stderr = '';
  const program = makeProgram('0');
  for (const command of [program, ...program.commands]) {
    command.configureOutput({
      writeErr: (text) => {
        stderr += text;
      },
    });
  }
  const error = await program.parseAsync([...args], { from: 'user' }).catch((thrown) => thrown);
  return { code: error.exitCode, stderr };
}

const ONE_LINE = /^puff: [^\n]+\n$/;

describe('a wrong flag or argument is one clear line', () => {
  test.each([
    [['hots'], /Did you mean host\?/],
    [['host', 'extra'], /too many arguments for 'host'/],
    [['host', '--listen', 'here'], /'here' is invalid\. write HOST:PORT/],
    [['host', '--listen', '127.0.0.1:65536'], /write HOST:PORT/],
    [['host', '--listen'], /argument missing/],
    [['host', '--device', 'virtio-net'], /'virtio-net' is not virtio-balloon-pci/],
    [['host', '--device', 'virtio-balloon-pci,bogus=on'], /'virtio-balloon-pci\.bogus' not found/],
    [['host', '--device-of', 'virtio-balloon-pci'], /write ID=virtio-balloon-pci/],
    [['host', '--device-of', '../x=virtio-balloon-pci'], /an id has 1 to 64 letters/],
    [['host', '--qemu-version', '7'], /write a version such as 7\.2\.22/],
    [['host', '--qmp', ''], /'' is invalid\. a path is empty/],
    [['host', '--trace', ''], /a path is empty/],
    [['host', '--store', ''], /a path is empty/],
    [['host', '--control', ''], /a path is empty/],
    [[...GUEST, '--control', ''], /a path is empty/],
    [['host', '--log', 'loud'], /levels are debug, info, warn, error/],
    [['guest', '--connect', 'http://127.0.0.1:1'], /write a URL such as ws:/],
    [['guest', '--connect', 'ws://127.0.0.1:99999'], /write a URL such as ws:/],
    [[...GUEST, '--memory', '65G'], /a guest has 64M to 64G, whole MiB/],
    [[...GUEST, '--memory', '64.5M'], /whole MiB/],
    [[...GUEST, '--memory', 'much'], /'much' is no size; .* use a suffix: 512M, 2G/],
    [[...GUEST, '--memory', '-1'], /'-1' is no size/],
    [[...GUEST, '--id', '../vm0'], /an id has 1 to 64 letters, digits, _ \. -/],
    [[...GUEST, '--id', ''], /an id has 1 to 64/],
    [[...GUEST, '--id', LONG_ID], /an id has 1 to 64/],
    [[...GUEST, '--count', '0'], /a whole number from 1 to 10000/],
    [[...GUEST, '--count', '1e3'], /a whole number from 1 to 10000/],
    [[...GUEST, '--seed', '-1'], /a whole number from 0 to 4294967295/],
    [[...GUEST, '--linux', '5.15'], /one of 6\.1, 6\.12/],
    [[...GUEST, '--workload', 'heavy'], /one of default, none/],
    [[...GUEST, '--balloon', '../b1'], /an id has 1 to 64 letters/],
    [[...GUEST, '--balloon', 'b1='], /write ID or ID=URL/],
    [[...GUEST, '--balloon', 'b1=http://127.0.0.1:1'], /write a URL such as ws:/],
    [['run'], /missing required argument 'scenario'/],
    [['ctl'], /missing required argument 'socket'/],
    [['verify'], /missing required argument 'dir'/],
    [['verify', '--yaml', 'nowhere'], /unknown option '--yaml'/],
    [['demo', 'fast'], /too many arguments for 'demo'/],
  ] as const)('puff %j', async (args, expected) => {
    const { code, stderr } = await parse(args);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(expected);
    expect(code).toBe(1);
  });
});

describe.concurrent('a mistake is one clear line on stderr and exit 2', () => {
  test.skipIf(!existsSync('/dev/full'))('an output that is full', () => {
    const full = openSync('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [MAIN, '--help'], {
      stdio: ['ignore', full, 'pipe'],
      encoding: 'utf8',
    });
    closeSync(full);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(/ENOSPC: no space left on device/);
    expect(status).toBe(2);
  });

  test.each([
    [['bogus'], /unknown command 'bogus'/],
    [['host', '--bogus'], /unknown option '--bogus'.*npx puff host --help/],
    [['guest'], /required option '--connect <url>' not specified/],
    [[...GUEST, '--memory', '63M'], /'63M' is no guest's RAM; a guest has 64M to 64G/],
    [[...GUEST, '--id', 'a'.repeat(63), '--count', '2'], /longer than 64 characters/],
    [[...GUEST, '--balloon', 'b1', '--balloon', 'b1'], /two balloon devices .* the id 'b1'/],
    [[...GUEST, '--balloon', 'b1', '--count', '2'], /for one guest, not for several/],
    [[...GUEST, ...SIXTEEN_BALLOONS], /17 balloon devices: a guest has at most 16/],
    [
      ['run', 'nope'],
      /no scenario nope: no such file, and Puff's own are cut, inflate-deflate, oom/,
    ],
    [['run', './nope.json'], /\.\/nope\.json: no such file/],
    [['run', 'package.json'], /package\.json: .*guests: is missing; steps: is missing/],
    [['run', 'README.md'], /README\.md: is not JSON/],
    [
      ['ctl', 'nowhere.ctl', 'list'],
      /no socket nowhere\.ctl; start a host or guest with --control/,
    ],
    [['ctl', 'nowhere.ctl', 'balloon', 'vm0'], /'vm0' is not NAME=VALUE/],
    [['ctl', 'nowhere.ctl', 'balloon', 'bytes=5Q'], /'5Q' is no size/],
    [['verify', 'nowhere'], /nowhere\/meta\.json: no such file/],
  ] as const)('puff %j', async (args, expected) => {
    const { code, stdout, stderr } = await puff(args);
    expect(stderr).toMatch(ONE_LINE);
    expect(stderr).toMatch(expected);
    expect([code, stdout]).toEqual([2, '']);
  });
});
