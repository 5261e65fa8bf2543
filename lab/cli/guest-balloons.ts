import { InvalidArgumentError, Option } from 'commander';
import type { BalloonEnd } from '../../guest/further-connection.ts';
import { quotePeer } from '../../shared/lib/log.ts';
import type { LinkEnd } from '../../shared/transport/link.ts';
import { parseGuestId, parseUrl } from './options.ts';

/** `--balloon ID[=URL]`: a further balloon device of a guest, and its host. */
export interface BalloonFlag {
  readonly id: string;
  /** The guest's own host if left out. */
  readonly connect?: string;
}

export function balloonOption(): Option {
  const about = 'one more balloon device, by the host at URL or --connect; may be repeated';
  return new Option('--balloon <id[=url]>', about).argParser(parseBalloon);
}

function parseBalloon(text: string, before: readonly BalloonFlag[] = []): readonly BalloonFlag[] {
  const [, id = '', url] = /^([^=]*)(?:=(.*))?$/s.exec(text) ?? [];
  if (url === '') throw new InvalidArgumentError('write ID or ID=URL');
  const flag = { id: parseGuestId(id), ...(url === undefined ? {} : { connect: parseUrl(url) }) };
  return [...before, flag];
}

/** Says what becomes of the connections of a guest's further devices. */
export class BalloonReport {
  readonly #guest: string;
  readonly #urls: ReadonlyMap<string, string>;

  constructor(guest: string, connect: string, balloons: readonly BalloonFlag[]) {
    this.#guest = guest;
    this.#urls = new Map(balloons.map((flag) => [flag.id, flag.connect ?? connect]));
  }

  readonly onLink = (id: string, state: 'open' | 'resumed' | 'lost', end?: LinkEnd): void => {
    if (state === 'open') this.#say(id, `connected to ${this.#urls.get(id)}`);
    else if (state === 'resumed') this.#say(id, 'resumed');
    else this.#say(id, `lost (${quotePeer(end?.reason || `code ${end?.code}`)}), trying again`);
  };

  /** A device that is refused is no reason to end a guest, but somebody has to know. */
  readonly onEnd = (id: string, { by, reason }: BalloonEnd): void => {
    if (by === 'host') {
      this.#say(id, `gone, its host powered off (${quotePeer(reason)})`);
      return;
    }
    const refused = `the host does not take balloon ${id} of guest ${this.#guest}`;
    process.stderr.write(`puff: ${refused}: ${quotePeer(reason)}\n`);
  };

  #say(id: string, text: string): void {
    process.stdout.write(`puff guest ${this.#guest}: balloon ${id} ${text}\n`);
  }
}
