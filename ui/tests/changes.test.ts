import { fireEvent, render, screen } from "@testing-library/svelte";
import { expect, test, vi } from "vitest";

import type { Settings } from "../src/bindings/Settings";
import type { UserCommand } from "../src/bindings/UserCommand";
import { Refused } from "../src/lib/backend/backend";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedView } from "../src/lib/backend/fixture";
import { again } from "../src/lib/again";
import { Board } from "../src/lib/board.svelte";
import { type Move, moved } from "../src/lib/moves";
import type { Page } from "../src/lib/pages";
import App from "../src/views/App.svelte";
import { saved, settled } from "./page";

/** A host that takes commands when it is told to, as one does that has to write them down first. */
class SlowBackend extends BrowserBackend {
  waiting: (() => void)[] = [];

  override async command(command: UserCommand): Promise<void> {
    await new Promise<void>((resolve) => this.waiting.push(resolve));
    await super.command(command);
  }

  take(): void {
    this.waiting.shift()?.();
  }
}

async function open<B extends BrowserBackend>(page: Page, backend: B) {
  render(App, { board: new Board(backend) });
  await fireEvent.click(await screen.findByTestId(`nav-${page}`));
  await settled();
  return backend;
}

async function undo() {
  await fireEvent.keyDown(window, { key: "z", ctrlKey: true });
  await settled();
}

async function type(id: string, value: string) {
  await fireEvent.input(screen.getByTestId(id), { target: { value } });
  await fireEvent.blur(screen.getByTestId(id));
  await settled();
}

/** As if the tray or the command line had changed something. */
async function elsewhere(backend: BrowserBackend, change: (settings: Settings) => void) {
  const view = await backend.view();
  const settings = structuredClone(view.settings) as Settings;
  change(settings);
  backend.show({ ...view, settings, earn_while_idle: settings.earn_while_idle });
  await settled();
}

test("a change moves what it changed and what still is as it was, and nothing else", () => {
  const move: Move<Record<string, unknown>> = {
    before: { a: 1, b: { c: [1], d: 2 }, e: null },
    after: { a: 2, b: { c: [1, 2], d: 2 }, e: { f: 1 } },
  };
  expect(moved({ a: 1, b: { c: [1], d: 9 }, e: null }, move)).toEqual({ a: 2, b: { c: [1, 2], d: 9 }, e: { f: 1 } });
  expect(moved({ a: 7, b: { c: [3], d: 2 }, e: null }, move)).toEqual({ a: 7, b: { c: [3], d: 2 }, e: { f: 1 } });
  // What comes or goes as a whole, and fields in another order.
  const cards = { before: { x: { on: true, off: 1 } }, after: {} };
  expect(moved({ x: { off: 1, on: true }, y: 1 } as Record<string, unknown>, cards)).toEqual({ y: 1 });
});

test("undo takes back what was changed, and neither the switch for earning nor what came from elsewhere", async () => {
  const backend = await open("card", new BrowserBackend());
  await type("set-ceiling", "75");
  await elsewhere(backend, (settings) => {
    settings.earn_while_idle = false;
    settings.region = "de";
  });
  await undo();
  const { temperature_ceiling_celsius, earn_while_idle, region } = saved(backend);
  expect([temperature_ceiling_celsius, earn_while_idle, region]).toEqual([83, false, "de"]);
});

test("a field that was changed elsewhere since is not taken back", async () => {
  const backend = await open("card", new BrowserBackend());
  await type("set-target", "70");
  await type("set-ceiling", "75");
  await elsewhere(backend, (settings) => (settings.temperature_ceiling_celsius = 60));
  await undo();
  // The change before it is.
  expect([saved(backend).temperature_ceiling_celsius, saved(backend).heat.target_celsius]).toEqual([
    60,
    recordedView().settings?.heat.target_celsius,
  ]);
});

test("a preset is taken back as far as it went", async () => {
  const backend = new BrowserBackend();
  const command = backend.command.bind(backend);
  backend.command = async (wanted) => {
    await command(wanted);
    // The host says what a preset means.
    if (wanted.command === "apply_preset") await elsewhere(backend, (settings) => (settings.idle_after_ms = 1_200_000));
  };
  await open("when", backend);
  await fireEvent.click(screen.getByTestId("preset-careful"));
  await settled();
  await elsewhere(backend, (settings) => (settings.earn_while_idle = false));
  await undo();
  expect([saved(backend).idle_after_ms, saved(backend).earn_while_idle]).toEqual([600_000, false]);
});

