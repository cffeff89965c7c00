import { fireEvent, screen } from "@testing-library/svelte";
import axe from "axe-core";
import { describe, expect, test, vi } from "vitest";

import { BOUNDS } from "../src/bindings/defaults";
import type { ViewModel } from "../src/bindings/ViewModel";
import { Unanswered } from "../src/lib/backend/backend";
import { recordedView } from "../src/lib/backend/fixture";
import { PAGES, type Page } from "../src/lib/pages";
import { open, saved, settled } from "./page";

describe.each(["en", "zh-CN"] as const)("in %s", (language) => {
  test.each(PAGES)("%s is drawn, has no key for a text, and axe finds nothing", async (page) => {
    const { shown } = await open(page, { ...recordedView(), language });
    expect(screen.getByTestId(`nav-${page}`).getAttribute("aria-current")).toBe("page");
    const words = shown.container.textContent ?? "";
    expect(words).not.toMatch(/\b(ui|set|nav|when|card|earnings|network|work|market|help|estimate|unit)-[a-z]{3,}/);
    // Colours are computed by contrast.test.ts; jsdom lays nothing out.
    const found = await axe.run(shown.container, { rules: { "color-contrast": { enabled: false } } });
    expect(found.violations.map((one) => `${one.id}: ${one.nodes[0]?.html ?? ""}`)).toEqual([]);
  });
});

test("a change is saved at once and can be taken back", async () => {
  const { backend } = await open("card");
  const field = screen.getByTestId<HTMLInputElement>("set-ceiling");
  expect(field.value).toBe("83");
  await fireEvent.input(field, { target: { value: "75" } });
  await fireEvent.blur(field);
  await settled();
  expect(saved(backend).temperature_ceiling_celsius).toBe(75);
  await fireEvent.click(screen.getByTestId("undo"));
  await settled();
  expect(saved(backend).temperature_ceiling_celsius).toBe(83);
  expect(screen.queryByTestId("saved")).toBeNull();
});

test("Ctrl+Z takes a change back", async () => {
  const { backend } = await open("network");
  await fireEvent.click(screen.getByTestId("set-egress-off"));
  await settled();
  expect(saved(backend).egress).toBe("off");
  await fireEvent.keyDown(window, { key: "z", ctrlKey: true });
  await settled();
  expect(saved(backend).egress).toBe("curated");
});

test("Ctrl+Z takes a change back where the control still has the focus, and leaves a field to itself", async () => {
  const { backend } = await open("network");
  const back = async (within: Element, type?: string) => {
    if (type) expect(within.getAttribute("type")).toBe(type);
    const event = new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true, cancelable: true });
    within.dispatchEvent(event);
    await settled();
    return event.defaultPrevented;
  };
  const egress = screen.getByTestId("set-egress-off");
  const radio = egress.matches("input") ? egress : (egress.querySelector("input") ?? egress);
  await fireEvent.click(radio);
  await settled();
  expect(saved(backend).egress).toBe("off");
  const field = screen.getByTestId<HTMLInputElement>("set-upload");
  expect(await back(field, "number")).toBe(false);
  expect(saved(backend).egress).toBe("off");
  expect(await back(radio, "radio")).toBe(true);
  expect(saved(backend).egress).toBe("curated");
  expect(await back(screen.getByTestId("set-upload-slider"), "range")).toBe(true);
});

test("a number out of its bounds is told and not saved", async () => {
  const { backend } = await open("card");
  const field = screen.getByTestId<HTMLInputElement>("set-ceiling");
  for (const wrong of ["96", "49", "", "1e9"]) {
    await fireEvent.input(field, { target: { value: wrong } });
    await fireEvent.blur(field);
    expect(field.getAttribute("aria-invalid"), wrong).toBe("true");
  }
  expect(backend.sent).toEqual([]);
  await fireEvent.keyDown(field, { key: "Escape" });
  expect(field.value).toBe("83");
});

