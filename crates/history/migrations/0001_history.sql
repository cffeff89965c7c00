-- What the cards did. Moments are milliseconds since 1970 UTC and begin a step of their level (core::history::LEVELS).
-- Of each quantity: seconds for which it was read, sum of value times seconds, least, most.
CREATE TABLE cards (
    card INTEGER PRIMARY KEY,
    uuid TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL
) STRICT;

CREATE TABLE history (
    level INTEGER NOT NULL,
    card INTEGER NOT NULL REFERENCES cards (card),
    at INTEGER NOT NULL,
    temperature_weight REAL, temperature_sum REAL, temperature_min REAL, temperature_max REAL,
    power_weight REAL, power_sum REAL, power_min REAL, power_max REAL,
    utilisation_weight REAL, utilisation_sum REAL, utilisation_min REAL, utilisation_max REAL,
    vram_weight REAL, vram_sum REAL, vram_min REAL, vram_max REAL,
    limit_weight REAL, limit_sum REAL, limit_min REAL, limit_max REAL,
    PRIMARY KEY (level, card, at)
) STRICT, WITHOUT ROWID;
