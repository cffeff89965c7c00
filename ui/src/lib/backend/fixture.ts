import type { CardTile } from "../../bindings/CardTile";
import { DEFAULTS } from "../../bindings/defaults";
import type { JobView } from "../../bindings/JobView";
import type { Language } from "../../bindings/Language";
import type { SignalKind } from "../../bindings/SignalKind";
import type { Money } from "../../bindings/Money";
import type { ViewModel } from "../../bindings/ViewModel";

import { money, rate } from "../format";
import { INTRODUCTION_SCREENS } from "../pages";
import { textsOf } from "../texts";

const GIB = 2 ** 30;
/** Of an hour: 40 % of what it leaves, and what it leaves at the price of such cards. */
const NET_WHEN_RENTED = 452_400;
const NET_AT_USUAL = 1_083_500;
export const AT = Date.UTC(2026, 5, 1, 20, 0);

export function cny(micros: number): Money {
  return { micros, currency: "CNY" };
}

export function recordedJob(): JobView {
  return {
    lease: "0b5e8f1c-0000-4000-8000-000000000001",
    image: "pytorch-cuda:lite",
    renter: "quiet-heron",
    state: { state: "running" },
    state_since: AT - 600_000,
    since: AT - 660_000,
    running_ms: 600_000,
    price_per_hour: cny(1_500_000),
    earned: cny(225_000),
    account: {
      gross: cny(236_842),
      fee: cny(11_842),
      electricity: cny(25_000),
      net: cny(200_000),
      energy: { millijoules: 150_000_000, uncertain_millijoules: 0 },
      overhead_millijoules: 0,
    },
    device_name: "NVIDIA GeForce RTX 4090 (simulated)",
    restrained: false,
  };
}

export function recordedCard(): CardTile {
  return {
    card: {
      reading: {
        uuid: "GPU-00000000-0000-4000-8000-000000000000",
        name: "NVIDIA GeForce RTX 4090 (simulated)",
        index: 0,
        pci_bus_id: "00000000:01:00.0",
        asleep: false,
        vram_total_bytes: 24 * GIB,
        vram_used_bytes: 6 * GIB,
        temperature_celsius: 62,
        power_watts: 287.4,
        power_limits: { enforced_watts: 450, default_watts: 450, min_watts: 150, max_watts: 600 },
        utilisation_percent: 97,
        fan_percent: 45,
        sm_clock_mhz: 2520,
        memory_clock_mhz: 10501,
        hotspot_celsius: null,
        memory_temperature_celsius: null,
        throttle_reasons: null,
        pcie: null,
        ecc: null,
        compute_capability: null,
        display_active: null,
        energy_millijoules: 1_000_000,
        display_attached: true,
        processes: [],
      },
      verdict: { verdict: "earn" },
      asking: cny(1_500_000),
      for_hour: { hours: 1, net: cny(1_131_000), net_when_rented: cny(NET_WHEN_RENTED), net_at_usual: cny(NET_AT_USUAL) },
      for_night: {
        hours: 8,
        net: cny(8 * 1_131_000),
        net_when_rented: cny(8 * NET_WHEN_RENTED),
        net_at_usual: cny(8 * NET_AT_USUAL),
      },
      chosen_limit_watts: null,
      hour: {
        watts: 450,
        total_watts: 490,
        per_kwh_micros: 600_000,
        fee_basis_points: 500,
        floor: cny(309_474),
        gross: cny(1_500_000),
        fee: cny(75_000),
        electricity: cny(294_000),
        net: cny(1_131_000),
      },
      usual: {
        watts: 450,
        total_watts: 490,
        per_kwh_micros: 600_000,
        fee_basis_points: 500,
        floor: cny(309_474),
        gross: cny(1_450_000),
        fee: cny(72_500),
        electricity: cny(294_000),
        net: cny(1_083_500),
      },
      job: recordedJob(),
      waiting: null,
      demand: {
        requests_last_hour: 12,
        unserved_last_hour: 0,
        leases_last_day: 9,
        leases_last_week: 58,
        rented_percent: 40,
        median_price_per_hour: cny(1_450_000),
      },
      proving: false,
      sweep: null,
      sweet_spots: [],
    },
    sentence: "A job is running.",
    reasons: [],
    sweep: null,
    sweet_spots: [],
    demand: recordedDemand("en"),
  };
}