test("the week is painted with the keyboard", async () => {
  const view = recordedView();
  if (view.settings) view.settings.schedule.windows = [{ days: ["mon"], from: "22:00", to: "23:00" }];
  const { backend } = await open("when", view);
  const week = screen.getByTestId("week");
  const cell = (day: number, slot: number) => week.querySelector(`[data-cell="${day}-${slot}"]`) as HTMLElement;
  expect(cell(0, 44).getAttribute("aria-selected")).toBe("true");
  await fireEvent.keyDown(cell(0, 0), { key: " " });
  await settled();
  expect(saved(backend).schedule.windows).toEqual([
    { days: ["mon"], from: "00:00", to: "00:30" },
    { days: ["mon"], from: "22:00", to: "23:00" },
  ]);
  await fireEvent.keyDown(cell(0, 0), { key: "ArrowRight", shiftKey: true });
  await fireEvent.keyUp(cell(0, 1), { key: "Shift" });
  await settled();
  expect(saved(backend).schedule.windows[0]).toEqual({ days: ["mon"], from: "00:00", to: "01:00" });
});

test("the mouse paints what it passes, and a week without an open hour is refused", async () => {
  const view = recordedView();
  if (view.settings) view.settings.schedule.windows = [{ days: ["tue"], from: "00:00", to: "01:00" }];
  const { backend } = await open("when", view);
  const cell = (slot: number) => screen.getByTestId("week").querySelector(`[data-cell="1-${slot}"]`) as HTMLElement;
  await fireEvent.pointerDown(cell(0), { button: 0, buttons: 1 });
  await fireEvent.pointerEnter(cell(1), { buttons: 1 });
  await fireEvent.pointerUp(window);
  await settled();
  expect(backend.sent).toEqual([]);
  expect(screen.getByTestId("alert").textContent).toContain("No hour would be open");
});

test("each sign says what it sees now, and can be switched", async () => {
  const { backend } = await open("when");
  expect(screen.getByTestId("sees-controller").dataset.standing).toBe("quiet");
  const view = recordedView();
  const sensors = view.sensors.map((line) =>
    line.sign.kind === "controller"
      ? { ...line, sign: { ...line.sign, standing: { kind: "seen", name: "Pad" } as const }, sentence: "seen: Pad" }
      : line,
  );
  backend.show({ ...view, sensors });
  await settled();
  expect(screen.getByTestId("sees-controller").textContent).toContain("seen: Pad");
  await fireEvent.click(screen.getByTestId("signal-controller"));
  await settled();
  expect(saved(backend).signals.controller.on).toBe(false);
});

test("presets, games and the power limit send what was chosen", async () => {
  const { backend } = await open("when");
  await fireEvent.click(screen.getByTestId("preset-careful"));
  await settled();
  await fireEvent.input(screen.getByTestId("set-games"), { target: { value: " my game.exe " } });
  await fireEvent.click(screen.getByTestId("set-games-add"));
  await settled();
  expect(backend.sent[0]).toEqual({ command: "apply_preset", preset: "careful" });
  expect(saved(backend).games).toEqual(["my game.exe"]);
  await fireEvent.click(screen.getByTestId("nav-card"));
  await settled();
  const slider = screen.getByTestId<HTMLInputElement>("power-slider");
  expect([slider.min, slider.max]).toEqual(["150", "600"]);
  await fireEvent.input(slider, { target: { value: "300" } });
  expect(screen.getByTestId("power-chosen").textContent).toContain("300 W");
  await fireEvent.change(slider);
  expect(backend.sent.at(-1)).toMatchObject({ command: "set_power_limit", limit: { unit: "watts", watts: 300 } });
});

