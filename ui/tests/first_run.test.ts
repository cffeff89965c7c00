import { fireEvent, render, screen } from "@testing-library/svelte";
import { expect, test, vi } from "vitest";

import type { CheckStanding } from "../src/bindings/CheckStanding";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedView } from "../src/lib/backend/fixture";
import { Board } from "../src/lib/board.svelte";
import App from "../src/views/App.svelte";
import { saved, settled } from "./page";

test("the first run has three screens, goes on where it was left, and can be skipped", async () => {
  const view = recordedView();
  view.identity.coordinator = null;
  if (view.settings) view.settings.introduced = 0;
  const backend = new BrowserBackend(view);
  render(App, { board: new Board(backend) });
  await settled();
  expect(screen.getByTestId("first-run").dataset.screen).toBe("0");
  await fireEvent.click(screen.getByTestId("first-next"));
  await settled();
  expect(saved(backend).introduced).toBe(1);
  expect(screen.getByTestId("first-verdict").textContent).toContain("Docker Engine");
  await fireEvent.click(screen.getByTestId("first-back"));
  await settled();
  expect(screen.getByTestId("first-run").dataset.screen).toBe("0");
  await fireEvent.click(screen.getByTestId("first-next"));
  await fireEvent.click(screen.getByTestId("first-next"));
  await settled();
  expect(screen.getByTestId("first-run").dataset.screen).toBe("2");
  await fireEvent.click(screen.getByTestId("first-skip"));
  await settled();
  expect(saved(backend).introduced).toBe(3);
  expect(screen.queryByTestId("first-run")).toBeNull();
});

test("who joins a market in the first run sees what it says in the estimate, and goes on to the end", async () => {
  const joined = recordedView();
  if (joined.settings) joined.settings.introduced = 2;
  const tile = joined.cards[0];
  if (!tile) throw new Error("no card is recorded");
  const { for_night: night } = tile.card;
  const silent = { ...tile.card, demand: null, usual: null, for_night: { ...night, net_when_rented: null, net_at_usual: null } };
  const alone = { ...joined, cards: [{ ...tile, card: silent }], identity: { ...joined.identity, coordinator: null } };
  const backend = new BrowserBackend(alone);
  render(App, { board: new Board(backend) });
  await settled();
  expect(screen.getByTestId("pair-form")).toBeTruthy();
  expect(screen.queryByTestId("estimate-usual")).toBeNull();
  backend.show(joined);
  await settled();
  expect(screen.getByTestId("first-run").dataset.screen).toBe("2");
  expect(screen.getByTestId("estimate-usual").textContent).toContain("CN¥8.67");
  expect(screen.queryByTestId("pair-form")).toBeNull();
  expect(screen.getByTestId("first-joined").textContent).toContain("https://market.example");
  await fireEvent.click(screen.getByTestId("first-next"));
  await settled();
  expect(saved(backend).introduced).toBe(3);
  expect(screen.getByTestId("frame")).toBeTruthy();
});

test("who is in a market already is not introduced to it", async () => {
  const view = recordedView();
  if (view.settings) view.settings.introduced = 0;
  render(App, { board: new Board(new BrowserBackend(view)) });
  await settled();
  expect(screen.queryByTestId("first-run")).toBeNull();
  expect(screen.getByTestId("frame")).toBeTruthy();
});

test("the first run says yes only when the host does, and looks again by itself", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const view = recordedView();
  view.identity.coordinator = null;
  if (view.settings) view.settings.introduced = 1;
  const backend = new BrowserBackend(view);
  const ask = backend.ask.bind(backend);
  let lending = { standing: "unknown" as CheckStanding, sentence: "Being looked at still: Docker Engine." };
  backend.ask = async (question) => {
    const answer = await ask(question);
    return answer.reply === "checks" ? { ...answer, data: { lending, checks: [] } } : answer;
  };
  render(App, { board: new Board(backend) });
  await vi.advanceTimersByTimeAsync(100);
  expect(screen.getByTestId("first-verdict").textContent?.trim()).toBe(lending.sentence);
  // The headline stays as it is meanwhile.
  lending = { standing: "good", sentence: "Yes." };
  await vi.advanceTimersByTimeAsync(4_000);
  expect(screen.getByTestId("first-verdict").textContent?.trim()).toBe("Yes.");
  vi.useRealTimers();
});
