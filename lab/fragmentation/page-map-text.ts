import {
  PAGE_KINDS,
  type PageKind,
  type PageMapRegion,
  type PageMapView,
} from '../../shared/control/schemas.ts';
import { formatSize, PAGE_SIZE } from '../../shared/lib/units.ts';

/**
 * A guest's page map as text: a character a cell, two rows of cells in a line where there is
 * colour. What a cell shows is the kind that most of its frames are of; whether other kinds are in
 * it too is told apart, because one page that cannot move spoils a huge page.
 */
export interface MapStyle {
  /** Width of the terminal or log. */
  readonly columns: number;
  /** Escape codes and half blocks, or plain characters. */
  readonly colour: boolean;
}

interface Cell {
  readonly kind: PageKind;
  /** No other kind is in it. */
  readonly pure: boolean;
}

/** A pageblock stays on one line where the width allows it. */
const PAGEBLOCK_PAGES = 512;
/** `12345M ` before the first cell. */
const PREFIX_WIDTH = 7;

const LETTERS: Readonly<Record<PageKind, readonly [pure: string, mixed: string]>> = {
  free: ['.', ','],
  balloon: ['B', 'b'],
  movable: ['M', 'm'],
  unmovable: ['U', 'u'],
  reserved: ['R', 'r'],
};
/** Of the 256 colours; a mixed cell is paler. */
const COLOURS: Readonly<Record<PageKind, readonly [pure: number, mixed: number]>> = {
  free: [235, 240],
  balloon: [208, 180],
  movable: [33, 110],
  unmovable: [160, 174],
  reserved: [90, 139],
};
const WORDS: Readonly<Record<PageKind, string>> = {
  free: 'free',
  balloon: 'balloon',
  movable: 'in use, movable',
  unmovable: 'in use, unmovable',
  reserved: 'reserved',
};
const RESET = '\x1b[0m';

/** What the characters or colours of a map mean, in lines that fit the width. */
export function legend(view: PageMapView, style: MapStyle): string {
  const of = formatSize(view.cellPages * PAGE_SIZE);
  const signs = PAGE_KINDS.map((kind) => `${sign(kind, style)} ${WORDS[kind]}`).join('   ');
  const rule = style.colour
    ? `a cell is ${of} and has the colour of what is most of it; pale: something else is in it`
    : `a cell is ${of}: what is most of it; the second sign: something else is in it`;
  return `${signs}\n${rule}\n`;
}

function sign(kind: PageKind, { colour }: MapStyle): string {
  if (!colour) return LETTERS[kind].join(' ');
  const [pure, mixed] = COLOURS[kind];
  return `\x1b[38;5;${pure}m█\x1b[38;5;${mixed}m█${RESET}`;
}

/** The map, a line for each row (or two), each with the address at which it begins. */
export function drawPageMap(view: PageMapView, style: MapStyle): string {
  return view.regions.map((region) => drawRegion(region, view.cellPages, style)).join('');
}

function drawRegion(region: PageMapRegion, cellPages: number, style: MapStyle): string {
  const cells = region.free.map((_, index) => cellAt(region, index));
  const width = rowCells(cellPages, style.columns);
  const step = style.colour ? 2 * width : width;
  let text = '';
  for (let at = 0; at < cells.length; at += step) {
    const mib = ((region.startPfn + at * cellPages) * PAGE_SIZE) / 2 ** 20;
    const row = cells.slice(at, at + width);
    const line = style.colour ? halfBlocks(row, cells.slice(at + width, at + step)) : letters(row);
    text += `${`${Math.floor(mib)}M`.padStart(PREFIX_WIDTH - 1)} ${line}\n`;
  }
  return text;
}

/** Whole pageblocks where one fits. */
function rowCells(cellPages: number, columns: number): number {
  const room = Math.max(1, columns - PREFIX_WIDTH - 1);
  const unit = Math.max(1, Math.floor(PAGEBLOCK_PAGES / cellPages));
  return room < unit ? room : Math.floor(room / unit) * unit;
}

function cellAt(region: PageMapRegion, index: number): Cell {
  const present = PAGE_KINDS.filter((kind) => region[kind][index] > 0);
  const [kind = 'free'] = present.sort((a, b) => region[b][index] - region[a][index]);
  return { kind, pure: present.length === 1 };
}

function letters(cells: readonly Cell[]): string {
  return cells.map(({ kind, pure }) => LETTERS[kind][pure ? 0 : 1]).join('');
}

/** Two rows in one line: the upper is the colour of the sign, the lower that behind it. */
function halfBlocks(upper: readonly Cell[], lower: readonly Cell[]): string {
  const colourOf = ({ kind, pure }: Cell): number => COLOURS[kind][pure ? 0 : 1];
  const signs = upper.map((cell, index) => {
    const below = lower[index];
    const behind = below === undefined ? '\x1b[49m' : `\x1b[48;5;${colourOf(below)}m`;
    return `\x1b[38;5;${colourOf(cell)}m${behind}▀`;
  });
  return `${signs.join('')}${RESET}`;
}
