import { fireEvent, render, screen } from "@testing-library/svelte";
import { tick } from "svelte";

import type { Settings } from "../src/bindings/Settings";
import type { ViewModel } from "../src/bindings/ViewModel";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedView } from "../src/lib/backend/fixture";
import { Board } from "../src/lib/board.svelte";
import type { Page } from "../src/lib/pages";
import App from "../src/views/App.svelte";

export async function open(page: Page, view: ViewModel = recordedView(), change?: (backend: BrowserBackend) => void) {
  const backend = new BrowserBackend(view);
  change?.(backend);
  const board = new Board(backend);
  const shown = render(App, { board });
  await fireEvent.click(await screen.findByTestId(`nav-${page}`));
  await settled();
  return { backend, board, shown };
}

export async function settled() {
  for (let round = 0; round < 5; round += 1) {
    await tick();
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
}

/** The settings that were saved last. */
export function saved(backend: BrowserBackend): Settings {
  const last = backend.sent.findLast((command) => command.command === "save");
  if (last?.command !== "save") throw new Error("nothing was saved");
  return last.settings;
}
