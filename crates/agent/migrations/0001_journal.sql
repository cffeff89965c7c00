-- What must outlive a crash. Moments are milliseconds since 1970 UTC, money is in micro-units.
CREATE TABLE leases (
    lease TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    terms TEXT NOT NULL,             -- JSON of core::lease::LeaseTerms
    state TEXT NOT NULL,             -- JSON of core::lease::LeaseState
    is_over INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (lease, epoch)
) STRICT;
CREATE INDEX leases_open ON leases (is_over) WHERE is_over = 0;

CREATE TABLE usage (
    lease TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    running_ms_total INTEGER NOT NULL,
    millijoules INTEGER NOT NULL,
    host_micros INTEGER NOT NULL,    -- the host's part of what this record is worth
    currency TEXT NOT NULL,
    is_acknowledged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (lease, epoch, sequence),
    FOREIGN KEY (lease, epoch) REFERENCES leases (lease, epoch)
) STRICT;
CREATE INDEX usage_open ON usage (is_acknowledged) WHERE is_acknowledged = 0;
CREATE INDEX usage_by_time ON usage (to_ms);

CREATE TABLE verdicts (
    id INTEGER PRIMARY KEY,
    gpu TEXT NOT NULL,
    at INTEGER NOT NULL,
    verdict TEXT NOT NULL            -- JSON of core::policy::Verdict
) STRICT;
CREATE INDEX verdicts_by_time ON verdicts (at);

CREATE TABLE give_backs (
    id INTEGER PRIMARY KEY,
    lease TEXT NOT NULL,
    at INTEGER NOT NULL,
    took_us INTEGER NOT NULL         -- from the decision to the frozen container
) STRICT;
