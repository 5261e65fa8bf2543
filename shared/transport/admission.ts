import type { GuestHello } from './hello.ts';

/** What a host remembers of a guest id; it outlives links and sessions. */
export interface KnownGuest {
  readonly epoch: number;
  /** Name of the session that could go on, undefined once it is given up. */
  readonly session: string | undefined;
  /** The guest sent something in that session: it knows its name. */
  readonly heard: boolean;
  /** A live link is attached to the session. */
  readonly connected: boolean;
}

export type AdmissionDecision =
  | { readonly action: 'power-on' | 'resume'; readonly replacesLink: boolean }
  | { readonly action: 'refuse'; readonly error: 'duplicate-guest' | 'stale-epoch' };

/**
 * Who may come in. An epoch names one life of a guest, a session one conversation with the host.
 *
 * | epoch | session named | live link | decision |
 * | --- | --- | --- | --- |
 * | unknown guest | any | no | power-on |
 * | lower | any | any | refuse stale-epoch |
 * | same | known one | no | resume |
 * | same | known one | yes | resume, older link ends with `replaced` |
 * | same | none or another | no | power-on |
 * | same | none or another | yes, never heard from in its session | power-on, the older goes |
 * | same | none or another | yes, heard from | refuse duplicate-guest |
 * | higher | any | no | power-on |
 * | higher | any | yes | power-on, older link ends with `replaced` |
 *
 * A link over which a guest of this epoch never said a word is most likely this guest's own, whose
 * welcome got lost with it: the guest can not name a session that it was never told.
 */
export function decideAdmission(
  known: KnownGuest | undefined,
  hello: Pick<GuestHello, 'epoch' | 'session'>,
): AdmissionDecision {
  if (known === undefined) return { action: 'power-on', replacesLink: false };
  if (hello.epoch < known.epoch) return { action: 'refuse', error: 'stale-epoch' };
  const replacesLink = known.connected;
  if (hello.epoch > known.epoch) return { action: 'power-on', replacesLink };
  if (known.session !== undefined && hello.session === known.session) {
    return { action: 'resume', replacesLink };
  }
  if (known.connected && known.heard) return { action: 'refuse', error: 'duplicate-guest' };
  return { action: 'power-on', replacesLink };
}
