/**
 * What a peer can do wrong, each with a stable name, a WebSocket close code and a counter of the
 * same name. The name stands in the close frame's reason. docs/PROTOCOL.md lists them.
 */
export const PROTOCOL_ERRORS = {
  'text-frame': { close: 1003, text: 'a text frame came in; frames are binary' },
  'malformed-frame': { close: 1007, text: 'the frame is not one well-formed msgpack value' },
  'bad-websocket': { close: 1002, text: 'the WebSocket protocol was broken' },
  'forbidden-type': { close: 1007, text: 'the frame holds a type that no message has' },
  MAX_FRAME_DEPTH: { close: 1007, text: 'the frame nests too deep' },
  MAX_FRAME_ITEMS: { close: 1007, text: 'the frame holds too many values' },
  MAX_PAYLOAD_BYTES: { close: 1009, text: 'the message is larger than 64 KiB' },
  MAX_FRAGMENTS: { close: 1008, text: 'the message came in too many pieces' },
  'unknown-op': { close: 1008, text: 'no message has this op' },
  'wrong-direction': { close: 1008, text: 'this side does not send that message' },
  'bad-schema': { close: 1008, text: 'fields are missing, surplus or out of range' },
  'bad-hello': { close: 4000, text: 'the first message must be a valid hello' },
  HELLO_TIMEOUT_MS: { close: 4001, text: 'no hello came in time' },
  'unsupported-version': { close: 4002, text: 'the protocol version is not supported' },
  'duplicate-guest': { close: 4003, text: 'a guest of this id and epoch is connected' },
  'stale-epoch': { close: 4004, text: 'a later guest of this id took its place' },
  replaced: { close: 4005, text: 'a newer connection of this guest took its place' },
  'session-mismatch': { close: 4006, text: 'the counts of both sides cannot be reconciled' },
  'bad-queue': { close: 4007, text: 'the queue does not exist or is not enabled' },
  QUEUE_CREDIT: { close: 4008, text: 'more buffers are in flight than the queue has entries' },
  'bad-ram': { close: 4009, text: 'the RAM regions are empty, overlapping or too large' },
  MAX_GUESTS: { close: 4010, text: 'the host has as many guests as it takes' },
  OUTBOUND_HARD_BYTES: { close: 4011, text: 'the peer does not read what it is sent' },
  MAX_RETAINED_MESSAGES: { close: 4012, text: 'the peer does not acknowledge what it is sent' },
  PING_MISSES_MAX: { close: 4013, text: 'the peer answers no ping' },
  'device-refused': { close: 4014, text: 'strict checking refused what the driver did' },
  'power-off': { close: 4015, text: 'the host powered the guest off' },
  MAX_RETAINED_BYTES: { close: 4016, text: 'too much waits for an acknowledgement' },
  MAX_IDLE_MS: { close: 4017, text: 'the peer said nothing but pongs' },
  MAX_MESSAGES_PER_SECOND: { close: 1013, text: 'the guest sends too many messages a second' },
  MAX_BYTES_PER_SECOND: { close: 1013, text: 'the guest sends too many bytes a second' },
  'guest-gone': { close: 1000, text: 'the guest shut down' },
  'host-going': { close: 1001, text: 'the host is shutting down' },
} as const satisfies Record<string, { close: number; text: string }>;
export type ProtocolErrorName = keyof typeof PROTOCOL_ERRORS;
export const PROTOCOL_ERROR_NAMES = Object.keys(PROTOCOL_ERRORS) as ProtocolErrorName[];

/** Undefined unless PROTOCOL_ERRORS has `name`; for close reasons, which a peer may invent. */
export function asProtocolError(name: string): ProtocolErrorName | undefined {
  return Object.hasOwn(PROTOCOL_ERRORS, name) ? (name as ProtocolErrorName) : undefined;
}

/**
 * Refusals before the upgrade, when there is no WebSocket to close yet: HTTP status and the name
 * that stands in the answer's body. A 503 also carries Retry-After.
 */
export const HTTP_ERRORS = {
  unauthorized: { status: 401, text: 'a token is needed, and it must be the right one' },
  'bad-ticket': { status: 401, text: 'the ticket is unknown, used before, or older than 30 s' },
  'upgrade-required': { status: 426, text: 'this port speaks WebSocket' },
  'bad-path': { status: 404, text: 'the path is not the endpoint' },
  'bad-method': { status: 405, text: 'an upgrade is a GET' },
  'bad-upgrade': { status: 400, text: 'the request is no WebSocket upgrade' },
  'bad-websocket-version': { status: 426, text: 'the WebSocket version must be 13' },
  'bad-subprotocol': { status: 400, text: 'the subprotocol is not offered' },
  'forbidden-origin': { status: 403, text: 'pages of this origin may not connect' },
  MAX_PENDING_HANDSHAKES: { status: 503, text: 'too many handshakes are under way' },
  MAX_ACCEPTS_PER_SECOND: { status: 503, text: 'too many connections came in this second' },
  MAX_CONNECTIONS: { status: 503, text: 'there are as many connections as there may be' },
  MAX_CONNECTIONS_PER_ADDRESS: { status: 503, text: 'this address has too many connections' },
  HTTP_HEADERS_TIMEOUT_MS: { status: 408, text: 'the request did not come in time' },
  MAX_HTTP_HEADER_BYTES: { status: 431, text: 'the headers are more than 8 KiB' },
  MAX_HTTP_HEADERS: { status: 431, text: 'there are more than 64 headers' },
  'bad-http': { status: 400, text: 'the request is not HTTP' },
} as const satisfies Record<string, { status: number; text: string }>;
export type HttpErrorName = keyof typeof HTTP_ERRORS;
export const HTTP_ERROR_NAMES = Object.keys(HTTP_ERRORS) as HttpErrorName[];

/** Thrown while a peer's bytes are handled and caught at the link; never escapes to the process. */
export class ProtocolError extends Error {
  override readonly name = 'ProtocolError';
  readonly code: ProtocolErrorName;
  readonly close: number;
  readonly detail: string;

  constructor(code: ProtocolErrorName, detail = '') {
    super(detail === '' ? PROTOCOL_ERRORS[code].text : `${PROTOCOL_ERRORS[code].text} (${detail})`);
    this.code = code;
    this.detail = detail;
    this.close = PROTOCOL_ERRORS[code].close;
  }
}
