import { fireEvent, render, screen, within } from "@testing-library/svelte";
import { tick } from "svelte";
import { expect, test, vi } from "vitest";

import type { ViewModel } from "../src/bindings/ViewModel";
import { type Backend, EnrolRefused, NotStarted, Refused } from "../src/lib/backend/backend";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedCard, recordedView } from "../src/lib/backend/fixture";
import { Board } from "../src/lib/board.svelte";
import App from "../src/views/App.svelte";

async function open(view: ViewModel = recordedView(), change?: (backend: BrowserBackend) => void) {
  const backend = new BrowserBackend(view);
  change?.(backend);
  const shown = render(App, { board: new Board(backend as Backend) });
  await screen.findByTestId("sentence");
  return { backend, shown };
}

/** Intl puts unbreakable spaces, which are the same to a reader. */
function text(id: string): string {
  return (screen.getByTestId(id).textContent ?? "").replace(/\s+/g, " ").trim();
}

test("a running job is drawn with its card and its money", async () => {
  await open();
  expect(text("sentence")).toBe("Earning: a job is running.");
  expect(screen.getByTestId("state").dataset.value).toBe("earning");
  expect(text("earned-today")).toBe("CN¥10.21");
  expect(text("earned-all")).toBe("CN¥1,234.56");
  expect(text("gpu-name")).toBe("NVIDIA GeForce RTX 4090 (simulated)");
  expect(text("temperature-value")).toBe("62 °C");
  expect(text("power-value")).toBe("287 of 450 W");
  expect(text("vram-value")).toBe("6.0 of 24.0 GiB");
  expect(text("utilisation-value")).toBe("97%");
  expect(text("job-renter")).toBe("quiet-heron");
  expect(text("job-earned")).toBe("CN¥0.225");
  expect(screen.queryByTestId("reasons")).toBeNull();
  expect(screen.queryByTestId("pair-form")).toBeNull();
});

test("the same in Chinese, from the language of the view", async () => {
  await open({ ...recordedView(), language: "zh-CN" });
  expect(text("earned-today")).toBe("¥10.21");
  expect(screen.getByTestId("earn-switch").textContent).toContain("空闲时赚钱");
  expect(text("stop-job")).toBe("结束当前任务");
  expect(document.documentElement.lang).toBe("zh-CN");
  expect(document.title).toBe("夜鹰 Nightjar");
});

test("a view that came with the page is drawn before any answer, and what comes later replaces it", async () => {
  const view = recordedView();
  const backend = new BrowserBackend(view) as Backend & BrowserBackend;
  backend.first = () => view;
  const asked: ((view: ViewModel) => void)[] = [];
  backend.view = () => new Promise((resolve) => asked.push(resolve));
  render(App, { board: new Board(backend) });
  await tick();
  expect(text("sentence")).toBe("Earning: a job is running.");
  await vi.waitFor(() => expect(asked).toHaveLength(1));
  asked.forEach((answer) => answer({ ...view, at: view.at + 1, sentence: "Waiting for a job." }));
  await vi.waitFor(() => expect(text("sentence")).toBe("Waiting for a job."));
});

test("what a card does not report is said, and has no bar", async () => {
  const tile = recordedCard();
  Object.assign(tile.card.reading, { temperature_celsius: null, power_watts: null, utilisation_percent: null });
  await open({ ...recordedView(), cards: [tile] });
  expect(text("temperature-value")).toBe("not reported by this card");
  expect(text("power-value")).toBe("not reported by this card");
  expect(within(screen.getByTestId("temperature")).queryByRole("meter")).toBeNull();
  expect(within(screen.getByTestId("vram")).getByRole("meter").getAttribute("aria-valuenow")).toBe("25");
});

test("a power reading without a limit is told without one", async () => {
  const tile = recordedCard();
  tile.card.reading.power_limits = null;
  await open({ ...recordedView(), cards: [tile] });
  expect(text("power-value")).toBe("287 W");
});

