/**
 * How long a person was really there.
 *
 * In:       visibility and focus of the page, signs of a hand at the device.
 * Out:      milliseconds.
 * Promise:  time counts while the page is seen, has the focus, and somebody moved within the last 30 seconds.
 */

const IDLE_AFTER_MS = 30_000;
// Below this nobody read anything.
const WORTH_TELLING_MS = 1_000;

export interface Meter {
  attend(is: boolean, nowMs: number): void;
  act(nowMs: number): void;
  /** What was counted since the last time it was told; 0 if that is not worth telling. `over`: the rest is forgotten. */
  take(nowMs: number, over?: boolean): number;
}

export function makeMeter(attending: boolean, startMs: number): Meter {
  let totalMs = 0;
  let lastMs = startMs;
  let activeUntilMs = -Infinity;
  const advance = (nowMs: number) => {
    if (attending) totalMs += Math.max(0, Math.min(nowMs, activeUntilMs) - lastMs);
    lastMs = nowMs;
  };
  return {
    attend(is, nowMs) {
      advance(nowMs);
      attending = is;
    },
    act(nowMs) {
      advance(nowMs);
      activeUntilMs = nowMs + IDLE_AFTER_MS;
    },
    take(nowMs, over) {
      advance(nowMs);
      const whole = Math.round(totalMs);
      const told = whole < WORTH_TELLING_MS ? 0 : whole;
      if (told || over) totalMs = 0;
      return told;
    },
  };
}

const isAttending = (): boolean => document.visibilityState === "visible" && document.hasFocus();

/** A meter that listens to this page. */
export function watchEngaged(): Meter {
  const meter = makeMeter(isAttending(), performance.now());
  const look = () => meter.attend(isAttending(), performance.now());
  for (const name of ["focus", "blur", "pageshow"]) addEventListener(name, look);
  document.addEventListener("visibilitychange", look);
  for (const name of ["pointerdown", "pointermove", "keydown", "wheel", "scroll", "touchstart"])
    addEventListener(name, () => meter.act(performance.now()), { capture: true, passive: true });
  return meter;
}