test("a sweep is asked for, and what it found can be used", async () => {
  const view = recordedView();
  const tile = view.cards[0];
  if (!tile) throw new Error("no card is recorded");
  const judged = (limit: number, net: number) => ({
    point: { limit_watts: limit, work_per_second: limit, watts: limit },
    work_per_joule: 1,
    speed_percent: limit / 4.5,
    net_per_hour_micros: net,
  });
  tile.card.sweet_spots = [
    {
      work: "memory",
      measured_at: view.at,
      judgement: { judged: [judged(450, 900_000), judged(300, 1_100_000)], best_income: 1, most_efficient: 1 },
    },
  ];
  tile.sweet_spots = ["For work that waits for memory, 300 W earns most."];
  const { backend } = await open("card", view);
  expect(screen.getByTestId("sweet-spot").textContent).toContain("300 W earns most");
  const slider = screen.getByTestId("power-slider");
  const says = async (watts: string) => {
    await fireEvent.input(slider, { target: { value: watts } });
    return screen.getByTestId("net-at-limit").textContent;
  };
  expect(await says("300")).toContain("CN¥1.10 net an hour at this limit, at 67% of full speed");
  expect(await says("400")).toContain("between CN¥1.10 net an hour at 300 W and CN¥0.90 at 450 W");
  expect(await says("500")).toContain("CN¥0.90 net an hour at 450 W, the nearest");
  expect(await says("200")).toContain("CN¥1.10 net an hour at 300 W, the nearest");
  await fireEvent.click(screen.getByTestId("sweep-use"));
  await settled();
  await fireEvent.click(screen.getByTestId("sweep-start"));
  await settled();
  expect(backend.sent).toMatchObject([
    { command: "set_power_limit", limit: { unit: "watts", watts: 300 } },
    { command: "sweep", kind: "compute", limits: null },
  ]);
});

test("a price is shown to the millionth as it is set, and saved again as it is shown", async () => {
  const view = recordedView();
  if (view.settings) view.settings.tariff.price_per_kwh_micros = 301_255;
  const { backend } = await open("market", view);
  const field = screen.getByTestId<HTMLInputElement>("set-tariff");
  expect(field.value).toBe("0.301255");
  await fireEvent.input(field, { target: { value: "0.123456" } });
  await fireEvent.blur(field);
  await settled();
  expect(saved(backend).tariff.price_per_kwh_micros).toBe(123_456);
  expect(field.value).toBe("0.123456");
});

test("electricity by the hour is added and taken away", async () => {
  const { backend } = await open("market");
  const type = (id: string, value: string) => fireEvent.input(screen.getByTestId(id), { target: { value } });
  await fireEvent.click(screen.getByTestId("tariff-sat"));
  await fireEvent.click(screen.getByTestId("tariff-sun"));
  await type("tariff-from", "22:00");
  await type("tariff-to", "22:00");
  await type("tariff-price", "0.3");
  await fireEvent.click(screen.getByTestId("tariff-add"));
  expect(screen.getByTestId("tariff-lacks").textContent).toContain("a beginning and an end that differ");
  expect(backend.sent).toEqual([]);
  await type("tariff-to", "08:00");
  await fireEvent.click(screen.getByTestId("tariff-add"));
  await settled();
  expect(screen.queryByTestId("tariff-lacks")).toBeNull();
  const days = ["mon", "tue", "wed", "thu", "fri"];
  expect(saved(backend).tariff.windows).toEqual([{ days, from: "22:00", to: "08:00", price_per_kwh_micros: 300_000 }]);
  await fireEvent.click(screen.getByTestId("tariff-remove"));
  await settled();
  expect(saved(backend).tariff.windows).toEqual([]);
});

test("the log of the jobs is asked for again when a job takes a step", async () => {
  const view = recordedView();
  const { backend } = await open("work", view);
  expect(screen.getByTestId("steps").textContent).toContain("The job is frozen.");
  const asked = () => backend.asked.filter((question) => question.question === "steps").length;
  const before = asked();
  backend.show({ ...view, at: view.at + 1_000 });
  await settled();
  expect(asked()).toBe(before);
  const job = view.cards[0]?.card.job;
  if (job) job.state = { state: "yielded" };
  backend.show({ ...view, cards: [...view.cards] });
  await settled();
  expect(asked()).toBe(before + 1);
});