test("the switch asks for the opposite and shows what comes back", async () => {
  const { backend } = await open();
  const control = screen.getByRole("switch", { name: "Earn while idle" });
  expect(control.getAttribute("aria-checked")).toBe("true");
  await fireEvent.click(control);
  expect(backend.sent).toEqual([{ command: "set_earning", on: false }]);
  expect(control.getAttribute("aria-checked")).toBe("false");
});

test("a refused command is told and nothing looks changed", async () => {
  const { backend } = await open(recordedView(), (backend) => {
    backend.command = async () => {
      throw new Refused({ kind: "command", data: { kind: "settings_unreadable" } });
    };
  });
  await fireEvent.click(screen.getByTestId("earn-switch"));
  expect(text("alert")).toContain("the settings file cannot be read");
  expect(screen.getByTestId("earn-switch").getAttribute("aria-checked")).toBe("true");
  await fireEvent.click(screen.getByTestId("alert-close"));
  expect(screen.queryByTestId("alert")).toBeNull();
  expect(backend.sent).toEqual([]);
});

test("snooze, end snooze and stop send their commands", async () => {
  const { backend } = await open();
  await fireEvent.click(screen.getByTestId("snooze"));
  const view = recordedView();
  backend.show({ ...view, tray: { ...view.tray, snoozed: true } });
  await tick();
  expect(text("snooze")).toBe("End snooze");
  await fireEvent.click(screen.getByTestId("snooze"));
  await fireEvent.click(screen.getByTestId("stop-job"));
  expect(backend.sent).toHaveLength(2);
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  expect(backend.sent).toEqual([
    { command: "snooze", for_ms: 3_600_000 },
    { command: "end_snooze" },
    { command: "stop_job", lease: view.cards[0]?.card.job?.lease },
  ]);
});

test("to end a choice and to end a snooze are two things", async () => {
  const view = recordedView();
  const { backend } = await open({ ...view, choice: "No other job until 08:00." });
  await fireEvent.click(screen.getByTestId("end-choice"));
  await tick();
  backend.show({ ...view, choice: "Paused until 09:00.", tray: { ...view.tray, snoozed: true } });
  await tick();
  expect(screen.queryByTestId("end-choice")).toBeNull();
  await fireEvent.click(screen.getByTestId("snooze"));
  expect(backend.sent).toEqual([{ command: "end_overrides" }, { command: "end_snooze" }]);
});

test("reasons are listed once, whatever number of cards shares them", async () => {
  const tiles = [0, 1].map((index) => {
    const tile = recordedCard();
    tile.card.reading.uuid = `GPU-${index}`;
    tile.card.job = null;
    tile.reasons = ["You are here (idle 2 of 10 min).", index === 0 ? "steam is running." : "This PC runs on battery."];
    return tile;
  });
  await open({ ...recordedView(), state: "yours", cards: tiles, next_change: recordedView().at + 480_000 });
  expect(screen.getAllByTestId("gpu-tile")).toHaveLength(2);
  const items = within(screen.getByTestId("reasons")).getAllByRole("listitem");
  expect(items.map((item) => item.textContent)).toEqual([
    "You are here (idle 2 of 10 min).",
    "steam is running.",
    "This PC runs on battery.",
  ]);
  expect(text("next-change")).toMatch(/^Next change: \d\d:\d\d$/);
});

test("without a market there is a form to join one, and a wrong code is told", async () => {
  const view = recordedView();
  const alone = { ...view, identity: { ...view.identity, coordinator: null } };
  const { backend } = await open(alone);
  await fireEvent.input(screen.getByTestId("pair-address"), { target: { value: "https://market.example" } });
  await fireEvent.input(screen.getByTestId("pair-code"), { target: { value: " ABCD-1234 " } });
  await fireEvent.submit(screen.getByTestId("pair-form"));
  expect(backend.enrolled).toEqual([["https://market.example", "ABCD-1234"]]);
  backend.enrol = async () => {
    throw new EnrolRefused({ kind: "pairing_code" });
  };
  await fireEvent.submit(screen.getByTestId("pair-form"));
  expect(text("alert")).toContain("does not take this pairing code");
});

