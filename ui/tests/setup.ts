import { cleanup } from "@testing-library/svelte";
import { afterEach } from "vitest";

// jsdom lays nothing out, so nothing changes its size: a chart waits for a width that never comes.
globalThis.ResizeObserver ??= class {
  observe() {}
  unobserve() {}
  disconnect() {}
};

afterEach(cleanup);
