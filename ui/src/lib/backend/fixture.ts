import type { CardTile } from "../../bindings/CardTile";
import { DEFAULTS } from "../../bindings/defaults";
import type { JobView } from "../../bindings/JobView";
import type { Language } from "../../bindings/Language";
import type { Question } from "../../bindings/Question";
import type { Reply } from "../../bindings/Reply";
import type { SignalKind } from "../../bindings/SignalKind";
import type { Spent } from "../../bindings/Spent";
import type { Takings } from "../../bindings/Takings";
import type { Money } from "../../bindings/Money";
import type { ViewModel } from "../../bindings/ViewModel";

import { duration, money, rate } from "../format";
import { INTRODUCTION_SCREENS } from "../pages";
import { textsOf } from "../texts";

const GIB = 2 ** 30;
const AT = Date.UTC(2026, 5, 1, 20, 0);

function cny(micros: number): Money {
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
    quiet("controller", "evdev", "Controllers"),
    quiet("foreign_cpu", "proc", "Load of the processor"),
    {
      sign: { kind: "on_battery", source: "upower", standing: { kind: "unavailable", detail: "no battery" } },
      what: "Battery",
      sentence: "cannot be seen here: no battery",
    },
  ];
}

function takings(hours: number): Takings {
  return {
    gross: cny(Math.round(hours * 1_500_000)),
    fee: cny(Math.round(hours * 75_000)),
    electricity: cny(Math.round(hours * 294_000)),
    net: cny(Math.round(hours * 1_500_000) - Math.round(hours * 75_000) - Math.round(hours * 294_000)),
    running_ms: hours * 3_600_000,
  };
}

const DAY_MS = 86_400_000;
const SPANS = { today: 6.5, week: 38, month: 151, all: 804 } as const;
const GPU = "GPU-00000000-0000-4000-8000-000000000000";