/** What the market says of the demand for the card. */
function recordedDemand(language: Language): string[] {
  const texts = textsOf(language);
  return [
    texts.say("demand-requests", { count: 12 }),
    texts.say("demand-leases", { week: 58, day: 9 }),
    texts.say("demand-rented", { percent: 40 }),
    texts.say("demand-price", { price: money(cny(1_450_000), language) }),
  ];
}

/** What the market holds for the owner. */
function recordedAccount(language: Language): string {
  const texts = textsOf(language);
  return texts.say("account-held-and-paid", { balance: money(cny(12_400_000), language), paid: money(cny(120_000_000), language) });
}

/** A job runs on one card. */
export function recordedView(): ViewModel {
  return {
    at: AT,
    language: "en",
    time_zone: null,
    state: "earning",
    sentence: "Earning: a job is running.",
    reason: null,
    next_change: null,
    earn_while_idle: true,
    choice: null,
    earn_now_ms: null,
    overrides: { snoozed_until: null, snoozed_for_game: null, last_job_until: null, earn_now: null },
    preset: "balanced",
    sensors: recordedSensors(),
    other_currency: null,
    restart_due: false,
    account: {
      balance: cny(12_400_000),
      paid_out: cny(120_000_000),
      payouts: [{ at: AT - 9 * 86_400_000, amount: cny(120_000_000), reference: "2026-11/17" }],
      sentence: recordedAccount("en"),
    },
    earnings: { today: cny(12_340_000), today_net: cny(10_210_000), all: cny(1_234_560_000) },
    today: null,
    cards: [recordedCard()],
    power: {
      can_be_set: true,
      sentence: "The power limit for renting can be set here.",
      command: null,
      chosen: { limit_percent: null, limit_watts: {} },
    },
    driver: { version: "570.124.06", cuda: 12_080 },
    versions: { engine: "28.3.2", kernel: "6.1.0-18-amd64" },
    network: {
      egress: "curated",
      day: { up_kbit: 20_000, down_kbit: 50_000 },
      night: { hours: { from: "23:00", to: "07:00" }, rates: { up_kbit: 40_000, down_kbit: 200_000 } },
      at_night: false,
      changes_at: AT + 3 * 3_600_000,
      automatic: true,
      mood: "holding",
      in_force: { up_kbit: 18_600, down_kbit: 46_000 },
      carried: { up_kbit: 1_200, down_kbit: 45_300 },
      samples: recordedSamples(),
      cap: {
        used_mib: 411_648,
        cap_mib: 512_000,
        used_percent: 80,
        is_near: true,
        is_reached: false,
        resets_at: AT + 29 * 86_400_000,
        sentence: "402.0 of 500.0 GB carried this month (80 %).",
      },
      sentence: "Jobs may use 20 Mbit/s up and 50 Mbit/s down, until your night begins at 23:00.",
      automatic_sentence:
        "Automatic: just below what your line bears, 18.6 Mbit/s up and 46 Mbit/s down.",
      measured: null,
    },
    pulls: [],
    lent_images: ["pytorch-cuda:full", "pytorch-cuda:lite"],
    tray: {
      status: "Earning: a job is running.",
      earn_while_idle: "Earn while idle",
      earn_while_idle_on: true,
      tooltip: "Nightjar\nEarning: a job is running.",
      snooze_menu: "Snooze",
      snooze: "Snooze for 1 hour",
      snooze_ms: 3_600_000,
      snoozed: false,
      snooze_tomorrow: "Snooze until tomorrow morning",
      snooze_tomorrow_ms: 36_000_000,
      snooze_game: "Snooze until the game ends",
      can_snooze_game: false,
      finish_job: "Finish this job, then stop",
      finish_job_ms: 43_200_000,
      can_finish_job: true,
      power_menu: "Power limit for renting",
      can_set_power: true,
      power: [],
      stop_job: "Stop this job",
      can_stop_job: true,
      today: "Today: CN¥12.34",
      open: "Open Nightjar",
      quit: "Quit",
    },
    settings: {
      ...structuredClone(DEFAULTS),
      introduced: INTRODUCTION_SCREENS,
      network: {
        day: { up_kbit: 20_000, down_kbit: 50_000 },
        night: { hours: { from: "23:00", to: "07:00" }, rates: { up_kbit: 40_000, down_kbit: 200_000 } },
        automatic: true,
        monthly_cap_mib: 476_837,
        at_cap: "finish",
      },
    },
    identity: {
      app_version: "0.1.0",
      coordinator: "https://market.example",
      host_key: "5f0a".repeat(16),
    },
  };
}