test("what is asked for when it is turned on is asked for when that is brought back", async () => {
  const view = recordedView();
  if (view.settings) Object.assign(view.settings, { root_inside: true, egress: "off" });
  const backend = await open("work", new BrowserBackend(view));
  await fireEvent.click(screen.getByTestId("set-root-inside"));
  await settled();
  expect(saved(backend).root_inside).toBe(false);
  await undo();
  expect([backend.sent.length, saved(backend).root_inside]).toEqual([1, false]);
  await fireEvent.click(screen.getByTestId("confirm-no"));
  await settled();
  expect(backend.sent.length).toBe(1);
  await undo();
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(saved(backend).root_inside).toBe(true);
});

test("the home's address is lent as an exit only after a question, by mouse and by arrow key", async () => {
  const backend = await open("network", new BrowserBackend());
  const radio = (value: string) => screen.getByTestId<HTMLInputElement>(`set-egress-${value}`);
  await fireEvent.click(radio("open"));
  await settled();
  expect(screen.getByTestId("confirm").textContent).toContain("comes from your address");
  expect([backend.sent.length, radio("open").checked, radio("curated").checked]).toEqual([0, false, true]);
  await fireEvent.click(screen.getByTestId("confirm-no"));
  await settled();
  expect([backend.sent.length, radio("curated").checked]).toEqual([0, true]);
  // An arrow key checks the next radio and says so by a change.
  radio("open").checked = true;
  await fireEvent.change(radio("open"));
  await settled();
  expect(backend.sent).toEqual([]);
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect([saved(backend).egress, radio("open").checked]).toEqual(["open", true]);
  // Less is not asked for.
  await fireEvent.click(radio("off"));
  await settled();
  expect(saved(backend).egress).toBe("off");
});

test("the keyboard's place stays while a change is saved, and each further step counts", async () => {
  const backend = await open("network", new SlowBackend());
  const slider = screen.getByTestId<HTMLInputElement>("set-upload-slider");
  slider.focus();
  for (let step = 0; step < 2; step += 1) {
    await fireEvent.input(slider, { target: { value: String(slider.valueAsNumber + 1) } });
    await fireEvent.change(slider);
    await settled();
    expect(document.activeElement).toBe(slider);
  }
  const off = screen.getByTestId<HTMLInputElement>("set-egress-off");
  off.focus();
  await fireEvent.click(off);
  await settled();
  expect([document.activeElement === off, off.checked, off.disabled]).toEqual([true, true, false]);
  // Nothing was taken yet, and a view of before changes nothing of what is drawn.
  expect(backend.sent).toEqual([]);
  backend.show({ ...(await backend.view()), sentence: "as before" });
  await settled();
  expect([slider.getAttribute("aria-valuetext"), off.checked]).toEqual(["40 Mbit/s", true]);
  for (let round = 0; round < 3; round += 1) {
    backend.take();
    await settled();
  }
  expect([saved(backend).network.day.up_kbit, saved(backend).egress]).toEqual([40_000, "off"]);
});

test("a button that waits for its answer keeps the keyboard's place and is not clicked twice", async () => {
  const backend = await open("now", new SlowBackend());
  const snooze = screen.getByTestId("snooze");
  snooze.focus();
  await fireEvent.click(snooze);
  await settled();
  expect([document.activeElement === snooze, snooze.getAttribute("aria-disabled")]).toEqual([true, "true"]);
  await fireEvent.click(snooze);
  backend.take();
  await settled();
  expect([backend.sent.length, snooze.getAttribute("aria-disabled")]).toEqual([1, null]);
});

test("a change that is refused is told, and what is drawn is what holds", async () => {
  const backend = new BrowserBackend();
  backend.command = async () => {
    throw new Refused({ kind: "command", data: { kind: "settings_unreadable" } });
  };
  await open("network", backend);
  await fireEvent.click(screen.getByTestId("set-egress-off"));
  await settled();
  expect(screen.getByTestId("alert").textContent).toContain("the settings file cannot be read");
  expect(screen.getByTestId<HTMLInputElement>("set-egress-curated").checked).toBe(true);
  expect(screen.queryByTestId("saved")).toBeNull();
});

