/**
 * Where the SDK keeps things.
 *
 * In:       names and texts.
 * Out:      the same, from localStorage or from memory.
 * Promise:  never throws. In memory mode the device is neither read nor written; what localStorage refuses (private
 *           windows, a full disk) is kept in memory for this page.
 */

export interface Store {
  get(name: string): string | undefined;
  set(name: string, value: string): void;
  remove(name: string): void;
  /** Names that begin with `prefix`, sorted. */
  names(prefix: string): string[];
  /** From now on the device is used; what memory holds moves there. */
  toDevice(): void;
  /** From now on only memory is used. What is on the device stays there. */
  toMemory(): void;
  /** Whether other tabs see it. */
  shared(): boolean;
}

export function makeStore(): Store {
  const memory = new Map<string, string>();
  let device = false;
  const onDevice = <T>(act: (storage: Storage) => T): T | undefined => {
    try {
      return device ? act(localStorage) : undefined;
    } catch {
      return undefined;
    }
  };
  const store: Store = {
    // Memory first: it holds a name only if the device refused the newest value of it.
    get: (name) => memory.get(name) ?? onDevice((storage) => storage.getItem(name)) ?? undefined,
    set(name, value) {
      if (onDevice((storage) => (storage.setItem(name, value), true))) memory.delete(name);
      else memory.set(name, value);
    },
    remove(name) {
      memory.delete(name);
      onDevice((storage) => storage.removeItem(name));
    },
    names: (prefix) =>
      [...new Set([...memory.keys(), ...(onDevice((storage) => Object.keys(storage)) ?? [])])]
        .filter((name) => name.startsWith(prefix))
        .sort(),
    toDevice() {
      device = true;
      for (const [name, value] of [...memory]) store.set(name, value);
    },
    toMemory() {
      device = false;
    },
    shared: () => device,
  };
  return store;
}
