import { fireEvent, render, screen, within } from "@testing-library/svelte";
import { expect, test, vi } from "vitest";

import type { RefusedTakings } from "../src/bindings/RefusedTakings";
import type { ViewModel } from "../src/bindings/ViewModel";
import { Unanswered } from "../src/lib/backend/backend";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedView } from "../src/lib/backend/fixture";
import { Board } from "../src/lib/board.svelte";
import App from "../src/views/App.svelte";
import { open, settled } from "./page";

test("the books, a night that adds up to a day, and the table", async () => {
  const { backend } = await open("earnings");
  expect(screen.getByTestId("books-net").textContent).toContain("42.98");
  expect(within(screen.getByTestId("jobs")).getAllByRole("row")).toHaveLength(4);
  await fireEvent.click(screen.getAllByTestId("calendar-night")[3] as HTMLElement);
  await settled();
  expect(screen.getByTestId("night-sum").textContent).toContain("24 h");
  await fireEvent.click(screen.getByTestId("span-month"));
  await settled();
  await fireEvent.click(screen.getByTestId("save-books"));
  await settled();
  expect(backend.asked).toContainEqual({ question: "save_books", span: "month" });
  expect(screen.getByTestId("books-saved").textContent).toContain("Downloads");
});

test("work that the market will not pay for is named with the reason, and no line stands there without", async () => {
  let refused: RefusedTakings[] = [];
  const { backend } = await open("earnings", recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      const reply = await ask(question);
      if (reply.reply === "books") reply.data.refused = refused;
      return reply;
    };
  });
  expect(screen.queryByTestId("books-refused")).toBeNull();
  const host = { micros: 1_620_000, currency: "CNY" };
  refused = [
    { why: "unknown_lease", running_ms: 60_000, host },
    { why: "lease_over", running_ms: 1_800_000, host },
    { why: "other", running_ms: 60_000, host },
  ];
  await fireEvent.click(screen.getByTestId("span-month"));
  await settled();
  const lines = screen.getAllByTestId("books-refused").map((line) => line.textContent ?? "");
  expect(lines).toHaveLength(3);
  expect(lines[0]).toContain("no such job");
  expect(lines[1]).toMatch(/30 min of work, CN¥1\.62 for you.*over by then/);
  expect(lines[2]).toContain("does not fit");
  expect(backend.asked).toContainEqual({ question: "books", span: "month" });
});

/** A promise and who keeps it. */
function deferred<T>() {
  let keep: (value: T) => void = () => {};
  const promise = new Promise<T>((resolve) => (keep = resolve));
  return { promise, keep };
}

test("of two spans the one that was chosen last is shown, whichever answer comes last", async () => {
  const slow = deferred<void>();
  const { shown } = await open("earnings", recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      if (question.question === "books" && question.span === "all") await slow.promise;
      return ask(question);
    };
  });
  const net = () => screen.getByTestId("books-net").textContent ?? "";
  await fireEvent.click(screen.getByTestId("span-all"));
  await settled();
  expect(shown.container.querySelector(".old")?.getAttribute("aria-busy"), "the week's, and it looks so").toBe("true");
  await fireEvent.click(screen.getByTestId("span-today"));
  await settled();
  expect(net()).toContain("CN¥7.35");
  slow.keep();
  await settled();
  expect(net()).toContain("CN¥7.35");
  expect(shown.container.querySelector(".old")).toBeNull();
});

test("a span without an answer shows no figures of another, and one that comes ends the complaint", async () => {
  let fails = false;
  const view = recordedView();
  const { backend } = await open("earnings", view, (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      if (fails && question.question === "books") throw new Unanswered("the journal is busy");
      return ask(question);
    };
  });
  fails = true;
  const earned = (micros: number) => backend.show({ ...view, earnings: { ...view.earnings, all: { micros, currency: "CNY" } } });
  earned(1);
  await settled();
  expect(screen.getByRole("alert").textContent).toContain("the journal is busy");
  expect(screen.getByTestId("books-net"), "the same span's, as they were").toBeTruthy();
  await fireEvent.click(screen.getByTestId("span-all"));
  await settled();
  expect(screen.queryByTestId("books-net")).toBeNull();
  fails = false;
  earned(2);
  await settled();
  expect(screen.queryByRole("alert")).toBeNull();
  expect(screen.getByTestId("books-net")).toBeTruthy();
});