test("an image is fetched, and room is freed after a question", async () => {
  const { backend } = await open("work");
  expect(screen.getByTestId("room-value").textContent).toContain("7.5 GiB of 60.0 GiB");
  await fireEvent.click(screen.getByTestId("pull-image"));
  await settled();
  expect(backend.asked.at(-1)).toEqual({ question: "pull_image", name: "llm-inference:full" });
  await fireEvent.click(screen.getByTestId("free-image"));
  await settled();
  expect(backend.asked.some((question) => question.question === "free_image")).toBe(false);
  expect(screen.getByTestId("confirm").textContent).toContain("Remove pytorch-cuda:full");
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(backend.asked.at(-1)).toEqual({ question: "free_image", name: "pytorch-cuda:full" });
});

test("a button in a list says of what, before and beside the words that are seen", async () => {
  const view = recordedView();
  if (!view.settings) throw new Error("no settings are recorded");
  const { tariff, schedule, heat } = view.settings;
  tariff.windows = [
    { days: ["sat", "sun"], from: "22:00", to: "08:00", price_per_kwh_micros: 300_000 },
    { days: ["mon"], from: "22:00", to: "08:00", price_per_kwh_micros: 200_000 },
  ];
  schedule.exceptions = ["2026-12-24", "2026-12-31"].map((date) => ({ date, windows: [] }));
  heat.quiet_hours = [
    { from_minute: 1_320, to_minute: 420, limit_percent: 60 },
    { from_minute: 720, to_minute: 780, limit_percent: 80 },
  ];
  const { board } = await open("work", view);
  const names = async (page: Page, ids: string[]) => {
    board.go(page);
    await settled();
    const buttons = ids.flatMap((id) => screen.getAllByTestId(id));
    const told = buttons.map((button) => button.getAttribute("aria-label") ?? "");
    expect(new Set(told).size, "each is told from the others").toBe(buttons.length);
    // What is seen is part of the name, for who speaks to the PC.
    for (const [index, button] of buttons.entries()) expect(told[index]).toContain(button.textContent?.trim());
    return told;
  };
  expect(await names("work", ["pull-image", "free-image"])).toEqual(["Fetch: llm-inference:full", "Free up: pytorch-cuda:full"]);
  expect(await names("market", ["tariff-remove"])).toEqual(["Remove Sat Sun 22:00–08:00", "Remove Mon 22:00–08:00"]);
  expect(await names("when", ["exception-remove"])).toEqual(["Remove Thursday, December 24, 2026", "Remove Thursday, December 31, 2026"]);
  expect(await names("card", ["quiet-remove"])).toEqual(["Remove 22:00–07:00", "Remove 12:00–13:00"]);
  expect(await names("help", ["copy-engine", "repair-engine", "copy-helper", "repair-helper"])).toContain("Repair: Docker Engine");
  const pull = { name: "llm-inference:full", state: { state: "waiting" }, sentence: "Waiting." } as unknown as ViewModel["pulls"][number];
  board.view = { ...view, pulls: [pull] };
  expect(await names("work", ["stop-pull"])).toEqual(["Cancel: llm-inference:full"]);
});

test("what the card is lent for is agreed to one by one", async () => {
  const { backend } = await open("work");
  const before = backend.asked.length;
  await fireEvent.click(screen.getByTestId("set-task-fine_tuning"));
  await settled();
  expect(saved(backend).images.consents).toEqual(["interactive", "fine_tuning"]);
  expect(backend.asked.length).toBe(before);
});

