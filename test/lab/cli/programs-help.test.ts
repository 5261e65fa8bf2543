import { describe, expect, test } from 'vitest';
import { programSchema } from '../../../guest/workload/programs.ts';
import { ctlCommand } from '../../../lab/cli/ctl.ts';
import { PROGRAMS_HELP } from '../../../lab/cli/programs-help.ts';

const SHOWN = PROGRAMS_HELP.split('\n').filter((line) => line.startsWith('  {'));
const nameOf = (text: string): string => JSON.parse(text).name;

describe('the help on programs', () => {
  const whole = SHOWN.map((text) => text.replace(/[[\]]/g, ''));

  test('names every program there is', () => {
    const known = programSchema.options.map(({ shape }) => shape.name.value);
    expect(whole.map(nameOf).sort()).toEqual([...known].sort());
  });

  test.each(whole)('%s can be run as it stands', (text) => {
    expect(programSchema.safeParse(JSON.parse(text)).error).toBeUndefined();
  });

  test.each(SHOWN)('%s: what is in brackets may be left out, the rest not', (text) => {
    const required = JSON.parse(text.replace(/\[[^\]]*\],?/g, '').replace(',}', '}'));
    expect(programSchema.safeParse(required).error).toBeUndefined();
    for (const name of Object.keys(required)) {
      const { [name]: _left, ...rest } = required;
      expect(programSchema.safeParse(rest).success, name).toBe(false);
    }
  });

  test('is part of puff ctl --help', () => {
    let shown = '';
    const command = ctlCommand().configureOutput({ writeOut: (text) => (shown += text) });
    command.outputHelp();
    expect(shown).toContain(PROGRAMS_HELP);
  });
});
