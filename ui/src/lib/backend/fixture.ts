import type { CardTile } from "../../bindings/CardTile";
import type { JobView } from "../../bindings/JobView";
import type { Money } from "../../bindings/Money";
import type { ViewModel } from "../../bindings/ViewModel";

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
      job: recordedJob(),
      waiting: null,
    },
    sentence: "A job is running.",
    reasons: [],
  };
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
    overrides: { snoozed_until: null, snoozed_for_game: null, last_job_until: null, earn_now: null },
    preset: "balanced",
    sensors: [],
    earnings: { today: cny(12_340_000), all: cny(1_234_560_000) },
    today: null,
    cards: [recordedCard()],
    power: {
      can_be_set: true,
      sentence: "The power limit for renting can be set here.",
      command: null,
      chosen: { limit_percent: null, limit_watts: {} },
    },
    tray: {
      status: "Earning: a job is running.",
      earn_while_idle: "Earn while idle",
      earn_while_idle_on: true,
      snooze: "Snooze for 1 hour",
      snoozed: false,
      stop_job: "Stop this job",
      can_stop_job: true,
      today: "Today: 12.34 CNY",
      open: "Open Nightjar",
      quit: "Quit",
    },
    identity: {
      app_version: "0.1.0",
      coordinator: "https://market.example",
      host_key: "5f0a".repeat(16),
    },
  };
}