test("one image of a kind that is lent is refused, and that is taken back", async () => {
  const view = recordedView();
  const { backend } = await open("work", view);
  const listed = screen.getByTestId("images-of-interactive").textContent ?? "";
  expect(listed).toContain("2 images are good for it");
  expect(listed).toContain("pytorch-cuda:full · 7.5 GiB · BSD-3-Clause");
  const lent = screen.getByTestId("lend-pytorch-cuda:full");
  expect([lent.getAttribute("aria-checked"), lent.getAttribute("aria-label")]).toEqual(["true", "Lend for pytorch-cuda:full"]);
  await fireEvent.click(lent);
  await settled();
  expect(saved(backend).images).toMatchObject({ refused: ["pytorch-cuda:full"], consents: ["interactive"] });
  expect(lent.getAttribute("aria-checked")).toBe("false");
  await fireEvent.click(screen.getByTestId("undo"));
  await settled();
  expect(saved(backend).images.refused).toEqual([]);
  expect(screen.queryByTestId("not-lent")).toBeNull();
  // The host says what is offered; the page only shows it.
  backend.show({ ...(await backend.view()), lent_images: [] });
  await settled();
  expect(screen.getAllByTestId("not-lent")).toHaveLength(2);
});

test("what Nightjar is built of is asked for when it is opened, and versions are shown", async () => {
  const { backend } = await open("help");
  expect(screen.getByTestId("about-engine").textContent).toBe("28.3.2");
  expect(screen.getByTestId("about-kernel").textContent).toBe("6.1.0-18-amd64");
  const asked = () => backend.asked.filter((question) => question.question === "components").length;
  const parts = screen.getByTestId<HTMLDetailsElement>("components");
  expect([asked(), parts.querySelectorAll("li").length]).toEqual([0, 0]);
  parts.open = true;
  await fireEvent(parts, new Event("toggle"));
  await settled();
  expect(parts.textContent).toContain("svelte 5.57.3 · MIT");
  expect(asked()).toBe(1);
});

test("what renters keep is listed, and deleted at once after a question", async () => {
  const { backend } = await open("work");
  const rows = () => screen.getAllByTestId("volume");
  expect(rows().map((row) => row.textContent?.replaceAll(/\s+/g, " "))).toEqual([
    expect.stringContaining("quiet-heron in use · encrypted up to 50 GiB"),
    expect.stringMatching(/grey-owl kept until .* · not encrypted up to 50 GiB/),
  ]);
  expect(screen.getAllByTestId("volume-footing").map((note) => note.textContent)).toEqual(["encrypted", "not encrypted"]);
  const [held, free] = screen.getAllByTestId<HTMLButtonElement>("wipe-volume");
  expect([held, free].map((button) => button?.getAttribute("aria-disabled"))).toEqual(["true", null]);
  await fireEvent.click(held as HTMLElement);
  expect(screen.queryByTestId("confirm")).toBeNull();
  await fireEvent.click(free as HTMLElement);
  expect(backend.asked.some((question) => question.question === "wipe_volume")).toBe(false);
  expect(screen.getByTestId("confirm").textContent).toContain("Delete all that grey-owl keeps");
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(backend.asked.at(-1)).toEqual({ question: "wipe_volume", name: "nightjar-grey-owl" });
  expect(rows()).toHaveLength(1);
});

test("mining and what renters may keep are settings with an undo", async () => {
  const { backend } = await open("work");
  expect(screen.getByTestId("miners-says").textContent).toContain("You get a notification");
  await fireEvent.click(screen.getByTestId("set-miners-stop"));
  await settled();
  expect(saved(backend).miners).toBe("stop");
  expect(screen.getByTestId("miners-says").textContent).toContain("warned, and ended");
  const keep = screen.getByTestId<HTMLInputElement>("set-volume-keep");
  expect(keep.value).toBe("14");
  await fireEvent.input(keep, { target: { value: "7" } });
  await fireEvent.blur(keep);
  await settled();
  expect(saved(backend).volume.keep_ms).toBe(7 * 86_400_000);
  await fireEvent.click(screen.getByTestId("undo"));
  await settled();
  expect([saved(backend).volume.keep_ms, saved(backend).miners]).toEqual([14 * 86_400_000, "stop"]);
});

