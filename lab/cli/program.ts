import { Command } from 'commander';
import { ctlCommand } from './ctl.ts';
import { demoCommand } from './demo.ts';
import { oneLine } from './errors.ts';
import { exploreCommand } from './explore.ts';
import { guestCommand } from './guest.ts';
import { hostCommand } from './host.ts';
import { runCommand } from './run.ts';
import { verifyCommand } from './verify.ts';

const ABOUT = `
Exit codes:
  0    done, and equal where something was compared
  1    a difference or a counter-example was found, or a scenario's step failed
  2    wrong flags, unusable input, or a port or file that cannot be had
  70   a defect of Puff itself, with a stack
  129, 130, 143
       ended by SIGHUP, Ctrl-C or SIGTERM, after a clean shutdown; 0 for a host or guest that
       SIGTERM ended

Start here:
  npx puff demo                                       the product doing its main job
  npx puff host --listen 127.0.0.1:7420 --qmp /tmp    a host; then, in another shell,
  npx puff guest --connect ws://127.0.0.1:7420        a guest
  npx puff verify inflate-deflate-1g                  Puff against a recorded Linux and QEMU
  npx puff explore isolate dequeue                    every order of two procedures' steps`;

/**
 * The command line: commands, flags, help. Errors are one line and end in a CommanderError. What a
 * command does is loaded when it is run, so that help and `ctl` answer at once.
 */
export function makeProgram(version: string): Command {
  const program = new Command('puff')
    .description('a virtio-balloon host and guest that run without a VM')
    .version(version)
    .addHelpText('after', ABOUT)
    .exitOverride();
  const commands = [
    hostCommand,
    guestCommand,
    runCommand,
    ctlCommand,
    verifyCommand,
    exploreCommand,
    demoCommand,
  ];
  for (const make of commands) program.addCommand(make().copyInheritedSettings(program));
  for (const command of [program, ...program.commands]) printOneLine(command);
  return program;
}

/** Commander's `error: ...` and its hint, as every other error is printed. */
function printOneLine(command: Command): void {
  const name = command.parent === null ? 'puff' : `puff ${command.name()}`;
  command.configureOutput({
    outputError: (text, write) => {
      write(`puff: ${oneLine(text.replace(/^error: /, ''))} (see npx ${name} --help)\n`);
    },
  });
}