/** What an address of the development server asks for: `?lang=zh-CN&theme=light&first=0`. */
export function developerView(wanted: URLSearchParams): ViewModel {
  const view = recordedView();
  const theme = wanted.get("theme");
  if (view.settings) {
    if (theme === "dark" || theme === "light") view.settings.theme = theme;
    view.settings.introduced = Number(wanted.get("first") ?? view.settings.introduced);
    view.settings.schedule.windows = [{ days: ["mon", "tue", "wed", "thu", "fri"], from: "22:00", to: "08:00" }];
  }
  if (wanted.has("first")) {
    view.identity.coordinator = null;
    // A PC in no market hears nothing of one.
    for (const tile of view.cards) tile.card.demand = null;
  }
  return inLanguage(view, wanted.get("lang") === "zh-CN" ? "zh-CN" : "en");
}

/** Its sentences as the host would say them in this language. */
function inLanguage(view: ViewModel, language: Language): ViewModel {
  const texts = textsOf(language);
  const { network, tray } = view;
  const rates = (of: { up_kbit: number; down_kbit: number }) => ({
    up: rate(of.up_kbit, language),
    down: rate(of.down_kbit, language),
  });
  return {
    ...view,
    language,
    sentence: texts.say("state-earning"),
    account: view.account && { ...view.account, sentence: recordedAccount(language) },
    sensors: view.sensors.map((line) => ({
      ...line,
      what: texts.say(SIGNALS[line.sign.kind] ?? ""),
      sentence:
        line.sign.standing.kind === "unavailable"
          ? texts.say("standing-unavailable", { detail: line.sign.standing.detail })
          : texts.say("standing-quiet"),
    })),
    cards: view.cards.map((tile) => ({ ...tile, sentence: texts.say("lease-running"), demand: recordedDemand(language) })),
    power: { ...view.power, sentence: texts.say("power-available") },
    network: {
      ...network,
      sentence: texts.say("network-limits-day", { ...rates(network.day), time: "23:00" }),
      automatic_sentence: texts.say("network-automatic-holding", rates(network.in_force)),
      cap: network.cap && {
        ...network.cap,
        sentence: texts.say("network-used-of", { used: "402.0", cap: "500.0", percent: 80 }),
      },
    },
    tray: { ...tray, snooze_tomorrow: texts.say("tray-snooze-tomorrow") },
  };
}

/** The names of the recorded sensors. */
const SIGNALS: Partial<Record<SignalKind, string>> = {
  game: "signal-game",
  full_screen: "signal-full-screen",
  idle_inhibitor: "signal-inhibitor",
  other_account: "signal-other-account",
  controller: "signal-controller",
  foreign_cpu: "signal-cpu",
  on_battery: "signal-battery",
};

/** Two minutes of a line that gives way once. */
function recordedSamples(): ViewModel["network"]["samples"] {
  return Array.from({ length: 120 }, (_, index) => {
    const added_us = Math.round(900 + 700 * Math.abs(Math.sin(index / 5)) + (index % 60 === 40 ? 6_000 : 0));
    return {
      at: AT - (119 - index) * 1_000,
      rtt_us: 14_300 + added_us,
      added_us,
      rates: { up_kbit: 18_600, down_kbit: 46_000 },
    };
  });
}

function recordedSensors(): ViewModel["sensors"] {
  const quiet = (kind: SignalKind, source: string, what: string) => ({
    sign: { kind, source, standing: { kind: "quiet" } as const },
    what,
    sentence: "nothing seen",
  });
  return [
    quiet("game", "gamemode", "Games"),
    quiet("full_screen", "x11", "Full screen"),
    quiet("idle_inhibitor", "logind", "Films and calls"),
    quiet("other_account", "logind", "Other accounts at this PC"),
    quiet("controller", "evdev", "Controllers"),
    quiet("foreign_cpu", "proc", "Load of the processor"),
    {
      sign: { kind: "on_battery", source: "upower", standing: { kind: "unavailable", detail: "no battery" } },
      what: "Battery",
      sentence: "cannot be seen here: no battery",
    },
  ];
}
