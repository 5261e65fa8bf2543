import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  initList,
  isListEmpty,
  listAdd,
  listAddTail,
  listDel,
  listNext,
  listNodes,
  listPrevious,
  listTakeFirst,
} from '../../../../guest/mm/page/page-list.ts';

const NODES = 8;
const LISTS = [NODES, NODES + 1];

function newWords(): Int32Array {
  const words = new Int32Array((NODES + LISTS.length) * 4);
  for (const list of LISTS) initList(words, list);
  return words;
}

describe('a page list', () => {
  it('is empty, then holds nodes in the order of list_add and list_add_tail', () => {
    const words = newWords();
    expect(isListEmpty(words, 8)).toBe(true);
    listAdd(words, 3, 8);
    listAdd(words, 0, 8);
    listAddTail(words, 7, 8);
    expect(isListEmpty(words, 8)).toBe(false);
    expect([...listNodes(words, 8)]).toEqual([0, 3, 7]);
    expect([listNext(words, 8), listPrevious(words, 8)]).toEqual([0, 7]);
  });

  it('leaves a node that is taken off as zeroed memory has it', () => {
    const words = newWords();
    listAdd(words, 5, 8);
    listDel(words, 5);
    expect([...words.subarray(20, 22)]).toEqual([0, 0]);
    expect(isListEmpty(words, 8)).toBe(true);
  });

  it('does what arrays do, for any sequence of moves between two lists', () => {
    const move = fc.record({
      node: fc.nat(NODES - 1),
      list: fc.nat(1),
      how: fc.constantFrom('head', 'tail', 'off'),
    });
    const property = fc.property(fc.array(move, { maxLength: 60 }), (moves) => {
      const words = newWords();
      const model: number[][] = [[], []];
      for (const { node, list, how } of moves) {
        if (model.some((nodes) => nodes.includes(node))) listDel(words, node);
        model.forEach((nodes, index) => {
          model[index] = nodes.filter((other) => other !== node);
        });
        if (how === 'head') {
          listAdd(words, node, LISTS[list]);
          model[list].unshift(node);
        } else if (how === 'tail') {
          listAddTail(words, node, LISTS[list]);
          model[list].push(node);
        }
      }
      expect(LISTS.map((list) => [...listNodes(words, list)])).toEqual(model);
    });
    fc.assert(property);
  });
});

describe('taking the first nodes of a list', () => {
  it('leaves what one list_del after the other does', () => {
    const sizes = fc.tuple(fc.nat(NODES), fc.nat(NODES + 2), fc.nat(3));
    fc.assert(
      fc.property(sizes, ([length, wanted, from]) => {
        const [one, many] = [newWords(), newWords()];
        for (let node = 0; node < length; node++) {
          listAddTail(one, node, 8);
          listAddTail(many, node, 8);
        }
        const expected: number[] = [];
        while (expected.length < wanted && !isListEmpty(one, 8)) {
          const node = listNext(one, 8);
          listDel(one, node);
          expected.push(node);
        }
        const out = new Int32Array(from + wanted);
        const end = listTakeFirst(many, 8, { pfns: out, from, to: from + wanted });
        expect([...out.subarray(from, end)]).toEqual(expected);
        expect(many).toEqual(one);
      }),
    );
  });
});
