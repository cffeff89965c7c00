import type { Question } from "../../bindings/Question";
import type { Reply } from "../../bindings/Reply";
import type { Spent } from "../../bindings/Spent";
import type { Takings } from "../../bindings/Takings";
import type { ViewModel } from "../../bindings/ViewModel";

import { duration } from "../format";
import { textsOf } from "../texts";
import { AT, cny, recordedJob } from "./fixture";

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

/** A swinging line for each figure of the card. */
function history(question: Extract<Question, { question: "history" }>, view: ViewModel): Reply {
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

/** Three jobs and their sums. */
function books(question: Extract<Question, { question: "books" }>, view: ViewModel): Reply {
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
      refused: [],
      checks: { checks: 0, electricity: takings(0).electricity },
    },
  };
}

/** A month of nights, every fifth without a job. */
function nights(question: Extract<Question, { question: "nights" }>, view: ViewModel): Reply {
  const noon = view.at - (view.at % DAY_MS) - 31 * DAY_MS * question.months_ago - 8 * 3_600_000;
  const nights = Array.from({ length: 30 }, (_, index) => ({
    since: noon - (29 - index) * DAY_MS,
    until: noon - (28 - index) * DAY_MS,
    takings: takings(index % 5 === 0 ? 0 : 3 + ((index * 7) % 6)),
  }));
  return { reply: "nights", data: nights };
}

/** A night in five parts. */
function night(question: Extract<Question, { question: "night" }>, view: ViewModel): Reply {
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

/** One check of each standing. */
function checks(view: ViewModel): Reply {
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

/** Images that are here, can be fetched and are made here. */
function images(view: ViewModel): Reply {
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

/** A job from its preparation on. */
function steps(view: ViewModel): Reply {
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

/** One image from a registry. */
function pulledImages(): Reply {
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
}

/** Two volumes, of which one is in use; without the one that was wiped. */
function volumes(view: ViewModel, wiped: string | null): Reply {
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
  return { reply: "volumes", data: volumes.filter((one) => one.name !== wiped) };
}

/** What a running app would answer, of about the same size. */
export function recordedReply(question: Question, view: ViewModel): Reply {
  switch (question.question) {
    case "history":
      return history(question, view);
    case "books":
      return books(question, view);
    case "nights":
      return nights(question, view);
    case "night":
      return night(question, view);
    case "checks":
      return checks(view);
    case "images":
      return images(view);
    case "steps":
      return steps(view);
    case "pulled_images":
    case "pull_image":
    case "free_image":
      return pulledImages();
    case "volumes":
      return volumes(view, null);
    case "wipe_volume":
      return volumes(view, question.name);
    case "repair":
      return { reply: "repaired", data: { outcome: "done", output: "docker is started, and starts with the system." } };
    case "components":
      return { reply: "components", data: [{ name: "svelte", version: "5.57.3", licence: "MIT" }] };
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
