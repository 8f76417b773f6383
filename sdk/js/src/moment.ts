/**
 * When and where a call was made.
 *
 * In:       the clock and the address of the page, or what the snippet wrote down before the SDK came.
 * Out:      a time and an address.
 * Promise:  a call that the snippet recorded is told with its own time and address, not those of its replay.
 */

export interface Moment {
  timeMs: number;
  url: string;
}

let recorded: Moment | undefined;

export const moment = (): Moment => recorded ?? { timeMs: Date.now(), url: location.href };

/** Runs `act` as if it had been called at `then`. */
export function during(then: Moment, act: () => void): void {
  recorded = then;
  try {
    act();
  } finally {
    recorded = undefined;
  }
}