test("what is earned while the page is open reaches the calendar, and the night that was chosen stays", async () => {
  const view = recordedView();
  let extra = 0;
  const { backend } = await open("earnings", view, (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      const reply = await ask(question);
      if (reply.reply === "nights") for (const night of reply.data) night.takings.net.micros += extra;
      return reply;
    };
  });
  const third = () => screen.getAllByTestId("calendar-night")[3] as HTMLElement;
  await fireEvent.click(third());
  await settled();
  const [before, nights] = [third().textContent, () => backend.asked.filter(({ question }) => question === "night").length];
  const asked = nights();
  extra = 5_000_000;
  backend.show({ ...view, earnings: { ...view.earnings, all: { micros: 1, currency: "CNY" } } });
  await settled();
  expect(third().textContent).not.toBe(before);
  expect(third().getAttribute("aria-pressed")).toBe("true");
  expect(nights(), "a night that is over is not read again").toBe(asked);
  await fireEvent.click(screen.getByTestId("month-back"));
  await settled();
  expect(third().getAttribute("aria-pressed")).toBe("false");
  const months = () => backend.asked.filter(({ question }) => question === "nights").length;
  const looked = months();
  backend.show({ ...view, earnings: { ...view.earnings, all: { micros: 2, currency: "CNY" } } });
  await settled();
  expect(months(), "a month that is over stays as it was").toBe(looked);
});

test("the card's curves go on while the page is open, and not while nobody sees it", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const backend = new BrowserBackend(recordedView());
  const board = new Board(backend);
  board.go("card");
  render(App, { board });
  const asked = () => backend.asked.filter(({ question }) => question === "history").length;
  await vi.advanceTimersByTimeAsync(100);
  const first = asked();
  await vi.advanceTimersByTimeAsync(150_000);
  expect(asked()).toBe(first + 1);
  await fireEvent.click(screen.getByTestId("range-hour"));
  await vi.advanceTimersByTimeAsync(100);
  expect(asked()).toBe(first + 2);
  await vi.advanceTimersByTimeAsync(10_100);
  expect(asked()).toBe(first + 3);
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked()).toBe(first + 3);
  hidden.mockRestore();
  vi.useRealTimers();
});

test("what could not be read of the images is no longer told once it can", async () => {
  let fails = true;
  const view = recordedView();
  const { backend } = await open("work", view, (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      if (fails && question.question === "images") throw new Unanswered("Docker is busy");
      return ask(question);
    };
  });
  expect(screen.getByRole("alert").textContent).toContain("Docker is busy");
  fails = false;
  const pull = { name: "llm-inference:full", sentence: "Waiting." } as unknown as ViewModel["pulls"][number];
  backend.show({ ...view, pulls: [pull] });
  await settled();
  expect(screen.queryByRole("alert")).toBeNull();
});

test("what was asked through a connection that died is asked again once there is one", async () => {
  for (const [page, questions] of [
    ["work", ["images", "pulled_images", "steps", "volumes"]],
    ["earnings", ["books", "nights", "night"]],
  ] as const) {
    let fails = true;
    const answered: string[] = [];
    const { backend, shown } = await open(page, recordedView(), (backend) => {
      const ask = backend.ask.bind(backend);
      backend.ask = async (question) => {
        if (fails && question.question !== "desktop") throw new Error("the host has said nothing for 45 s");
        answered.push(question.question);
        return ask(question);
      };
    });
    backend.connection(new Error("the host has said nothing for 40 s"));
    await settled();
    expect(screen.getAllByRole("alert").length).toBeGreaterThan(1);
    fails = false;
    backend.connection(null);
    await settled();
    expect(screen.queryByRole("alert"), page).toBeNull();
    for (const question of questions) expect(answered, page).toContain(question);
    shown.unmount();
  }
});