test("what takes a wall away is asked for first, and putting it back is not", async () => {
  const { backend } = await open("work");
  await fireEvent.click(screen.getByTestId("set-root-inside"));
  await settled();
  expect(backend.sent).toEqual([]);
  await fireEvent.click(screen.getByTestId("confirm-no"));
  await fireEvent.click(screen.getByTestId("set-root-inside"));
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(saved(backend).root_inside).toBe(true);
  await fireEvent.click(screen.getByTestId("set-root-inside"));
  await settled();
  expect(saved(backend).root_inside).toBe(false);
  await fireEvent.click(screen.getByTestId("set-gvisor"));
  await settled();
  expect(saved(backend).gvisor, "not before the answer").toBe(true);
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(saved(backend).gvisor).toBe(false);
  await fireEvent.click(screen.getByTestId("set-gvisor"));
  await settled();
  expect(saved(backend).gvisor).toBe(true);
});

test("every setting with bounds has a field on a page", () => {
  const sources = import.meta.glob<string>("../src/{views,domain}/*.svelte", {
    query: "?raw",
    import: "default",
    eager: true,
  });
  const fields = new Set(Object.values(sources).flatMap((text) => [...text.matchAll(/\bfield="([^"]+)"/g)].map((one) => one[1])));
  const elsewhere = (name: string) =>
    // The first run's own count; lists, whose parts have bounds of their own; one field for eight signals.
    name === "introduced" || /^(heat\.quiet_hours|tariff\.windows|signals)\b/.test(name);
  expect(Object.keys(BOUNDS).filter((name) => !elsewhere(name) && !fields.has(name))).toEqual([]);
});

test("what opens at login and what links open is switched, each only where it is for the app to say", async () => {
  await open("help");
  expect(screen.getByTestId("set-autostart")).not.toBeNull();
  expect(screen.queryByTestId("set-links")).toBeNull();
  document.body.replaceChildren();
  const { backend } = await open("help", recordedView(), (backend) => {
    const ask = backend.ask.bind(backend);
    backend.ask = async (question) => {
      const answer = await ask(question);
      return answer.reply === "desktop" ? { ...answer, data: { ...answer.data, opens_links: true } } : answer;
    };
  });
  const links = screen.getByTestId("set-links");
  expect(links.getAttribute("aria-checked")).toBe("true");
  await fireEvent.click(links);
  await settled();
  await fireEvent.click(screen.getByTestId("set-autostart"));
  await settled();
  expect(backend.asked).toContainEqual({ question: "set_links", on: false });
  expect(backend.asked).toContainEqual({ question: "set_autostart", on: true });
  expect(screen.getByTestId("set-links").getAttribute("aria-checked")).toBe("false");
});

test("a question that cannot be answered is told", async () => {
  await open("earnings", recordedView(), (backend) => {
    backend.ask = async () => {
      throw new Unanswered("the journal is gone");
    };
  });
  expect(screen.getAllByRole("alert")[0]?.textContent).toContain("the journal is gone");
});

test("a repair runs after a click and a question, says what it did, and all is looked at again", async () => {
  const { backend } = await open("help");
  const looks = () => backend.asked.filter((question) => question.question === "checks").length;
  const before = looks();
  await fireEvent.click(screen.getByTestId("repair-engine"));
  expect(screen.getByTestId("confirm").textContent).toContain("group docker");
  expect(backend.asked.some((question) => question.question === "repair")).toBe(false);
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(backend.asked).toContainEqual({ question: "repair", repair: "docker" });
  expect(screen.getByTestId("check-engine").textContent).toContain("docker is started");
  expect(looks()).toBe(before + 1);
});

test("a PC where nobody can be asked shows the command and why", async () => {
  const { backend } = await open("help");
  const answer = backend.ask.bind(backend);
  backend.ask = async (question) =>
    question.question === "repair"
      ? { reply: "repaired", data: { outcome: "unavailable", detail: "No authentication agent found." } }
      : answer(question);
  await fireEvent.click(screen.getByTestId("repair-helper"));
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  const check = screen.getByTestId("check-helper").textContent;
  expect(check).toContain("No authentication agent found.");
  expect(check).toContain("sudo systemctl enable --now nightjar-helper.socket");
});

test("an unsafe version is accepted knowingly, after a question", async () => {
  const { backend } = await open("help", recordedView(), (backend) => {
    const answer = backend.ask.bind(backend);
    const check = { id: "versions", standing: "bad", title: "Versions", sentence: "runc is old", command: null, repair: null };
    const checks = [{ ...check, standing: "bad" as const, accepts: "runc 1.1.5" }];
    const lending = { standing: "bad" as const, sentence: "Not yet." };
    backend.ask = async (question) =>
      question.question === "checks" ? { reply: "checks", data: { checks, lending } } : answer(question);
  });
  expect(screen.getByRole("button", { name: /: runc 1\.1\.5$/ })).toBe(screen.getByTestId("accept-versions"));
  await fireEvent.click(screen.getByTestId("accept-versions"));
  expect(backend.sent).toEqual([]);
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(saved(backend).accepted_versions).toEqual(["runc 1.1.5"]);
});

test("a report is read before it is saved", async () => {
  const { backend } = await open("help");
  expect(screen.queryByTestId("save-report")).toBeNull();
  await fireEvent.click(screen.getByTestId("write-report"));
  await settled();
  expect(screen.getByTestId<HTMLTextAreaElement>("report-text").value).toContain("Nightjar 0.1.0");
  await fireEvent.click(screen.getByTestId("save-report"));
  await settled();
  expect(backend.asked.at(-1)).toEqual({ question: "save_report" });
});

test("language and theme take effect in the window", async () => {
  const { backend } = await open("help");
  await fireEvent.click(screen.getByTestId("set-theme-light"));
  await settled();
  expect(document.documentElement.dataset.theme).toBe("light");
  await fireEvent.click(screen.getByTestId("set-language-zh-CN"));
  await settled();
  expect(saved(backend).language).toBe("zh-CN");
});

test("settings that cannot be read are said, and nothing can be changed", async () => {
  const { backend } = await open("when", { ...recordedView(), settings: null });
  expect(screen.getByTestId("settings-unreadable")).toBeTruthy();
  expect(screen.queryByTestId("week")).toBeNull();
  expect(backend.sent).toEqual([]);
});

test("a market's other currency is said where prices are, and taken over with one click", async () => {
  const { backend } = await open("market", { ...recordedView(), other_currency: "EUR" });
  const notice = screen.getByTestId("currency-differs");
  expect(notice.textContent).toContain("EUR");
  expect(notice.textContent).toContain("CNY");
  await fireEvent.click(screen.getByTestId("currency-take"));
  await settled();
  expect(backend.sent.at(-1)).toEqual({ command: "reckon_in", currency: "EUR" });
});

test("nothing is drawn while the window is hidden, and the newest when it is seen again", async () => {
  const { backend } = await open("now");
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
  backend.show({ ...recordedView(), sentence: "unseen" });
  await settled();
  expect(screen.getByTestId("sentence").textContent).toBe("Earning: a job is running.");
  hidden.mockReturnValue(false);
  document.dispatchEvent(new Event("visibilitychange"));
  await settled();
  expect(screen.getByTestId("sentence").textContent).toBe("unseen");
  hidden.mockRestore();
});

test("Alt and a digit open a page", async () => {
  const { board } = await open("now");
  await fireEvent.keyDown(window, { key: "4", altKey: true });
  expect(board.page).toBe("when");
});
