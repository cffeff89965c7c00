import { fireEvent, render, screen } from "@testing-library/svelte";
import { expect, test } from "vitest";

import type { Settings } from "../src/bindings/Settings";
import { BrowserBackend } from "../src/lib/backend/browser";
import { recordedView } from "../src/lib/backend/fixture";
import { Board } from "../src/lib/board.svelte";
import App from "../src/views/App.svelte";
import { settled } from "./page";

async function open(change: (settings: Settings) => void = () => {}) {
  const view = recordedView();
  if (view.settings) change(view.settings);
  const backend = new BrowserBackend(view);
  render(App, { board: new Board(backend) });
  await fireEvent.click(await screen.findByTestId("nav-network"));
  await settled();
  const saved = () => {
    const last = backend.sent.at(-1);
    if (last?.command !== "save") throw new Error("nothing was saved");
    return last.settings.network;
  };
  return { backend, saved };
}

async function type(id: string, value: string) {
  await fireEvent.input(screen.getByTestId(id), { target: { value } });
  await fireEvent.blur(screen.getByTestId(id));
  await settled();
}

test("a slider moves in steps and a field takes what lies in between, in the agent's own unit", async () => {
  const { backend, saved } = await open();
  const slider = screen.getByTestId<HTMLInputElement>("set-upload-slider");
  expect(slider.getAttribute("aria-valuetext")).toBe("20 Mbit/s");
  await fireEvent.input(slider, { target: { value: String(slider.valueAsNumber + 1) } });
  expect(backend.sent).toEqual([]);
  await fireEvent.change(slider);
  await settled();
  expect(saved().day).toEqual({ up_kbit: 30_000, down_kbit: 50_000 });
  await type("set-night-download", "123.4");
  expect(saved().night?.rates).toEqual({ up_kbit: 40_000, down_kbit: 123_400 });
});

test("the night is turned on as the day is, and its hours must differ", async () => {
  const { saved, backend } = await open((settings) => (settings.network.night = null));
  expect(screen.queryByTestId("set-night-upload")).toBeNull();
  await fireEvent.click(screen.getByTestId("set-night"));
  await settled();
  expect(saved().night).toEqual({ hours: { from: "23:00", to: "07:00" }, rates: saved().day });
  await fireEvent.change(screen.getByTestId("set-night-hours-to"), { target: { value: "06:30" } });
  await settled();
  expect(saved().night?.hours).toEqual({ from: "23:00", to: "06:30" });
  const sent = backend.sent.length;
  await fireEvent.change(screen.getByTestId("set-night-hours-from"), { target: { value: "06:30" } });
  await settled();
  expect(backend.sent).toHaveLength(sent);
  expect(screen.getByText("The beginning and the end must differ.")).toBeTruthy();
});

test("a cap is typed as the command line takes it, and 80 % of it is told", async () => {
  const { saved } = await open();
  expect(screen.getByTestId("cap-sentence").textContent).toContain("nearly used up");
  expect(screen.getByTestId<HTMLInputElement>("set-cap-size").value).toBe("500");
  await type("set-cap-size", "1000");
  expect(saved().monthly_cap_mib).toBe(953_674);
  await fireEvent.click(screen.getByTestId("set-at-cap-stop"));
  await settled();
  expect(saved().at_cap).toBe("stop");
  await fireEvent.click(screen.getByTestId("set-cap"));
  await settled();
  expect(saved().monthly_cap_mib).toBeNull();
});

test("the automatic is switched here, and without a job it says that nothing is measured", async () => {
  const view = recordedView();
  const { backend, saved } = await open();
  expect(screen.queryByTestId("no-ping")).toBeNull();
  backend.show({ ...view, network: { ...view.network, samples: [], carried: null } });
  await settled();
  expect(screen.getByTestId("no-ping").textContent).toContain("while a job runs");
  expect(screen.getByTestId("carried-up-value").textContent).toContain("nothing carried");
  await fireEvent.click(screen.getByTestId("set-automatic"));
  await settled();
  expect(saved().automatic).toBe(false);
});
