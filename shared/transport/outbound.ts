import { MAX_RETAINED_MESSAGES, OUTBOUND_HARD_BYTES } from '../limits.ts';

/** Header of a WebSocket frame at most: 2 bytes, 8 of length, 4 of mask. */
const WEBSOCKET_HEADER_BYTES = 14;

/**
 * Where a link whose peer does not read is cut. A session that resumes may send all it kept in
 * one go (MAX_RETAINED_BYTES, as much as OUTBOUND_HARD_BYTES), so headers are allowed on top.
 */
export const OUTBOUND_CUT_BYTES =
  OUTBOUND_HARD_BYTES + MAX_RETAINED_MESSAGES * WEBSOCKET_HEADER_BYTES;