test("a night that is open when it ends is read once more, to its end", async () => {
  const view = recordedView();
  let at = view.at;
  const ends = view.at + 1_800_000;
  const { backend } = await open("earnings", view, (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      const reply = await ask(question);
      if (reply.reply === "nights") {
        reply.data = reply.data.slice(0, 1).map((one) => ({ ...one, since: ends - 86_400_000, until: ends }));
      }
      // What lies ahead is left out, as the host does it.
      if (reply.reply === "night") reply.data.summary.until = Math.min(reply.data.summary.until, at);
      return reply;
    };
  });
  const reads = () => backend.asked.filter(({ question }) => question === "night").length;
  const first = reads();
  const later = async (ms: number) => {
    at += ms;
    backend.show({ ...view, at, earnings: { ...view.earnings, all: { micros: at, currency: "CNY" } } });
    await settled();
  };
  await later(900_000);
  expect(reads(), "it lasts").toBe(first + 1);
  await later(1_000_000);
  expect(reads(), "its last part").toBe(first + 2);
  await later(1_000_000);
  expect(reads(), "it was read to its end").toBe(first + 2);
});

test("the calendar's days are those of the host's wall", async () => {
  // Noon of Monday in Shanghai, where a night begins then, is the evening before in Honolulu.
  const since = Date.UTC(2026, 5, 1, 4);
  const shownIn = async (time_zone: string) => {
    const { shown } = await open("earnings", { ...recordedView(), time_zone }, (backend) => {
      const ask = backend.ask.bind(backend);
      backend.ask = async (question) => {
        const reply = await ask(question);
        if (reply.reply !== "nights") return reply;
        const [first] = reply.data;
        return { ...reply, data: first ? [{ ...first, since, until: since + 86_400_000 }] : [] };
      };
    });
    const night = screen.getByTestId("calendar-night");
    const column = night.style.gridColumnStart;
    const date = night.querySelectorAll("span")[1]?.textContent;
    const month = shown.container.querySelector(".month")?.textContent;
    shown.unmount();
    return [night.title.split(":")[0], column, date, month];
  };
  expect(await shownIn("Asia/Shanghai")).toEqual([expect.stringContaining("Mon, Jun 1"), "1", "1", "June 2026"]);
  expect(await shownIn("Pacific/Honolulu")).toEqual([expect.stringContaining("Sun, May 31"), "7", "31", "May 2026"]);
});

test("what the market holds and has paid", async () => {
  await open("earnings");
  expect(screen.getByTestId("account").textContent).toContain("has paid out CN¥120.00");
  const rows = within(screen.getByTestId("payouts")).getAllByRole("row");
  expect(rows[1]?.textContent).toContain("2026-11/17");
  expect(rows[1]?.textContent).toContain("120.00");
});

test("a market that says nothing of money leaves no account", async () => {
  await open("earnings", { ...recordedView(), account: null });
  expect(screen.queryByTestId("account")).toBeNull();
});

test("what the market says of demand is shown, and nothing where it says nothing", async () => {
  const { shown } = await open("market");
  const said = within(screen.getByTestId("demand")).getAllByRole("listitem");
  expect(said.map((line) => line.textContent)).toContain("Of such cards on the market, 40 % are rented now.");
  expect(said).toHaveLength(4);
  // 1.131 an hour, 40 % of it.
  const told = (id: string) => screen.getAllByTestId(id).map((line) => line.textContent);
  expect(told("estimate-share")).toEqual([expect.stringContaining("CN¥0.4524"), expect.stringContaining("CN¥3.62")]);
  expect(told("estimate-usual")).toEqual([expect.stringContaining("CN¥1.08"), expect.stringContaining("CN¥8.67")]);
  expect(told("estimate-net")).toEqual([expect.stringContaining("CN¥1.13"), expect.stringContaining("CN¥9.05")]);
  shown.unmount();
  const [tile] = recordedView().cards;
  if (!tile) throw new Error("no card is recorded");
  const silent = { ...tile, demand: [], card: { ...tile.card, demand: null, usual: null } };
  await open("market", { ...recordedView(), cards: [silent] });
  expect(screen.queryByTestId("market-says")).toBeNull();
  expect(screen.getByTestId("estimate")).not.toBeNull();
  expect(screen.queryByTestId("estimate-share")).toBeNull();
  expect(screen.queryByTestId("estimate-usual")).toBeNull();
});
