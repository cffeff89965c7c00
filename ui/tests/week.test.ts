import { expect, test } from "vitest";

import { DAYS, emptyGrid, gridOf, isAll, SLOTS, windowsOf } from "../src/lib/week";

test("a night over midnight is drawn on both days", () => {
  const grid = gridOf([{ days: ["mon", "sun"], from: "22:00", to: "06:30" }]);
  expect(grid[0]?.slice(44)).toEqual([true, true, true, true]);
  expect(grid[1]?.slice(0, 14)).toEqual([...Array<boolean>(13).fill(true), false]);
  expect(grid[0]?.slice(0, 13).every(Boolean)).toBe(true);
  expect(grid[2]?.some(Boolean)).toBe(false);
});

test("what is painted says the same when it is read back", () => {
  let seed = 7;
  const random = () => (seed = (seed * 48_271) % 2_147_483_647) / 2_147_483_647;
  for (let round = 0; round < 50; round += 1) {
    const grid = emptyGrid().map((row) => row.map(() => random() < 0.3));
    const windows = windowsOf(grid);
    expect(gridOf(windows)).toEqual(grid);
    for (const window of windows) {
      expect(window.from < window.to && window.days.length > 0 && window.days.length <= DAYS.length).toBe(true);
    }
  }
});

test("days with the same hours share a window, and a whole day ends at 24:00", () => {
  expect(windowsOf(emptyGrid(true))).toEqual([{ days: DAYS, from: "00:00", to: "24:00" }]);
  expect(windowsOf(emptyGrid())).toEqual([]);
  expect(isAll(gridOf(windowsOf(emptyGrid(true))), true)).toBe(true);
  expect(emptyGrid()[0]).toHaveLength(SLOTS);
});
