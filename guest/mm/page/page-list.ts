/**
 * Doubly linked lists through the words of a PageMap, circular with a head, as the kernel's
 * list_head: a node is a frame's PFN or the number of a list head, and taking a node off needs no
 * knowledge of its list. A link holds the node plus 1, so that a zeroed frame is on no list.
 */
export function initList(words: Int32Array, list: number): void {
  words[list << 2] = list + 1;
  words[(list << 2) + 1] = list + 1;
}

export function isListEmpty(words: Int32Array, list: number): boolean {
  return words[list << 2] === list + 1;
}

/** list_add: the node becomes the first. */
export function listAdd(words: Int32Array, node: number, list: number): void {
  link(words, node, list, words[list << 2] - 1);
}

/** list_add_tail: the node becomes the last. */
export function listAddTail(words: Int32Array, node: number, list: number): void {
  link(words, node, words[(list << 2) + 1] - 1, list);
}

/** list_del. */
export function listDel(words: Int32Array, node: number): void {
  const at = node << 2;
  const next = words[at] - 1;
  const previous = words[at + 1] - 1;
  words[previous << 2] = next + 1;
  words[(next << 2) + 1] = previous + 1;
  words[at] = 0;
  words[at + 1] = 0;
}

/** Places `from` to before `to` of an array of PFNs. */
export interface Places {
  readonly pfns: Int32Array;
  readonly from: number;
  readonly to: number;
}

/**
 * list_del of the first nodes of a list, one after the other, at most as many as there are places
 * for. Returns the place after the last one.
 */
export function listTakeFirst(words: Int32Array, list: number, into: Places): number {
  const { pfns: out, from, to } = into;
  let at = from;
  let node = words[list << 2] - 1;
  while (at < to && node !== list) {
    out[at++] = node;
    const next = words[node << 2] - 1;
    words[node << 2] = 0;
    words[(node << 2) + 1] = 0;
    node = next;
  }
  words[list << 2] = node + 1;
  words[(node << 2) + 1] = list + 1;
  return at;
}

/** list_rotate_to_front: the node becomes the first, those before it go behind the last. */
export function listRotateToFront(words: Int32Array, node: number, list: number): void {
  listDel(words, list);
  // The head is put right before the node, which for a node is the end of a list.
  listAddTail(words, list, node);
}

/** The node after `node`; the list's own number at its end. */
export function listNext(words: Int32Array, node: number): number {
  return words[node << 2] - 1;
}

export function listPrevious(words: Int32Array, node: number): number {
  return words[(node << 2) + 1] - 1;
}

/** Nodes from first to last, for dumps and checks. */
export function* listNodes(words: Int32Array, list: number): Generator<number> {
  for (let node = listNext(words, list); node !== list; node = listNext(words, node)) yield node;
}

function link(words: Int32Array, node: number, previous: number, next: number): void {
  const at = node << 2;
  words[at] = next + 1;
  words[at + 1] = previous + 1;
  words[previous << 2] = node + 1;
  words[(next << 2) + 1] = node + 1;
}
