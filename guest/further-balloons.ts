import { MAX_BALLOON_DEVICES } from '../shared/limits.ts';
import { isGuestId } from '../shared/protocol/codec.ts';

/** A balloon device beside a guest's first, as whoever starts the guest names it. */
export interface BalloonChoice {
  /** What the guest is called on the device's connection. */
  readonly id: string;
  /** The device's host; the guest's own, with its token and certificates, if left out. */
  readonly connect?: string | undefined;
  /** What that other host asks of every request; no host is sent another one's. */
  readonly token?: string | undefined;
  /** Certificates, as PEM, that are trusted for that other host. */
  readonly ca?: string | undefined;
}

/** Balloon devices that no guest can have; one line that says why. */
export class BalloonChoiceError extends Error {
  override readonly name = 'BalloonChoiceError';
}

/** Which guests are to have the devices. */
export interface BalloonOwner {
  readonly id: string;
  readonly count: number;
}

/** Throws BalloonChoiceError unless a guest of this id can have these devices beside its first. */
export function requireBalloons(choices: readonly BalloonChoice[], owner: BalloonOwner): void {
  if (choices.length === 0) return;
  if (owner.count > 1) {
    throw new BalloonChoiceError('further balloon devices are for one guest, not for several');
  }
  if (choices.length >= MAX_BALLOON_DEVICES) {
    const asked = `${choices.length + 1} balloon devices`;
    throw new BalloonChoiceError(`${asked}: a guest has at most ${MAX_BALLOON_DEVICES}`);
  }
  const known = new Set([owner.id]);
  for (const { id } of choices) {
    if (!isGuestId(id)) throw new BalloonChoiceError(`'${id}' is no id of a balloon device`);
    if (known.has(id)) {
      throw new BalloonChoiceError(`two balloon devices of a guest have the id '${id}'`);
    }
    known.add(id);
  }
}