test("a region that the host does not take stays to be corrected, and what is wrong with it is said", async () => {
  const backend = new BrowserBackend();
  const command = backend.command.bind(backend);
  backend.command = async (wanted) => {
    if (wanted.command === "save" && wanted.settings.region === "中国") {
      const fault = { fault: "text", field: "region" } as const;
      throw new Refused({ kind: "command", data: { kind: "settings", detail: "", fault } });
    }
    await command(wanted);
  };
  await open("market", backend);
  const field = screen.getByTestId<HTMLInputElement>("set-region");
  const put = async (value: string) => {
    await fireEvent.input(field, { target: { value } });
    await fireEvent.change(field);
    await settled();
  };
  await put("中国");
  expect([field.value, field.getAttribute("aria-invalid")]).toEqual(["中国", "true"]);
  expect(screen.getByTestId("alert").textContent).toContain("Region");
  await put(" cn-east ");
  expect([field.value, field.getAttribute("aria-invalid"), saved(backend).region]).toEqual(["cn-east", "false", "cn-east"]);
});

test("while something is mended the switch, the snooze and the stop work", async () => {
  const backend = new BrowserBackend();
  const ask = backend.ask.bind(backend);
  backend.ask = (question) => (question.question === "repair" ? new Promise(() => {}) : ask(question));
  await open("help", backend);
  await fireEvent.click(screen.getByTestId("repair-engine"));
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(screen.getByTestId("repair-engine").textContent).toContain("Repairing");
  expect(screen.getByTestId("repair-helper").getAttribute("aria-disabled")).toBe("true");
  await fireEvent.click(screen.getByTestId("nav-now"));
  await settled();
  for (const id of ["snooze", "stop-job", "earn-switch"]) await fireEvent.click(screen.getByTestId(id));
  await fireEvent.click(screen.getByTestId("confirm-yes"));
  await settled();
  expect(backend.sent.map((command) => command.command)).toEqual(["snooze", "set_earning", "stop_job"]);
  // It still says so where it was clicked.
  await fireEvent.click(screen.getByTestId("nav-help"));
  await settled();
  expect(screen.getByTestId("repair-engine").textContent).toContain("Repairing");
});

test("why something is not added is said, and a share out of its bounds is not put back unsaid", async () => {
  const backend = await open("when", new BrowserBackend());
  await fireEvent.click(screen.getByTestId("exception-add"));
  expect(screen.getByTestId("exception-lacks").textContent).toContain("Choose a date");
  await fireEvent.input(screen.getByTestId("exception-date"), { target: { value: "2026-12-24" } });
  await fireEvent.input(screen.getByTestId("exception-from"), { target: { value: "10:00" } });
  await fireEvent.click(screen.getByTestId("exception-add"));
  expect(screen.getByTestId("exception-lacks").textContent).toContain("Give both hours");
  expect(backend.sent).toEqual([]);
  await fireEvent.click(screen.getByTestId("nav-card"));
  await settled();
  await fireEvent.click(screen.getByTestId("quiet-add"));
  await settled();
  const share = screen.getByTestId<HTMLInputElement>("quiet-percent");
  await fireEvent.change(share, { target: { value: "5" } });
  await settled();
  expect([share.value, share.getAttribute("aria-invalid")]).toEqual(["5", "true"]);
  expect(screen.getByTestId("quiet-bounds").textContent).toContain("10 to 100 %");
  expect(saved(backend).heat.quiet_hours[0]?.limit_percent).toBe(60);
  await fireEvent.change(share, { target: { value: "40" } });
  await settled();
  expect([saved(backend).heat.quiet_hours[0]?.limit_percent, share.getAttribute("aria-invalid")]).toEqual([40, "false"]);
});

test("a page asks again while it is seen, and not while it is hidden or gone", async () => {
  vi.useFakeTimers();
  const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(false);
  const ask = vi.fn(async () => {});
  const stop = again(1_000, ask);
  await vi.advanceTimersByTimeAsync(2_500);
  expect(ask).toHaveBeenCalledTimes(3);
  hidden.mockReturnValue(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(3);
  hidden.mockReturnValue(false);
  document.dispatchEvent(new Event("visibilitychange"));
  await vi.advanceTimersByTimeAsync(1_500);
  expect(ask).toHaveBeenCalledTimes(5);
  stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(ask).toHaveBeenCalledTimes(5);
  hidden.mockRestore();
  vi.useRealTimers();
});
