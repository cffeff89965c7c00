import { render } from "@testing-library/svelte";
import type uPlot from "uplot";
import { afterEach, beforeEach, expect, test, vi } from "vitest";

import Chart from "../src/components/Chart.svelte";

const drawn = vi.hoisted(() => ({ options: [] as uPlot.Options[], destroyed: 0 }));

vi.mock("uplot", () => {
  class Drawn {
    constructor(options: uPlot.Options) {
      drawn.options.push(options);
    }
    setData() {}
    destroy() {
      drawn.destroyed += 1;
    }
  }
  return { default: Drawn };
});

let system: EventTarget;

beforeEach(() => {
  Object.assign(drawn, { options: [], destroyed: 0 });
  system = new EventTarget();
  vi.stubGlobal("matchMedia", () => system);
  // jsdom lays nothing out.
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(600);
});
afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  delete document.documentElement.dataset.theme;
});

const NINE = Date.UTC(2026, 5, 1, 9) / 1_000;

function chart(zone?: string) {
  const rows = [
    [NINE, NINE + 3_600],
    [1, 2],
  ];
  const words = { label: "power", unit: "W", timeLabel: "time", language: "en" };
  return render(Chart, { rows, curves: [{ label: "power", colour: "--earning" }], ...words, zone });
}

const count = (wanted: number) => vi.waitFor(() => expect(drawn.options).toHaveLength(wanted));

test("a chart takes the colours of a theme that changes while it is open", async () => {
  document.documentElement.style.setProperty("--text-quiet", "rgb(1, 2, 3)");
  const shown = chart();
  await count(1);
  system.dispatchEvent(new Event("change"));
  await count(2);
  expect(drawn.destroyed).toBe(1);
  document.documentElement.dataset.theme = "light";
  await count(3);
  expect(drawn.destroyed).toBe(2);
  shown.unmount();
  expect(drawn.destroyed).toBe(3);
  document.documentElement.dataset.theme = "dark";
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(drawn.options).toHaveLength(3);
});

test("its hours are those of the host's wall", async () => {
  chart("Asia/Tokyo");
  await count(1);
  const { axes, series, tzDate } = drawn.options[0] as uPlot.Options;
  const ticks = (at: number, step: number) => (axes?.[0]?.values as (...of: unknown[]) => string[])(null, [at], 0, 0, step);
  expect(ticks(NINE, 3_600)).toEqual(["18:00"]);
  // Midnight there.
  expect(ticks(NINE + 6 * 3_600, 3_600)).toEqual(["Jun 2"]);
  expect((series[0]?.value as (...of: unknown[]) => string)(null, NINE)).toContain("6:00");
  expect(tzDate?.(NINE).getHours()).toBe(18);
});
