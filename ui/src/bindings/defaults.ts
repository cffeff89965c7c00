// Written by `cargo xtask bindings` from the Rust types.
import type { Settings } from "./Settings";

export const DEFAULTS: Settings = {
  "accepted_versions": [],
  "cards": {},
  "cpu_busy_percent": 50,
  "disk_reserve_mib": 10240,
  "earn_while_idle": true,
  "egress": "curated",
  "friendly_grace_ms": 10000,
  "frozen_at_most_ms": 900000,
  "games": [],
  "give_back": "instant",
  "gpu_busy_percent": 20,
  "gpu_busy_vram_mib": 512,
  "gvisor": true,
  "heat": {
    "cool_at_least_ms": 20000,
    "quiet_hours": [],
    "resume_below_kelvin": 8,
    "target_celsius": 81,
    "trips_per_hour": 3
  },
  "idle_after_ms": 600000,
  "ignored_controllers": [],
  "images": {
    "consents": [
      "interactive"
    ],
    "quota_gib": 60,
    "refused": []
  },
  "introduced": 0,
  "language": null,
  "limits": {
    "cpu_cores": 2,
    "disk_mib": 20480,
    "memory_mib": 8192,
    "pids": 2048,
    "shm_mib": 1024
  },
  "locked_idle_after_ms": 15000,
  "log_level": "info",
  "metrics_port": null,
  "miners": "tell",
  "network": {
    "at_cap": "finish",
    "automatic": false,
    "day": {
      "down_kbit": 50000,
      "up_kbit": 20000
    },
    "monthly_cap_mib": null,
    "night": null
  },
  "notices": {
    "arrived": true,
    "ended": true,
    "frozen": true,
    "resumed": true,
    "trouble": true,
    "weekly": true
  },
  "power": {
    "limit_percent": null,
    "limit_watts": {}
  },
  "price_per_hour": {
    "currency": "CNY",
    "micros": 1500000
  },
  "region": "unknown",
  "resume_after_ms": 180000,
  "root_inside": false,
  "schedule": {
    "even_if_here": [],
    "exceptions": [],
    "only_below_per_kwh_micros": null,
    "windows": []
  },
  "sharing": {
    "cpu_percent": 25,
    "power_limit_percent": 60
  },
  "signals": {
    "controller": {
      "grace_ms": 0,
      "linger_ms": 120000,
      "on": true
    },
    "foreign_cpu": {
      "grace_ms": 15000,
      "linger_ms": 30000,
      "on": true
    },
    "full_screen": {
      "grace_ms": 0,
      "linger_ms": 10000,
      "on": true
    },
    "game": {
      "grace_ms": 0,
      "linger_ms": 60000,
      "on": true
    },
    "idle_inhibitor": {
      "grace_ms": 5000,
      "linger_ms": 5000,
      "on": true
    },
    "metered_network": {
      "grace_ms": 0,
      "linger_ms": 5000,
      "on": true
    },
    "on_battery": {
      "grace_ms": 0,
      "linger_ms": 5000,
      "on": true
    },
    "other_account": {
      "grace_ms": 0,
      "linger_ms": 15000,
      "on": true
    },
    "remote_session": {
      "grace_ms": 0,
      "linger_ms": 10000,
      "on": true
    }
  },
  "ssh_counts": false,
  "tariff": {
    "currency": "CNY",
    "overhead_watts": 0,
    "price_per_kwh_micros": 0,
    "windows": []
  },
  "temperature_ceiling_celsius": 83,
  "theme": "system",
  "version": 1,
  "volume": {
    "keep_ms": 1209600000,
    "quota_mib": 51200
  },
  "volumes_most_mib": 204800,
  "vram_reserve_mib": 512,
  "warning_ms": 60000,
  "without_presence": false
};

export const BOUNDS: Record<string, [number, number]> = {
  "cpu_busy_percent": [
    5,
    100
  ],
  "disk_reserve_mib": [
    0,
    10485760
  ],
  "friendly_grace_ms": [
    100,
    120000
  ],
  "frozen_at_most_ms": [
    1000,
    86400000
  ],
  "gpu_busy_percent": [
    1,
    100
  ],
  "gpu_busy_vram_mib": [
    1,
    1048576
  ],
  "heat.cool_at_least_ms": [
    1000,
    600000
  ],
  "heat.quiet_hours": [
    0,
    16
  ],
  "heat.quiet_hours.from_minute": [
    0,
    1439
  ],
  "heat.quiet_hours.limit_percent": [
    10,
    100
  ],
  "heat.quiet_hours.to_minute": [
    0,
    1439
  ],
  "heat.resume_below_kelvin": [
    2,
    30
  ],
  "heat.target_celsius": [
    45,
    93
  ],
  "heat.trips_per_hour": [
    1,
    60
  ],
  "idle_after_ms": [
    1000,
    86400000
  ],
  "images.quota_gib": [
    1,
    16384
  ],
  "introduced": [
    0,
    3
  ],
  "limits.cpu_cores": [
    1,
    1024
  ],
  "limits.disk_mib": [
    64,
    16777216
  ],
  "limits.memory_mib": [
    256,
    16777216
  ],
  "limits.pids": [
    64,
    65536
  ],
  "limits.shm_mib": [
    16,
    1048576
  ],
  "locked_idle_after_ms": [
    1000,
    86400000
  ],
  "metrics_port": [
    1024,
    65535
  ],
  "network.day.down_kbit": [
    64,
    10000000
  ],
  "network.day.up_kbit": [
    64,
    10000000
  ],
  "network.monthly_cap_mib": [
    100,
    1073741824
  ],
  "network.night.rates.down_kbit": [
    64,
    10000000
  ],
  "network.night.rates.up_kbit": [
    64,
    10000000
  ],
  "price_per_hour": [
    0,
    1000000000000
  ],
  "resume_after_ms": [
    1000,
    86400000
  ],
  "sharing.cpu_percent": [
    1,
    100
  ],
  "sharing.power_limit_percent": [
    1,
    100
  ],
  "signals.controller": [
    0,
    3600000
  ],
  "signals.foreign_cpu": [
    0,
    3600000
  ],
  "signals.full_screen": [
    0,
    3600000
  ],
  "signals.game": [
    0,
    3600000
  ],
  "signals.idle_inhibitor": [
    0,
    3600000
  ],
  "signals.metered_network": [
    0,
    3600000
  ],
  "signals.on_battery": [
    0,
    3600000
  ],
  "signals.other_account": [
    0,
    3600000
  ],
  "signals.remote_session": [
    0,
    3600000
  ],
  "tariff.overhead_watts": [
    0,
    2000
  ],
  "tariff.price_per_kwh": [
    0,
    1000000000
  ],
  "tariff.windows": [
    0,
    48
  ],
  "temperature_ceiling_celsius": [
    50,
    95
  ],
  "volume.keep_ms": [
    1000,
    31536000000
  ],
  "volume.quota_mib": [
    64,
    16777216
  ],
  "volumes_most_mib": [
    64,
    268435456
  ],
  "vram_reserve_mib": [
    0,
    1048576
  ],
  "warning_ms": [
    1000,
    3600000
  ]
};