test("a host that did not start is said in place of everything else", async () => {
  const backend = new BrowserBackend();
  backend.view = async () => {
    throw new NotStarted({ kind: "already_running" });
  };
  render(App, { board: new Board(backend) });
  expect((await screen.findByTestId("failure")).textContent).toContain("already runs on this PC");
  expect(screen.queryByTestId("earn-switch")).toBeNull();
});

test("an answer that is older than what was drawn is passed over, and closing stops listening", async () => {
  const backend = new BrowserBackend();
  const old = recordedView();
  let answer: (view: ViewModel) => void = () => {};
  backend.view = () => new Promise((resolve) => (answer = resolve));
  const shown = render(App, { board: new Board(backend) });
  await tick();
  expect(screen.getByTestId("loading")).toBeTruthy();
  backend.show({ ...old, at: old.at + 1, sentence: "newer" });
  answer(old);
  await tick();
  await tick();
  expect(text("sentence")).toBe("newer");
  shown.unmount();
  expect(backend.listeners).toBe(0);
});

test("a link only asks; joining is a click, and a refusal leaves the question", async () => {
  const offered = { link: "market" as const, market: "https://other.example", code: "ABCD-2345" };
  let fails = true;
  const { backend } = await open(recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) =>
      question.question === "invitation" ? { reply: "invitation", data: offered } : ask(question);
    const enrol = backend.enrol.bind(backend);
    backend.enrol = async (market, code) => {
      if (fails) throw new EnrolRefused({ kind: "pairing_code" });
      await enrol(market, code);
    };
  });
  await screen.findByTestId("invitation");
  expect(text("invitation")).toContain("https://other.example");
  expect(text("invitation")).toContain("leave https://market.example");
  expect(backend.enrolled).toEqual([]);
  await fireEvent.click(screen.getByTestId("invite-join"));
  await tick();
  await screen.findByTestId("alert");
  expect(screen.getByTestId("invitation")).toBeTruthy();
  fails = false;
  await fireEvent.click(screen.getByTestId("invite-join"));
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(backend.enrolled).toEqual([["https://other.example", "ABCD-2345"]]);
  expect(screen.queryByTestId("invitation")).toBeNull();
});

test("what is wrong with a link that was opened is told, and nothing is asked", async () => {
  const sentence = "A link was opened, and nothing was done: it is no link to a market.";
  await open(recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) =>
      question.question === "invitation" ? { reply: "invitation", data: { link: "refused", sentence } } : ask(question);
  });
  await screen.findByTestId("alert");
  expect(text("alert")).toBe(sentence);
  expect(screen.queryByTestId("invitation")).toBeNull();
});

test("to earn now is offered for as long as the host says", async () => {
  const { backend } = await open({ ...recordedView(), state: "yours", earn_now_ms: 60_000 });
  await fireEvent.click(screen.getByTestId("earn-now"));
  await tick();
  expect(backend.sent).toEqual([{ command: "earn_now", for_ms: 60_000, until_back: true }]);
  backend.show({ ...recordedView(), earn_now_ms: null });
  await tick();
  expect(screen.queryByTestId("earn-now")).toBeNull();
});

test("a job is shown since it came, not since its last step", async () => {
  const view = recordedView();
  const job = view.cards[0]?.card.job;
  if (!job) throw new Error("no job is recorded");
  Object.assign(job, { since: view.at - 3_600_000, state_since: view.at - 1_000 });
  const shown = (at: number) => new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(at);
  await open(view);
  expect(text("job-since")).toBe(shown(view.at - 3_600_000));
});

test("a panel that comes or goes later is noticed", async () => {
  let has_tray = false;
  vi.useFakeTimers({ shouldAdvanceTime: true });
  await open(recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      const answer = await ask(question);
      return answer.reply === "desktop" ? { ...answer, data: { ...answer.data, has_tray } } : answer;
    };
  });
  await screen.findByTestId("no-tray");
  has_tray = true;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(screen.queryByTestId("no-tray")).toBeNull();
  has_tray = false;
  await vi.advanceTimersByTimeAsync(15_000);
  expect(screen.getByTestId("no-tray")).toBeTruthy();
  vi.useRealTimers();
});
