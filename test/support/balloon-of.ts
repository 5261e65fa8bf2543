/** The balloon of a machine that has one plugged, as all have without hot plug. */
export function balloonOf<Balloon>(machine: { readonly balloon: Balloon | undefined }): Balloon {
  if (machine.balloon === undefined) throw new Error('the machine has no balloon');
  return machine.balloon;
}
