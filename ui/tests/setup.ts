import { cleanup } from "@testing-library/svelte";
import { afterEach } from "vitest";

// jsdom lays nothing out, so nothing changes its size: a chart waits for a width that never comes.
globalThis.ResizeObserver ??= class {
  observe() {}
  unobserve() {}
  disconnect() {}
};

// It has no colours of the system either, so these never change.
globalThis.matchMedia ??= (media) => Object.assign(new EventTarget(), { media, matches: false }) as MediaQueryList;

afterEach(cleanup);
