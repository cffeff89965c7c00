import type { Day } from "../bindings/Day";
import type { WeekWindow } from "../bindings/WeekWindow";

/** The week as a grid of half hours, and back. Hours that begin or end in between are drawn to the nearest half. */
export const DAYS: Day[] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
export const SLOTS = 48;
const MINUTES = 30;

export type Grid = boolean[][];

export function emptyGrid(open = false): Grid {
  return DAYS.map(() => Array<boolean>(SLOTS).fill(open));
}

/** Minutes since midnight of "HH:MM"; not a number where that is not what it says. */
export function minutesOf(clock: string): number {
  const [hours = NaN, minutes = NaN] = clock.split(":").map(Number);
  return hours * 60 + minutes;
}

/** "HH:MM" of minutes since midnight. */
export function clockOfMinutes(minutes: number): string {
  return `${String(Math.floor(minutes / 60)).padStart(2, "0")}:${String(minutes % 60).padStart(2, "0")}`;
}

export function clockOf(slot: number): string {
  return clockOfMinutes(slot * MINUTES);
}

export function gridOf(windows: WeekWindow[]): Grid {
  const grid = emptyGrid();
  const mark = (day: number, from: number, to: number) => {
    const row = grid[day % DAYS.length];
    if (row) row.fill(true, Math.round(from / MINUTES), Math.round(to / MINUTES));
  };
  for (const window of windows) {
    const [from, to] = [minutesOf(window.from), minutesOf(window.to)];
    for (const day of window.days.map((day) => DAYS.indexOf(day))) {
      if (from < to) {
        mark(day, from, to);
      } else {
        mark(day, from, 24 * 60);
        mark(day + 1, 0, to);
      }
    }
  }
  return grid;
}

/** The fewest windows that say the same, days with the same hours together. */
export function windowsOf(grid: Grid): WeekWindow[] {
  const windows: WeekWindow[] = [];
  grid.forEach((row, index) => {
    const day = DAYS[index];
    let from: number | null = null;
    for (let slot = 0; slot <= SLOTS; slot += 1) {
      const open = slot < SLOTS && row[slot] === true;
      if (open && from === null) from = slot;
      if (open || from === null || !day) continue;
      const [begins, ends] = [clockOf(from), clockOf(slot)];
      const same = windows.find((window) => window.from === begins && window.to === ends);
      if (same) same.days.push(day);
      else windows.push({ days: [day], from: begins, to: ends });
      from = null;
    }
  });
  return windows;
}

export function isAll(grid: Grid, open: boolean): boolean {
  return grid.every((row) => row.every((slot) => slot === open));
}