/** What a running app would answer, of about the same size. */
export function recordedReply(question: Question, view: ViewModel): Reply {
  switch (question.question) {
    case "history": {
      const span_ms = Math.max(1_000, Math.ceil(question.since_ms / question.points));
      const points = Array.from({ length: Math.min(question.points, 400) }, (_, index, count = 400) => {
        const swing = Math.sin(index / 9) * 8 + Math.sin(index / 2.3) * 3;
        const spread = (mean: number) => ({ min: mean - 3, mean, max: mean + 3 });
        return {
          at: view.at - (count - index) * span_ms,
          temperature_celsius: spread(60 + swing),
          power_watts: spread(280 + swing * 9),
          utilisation_percent: spread(85 + swing),
          vram_used_mib: spread(6_100 + swing * 30),
          power_limit_watts: spread(450),
        };
      });
      return { reply: "history", data: [{ uuid: GPU, name: "NVIDIA GeForce RTX 4090 (simulated)", span_ms, points }] };
    }
    case "books": {
      const hours = SPANS[question.span];
      const jobs = [0, 1, 2].map((index) => ({
        lease: `0b5e8f1c-0000-4000-8000-00000000000${index}`,
        image: index === 1 ? "pytorch-cuda:full" : "pytorch-cuda:lite",
        renter: ["quiet-heron", "grey-owl", "small-wren"][index] ?? "",
        gpu: GPU,
        from: view.at - (index + 1) * 9 * 3_600_000,
        to: view.at - (index + 1) * 9 * 3_600_000 + 5_400_000,
        takings: takings(1.5),
      }));
      return {
        reply: "books",
        data: {
          since: view.at - hours * 2 * 3_600_000,
          until: view.at,
          total: takings(hours),
          cards: [{ gpu: GPU, takings: takings(hours) }],
          jobs,
          jobs_left_out: 0,
          jobs_in_other_currencies: 0,
          checks: { checks: 0, electricity: takings(0).electricity },
        },
      };
    }
    case "nights": {
      const noon = view.at - (view.at % DAY_MS) - 31 * DAY_MS * question.months_ago - 8 * 3_600_000;
      const nights = Array.from({ length: 30 }, (_, index) => ({
        since: noon - (29 - index) * DAY_MS,
        until: noon - (28 - index) * DAY_MS,
        takings: takings(index % 5 === 0 ? 0 : 3 + ((index * 7) % 6)),
      }));
      return { reply: "nights", data: nights };
    }
    case "night": {
      const texts = textsOf(view.language);
      const time = (hours: number) => duration(hours * 3_600_000, texts);
      const part = (hours: number, what: string) => texts.say("night-part", { time: time(hours), what });
      const said = {
        here: texts.say("night-user-here"),
        game: texts.say("night-game"),
        asleep: texts.say("night-asleep"),
        earned: texts.say("night-earned"),
        waiting: texts.say("night-waiting"),
      };
      const parts: [Spent, number, string, string][] = [
        [{ spent: "blocked", by: "user_here" }, 7, said.here, part(7, said.here)],
        [{ spent: "waiting", why: null }, 2, said.waiting, texts.say("night-waited-for", { time: time(2) })],
        [{ spent: "earned" }, 9, said.earned, texts.say("night-earned-for", { time: time(9) })],
        [{ spent: "blocked", by: "game_running" }, 2, said.game, part(2, said.game)],
        [{ spent: "not_running", why: "asleep" }, 4, said.asleep, part(4, said.asleep)],
      ];
      const comma = texts.say("night-comma");
      let from = question.since;
      const timeline = parts.map(([spent, hours, text]) => {
        const entry = { from, to: from + hours * 3_600_000, ...spent, text };
        from = entry.to;
        return entry;
      });
      return {
        reply: "night",
        data: {
          summary: {
            since: question.since,
            until: question.until,
            sentence: [2, 0, 4].map((index) => parts[index]?.[3]).join(comma),
            parts: parts.map(([spent, hours, , text]) => ({ spent, ms: hours * 3_600_000, text })),
          },
          cards: [],
          timeline,
          timeline_is_cut: false,
          give_backs: [],
        },
      };
    }
    case "checks": {
      const texts = textsOf(view.language);
      return {
        reply: "checks",
        data: {
          lending: { standing: "bad", sentence: texts.say("lending-bad", { list: texts.say("check-engine") }) },
          checks: [
            {
              id: "driver",
              standing: "good",
              title: texts.say("check-driver"),
              sentence: texts.say("check-driver-good", { version: "550.54" }),
              command: null,
              repair: null,
              accepts: null,
            },
            { id: "engine", standing: "bad", title: texts.say("check-engine"), sentence: "connection refused", command: "sudo systemctl enable --now docker", repair: "docker", accepts: null },
            { id: "helper", standing: "optional", title: texts.say("check-helper"), sentence: texts.say("power-not-installed"), command: "sudo systemctl enable --now nightjar-helper.socket", repair: "helper_socket", accepts: null },
          ],
        },
      };
    }
    case "repair":
      return { reply: "repaired", data: { outcome: "done", output: "docker is started, and starts with the system." } };
    case "images": {
      const texts = textsOf(view.language);
      return {
        reply: "images",
        data: [
          { name: "pytorch-cuda:full", title: texts.say("image-pytorch-cuda-full"), size_mib: 7_700, licence: "BSD-3-Clause", task_kinds: ["interactive", "training"], is_present: true, can_be_pulled: true, is_needed: false },
          { name: "llm-inference:full", title: texts.say("image-llm-inference-full"), size_mib: 2_900, licence: "MIT", task_kinds: ["inference"], is_present: false, can_be_pulled: true, is_needed: false },
          { name: "pytorch-cuda:lite", title: texts.say("image-pytorch-cuda-lite"), size_mib: 540, licence: "BSD-3-Clause", task_kinds: ["interactive"], is_present: true, can_be_pulled: false, is_needed: false },
        ],
      };
    }
    case "steps": {
      const texts = textsOf(view.language);
      const step = (minutes: number, sentence: string) => ({
        at: view.at - minutes * 60_000,
        lease: recordedJob().lease,
        image: "pytorch-cuda:lite",
        renter: "quiet-heron",
        sentence,
      });
      return {
        reply: "steps",
        data: [
          step(10, texts.say("lease-running")),
          step(16, texts.say("lease-yielded")),
          step(48, texts.say("lease-running")),
          step(49, texts.say("lease-ready")),
          step(51, texts.say("lease-preparing")),
        ],
      };
    }
    case "pulled_images":
    case "pull_image":
    case "free_image":
      return {
        reply: "pulled_images",
        data: {
          images: [
            {
              name: "pytorch-cuda:full",
              reference: "registry.example/pytorch-cuda@sha256:0123",
              size_bytes: 8_100_000_000,
              last_used_at: AT - 86_400_000,
              in_use: false,
              is_needed: false,
            },
          ],
          used_bytes: 8_100_000_000,
          quota_bytes: 64_424_509_440,
        },
      };
    case "volumes":
    case "wipe_volume": {
      const volume = (renter: string, days: number, in_use: boolean) => ({
        name: ["nightjar", renter].join("-"),
        renter,
        root_inside: false,
        in_use,
        used_at: view.at - days * DAY_MS,
        expires_at: in_use ? null : view.at + (14 - days) * DAY_MS,
        quota_mib: 51_200,
        footing: { has_quota: true, is_encrypted: in_use, was_mended: false },
      });
      const volumes = [volume("quiet-heron", 0, true), volume("grey-owl", 9, false)];
      const wiped = question.question === "wipe_volume" ? question.name : null;
      return { reply: "volumes", data: volumes.filter((one) => one.name !== wiped) };
    }
    case "report":
      return { reply: "report", data: { text: "Nightjar 0.1.0 on linux x86_64\n[ok] Graphics driver\n" } };
    case "save_books":
    case "save_report":
      return { reply: "saved", data: { path: "Downloads/nightjar.txt" } };
    case "invitation":
      return { reply: "invitation", data: null };
    case "desktop":
      return { reply: "desktop", data: { has_tray: true, starts_at_login: false, opens_links: null } };
    case "set_autostart":
    case "set_links":
    case "quit":
      return { reply: "done" };
  }
}
