-- The log of the night: what `core::night` makes its accounts from. Moments are milliseconds since 1970 UTC.

-- Every step of every lease; `leases` holds only the last.
CREATE TABLE lease_steps (
    id INTEGER PRIMARY KEY,
    lease TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    gpu TEXT NOT NULL,
    at INTEGER NOT NULL,
    state TEXT NOT NULL              -- JSON of core::lease::LeaseState
) STRICT;
CREATE INDEX lease_steps_by_time ON lease_steps (at);
CREATE INDEX lease_steps_by_lease ON lease_steps (lease, epoch, at);
-- Of leases from before this table only the last step is known.
INSERT INTO lease_steps (lease, epoch, gpu, at, state)
    SELECT lease, epoch, json_extract(terms, '$.gpu'), updated_at, state FROM leases;
CREATE INDEX leases_by_time ON leases (updated_at);

-- What the market says of a card that waits.
CREATE TABLE market_words (
    id INTEGER PRIMARY KEY,
    gpu TEXT NOT NULL,
    at INTEGER NOT NULL,
    why TEXT                         -- JSON of core::market::WaitReason; NULL when it says nothing
) STRICT;
CREATE INDEX market_words_by_time ON market_words (at);
CREATE INDEX market_words_by_card ON market_words (gpu, at);

-- When the program ran. `seen_at` is written each minute, so that a crash's end is known within one.
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    ended_at INTEGER                 -- NULL when it runs, or went down without an end
) STRICT;
CREATE INDEX runs_by_time ON runs (seen_at);

CREATE TABLE sleeps (
    id INTEGER PRIMARY KEY,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sleeps_by_time ON sleeps (to_ms);

CREATE INDEX verdicts_by_card ON verdicts (gpu, at);

ALTER TABLE give_backs ADD COLUMN input_ms INTEGER;   -- from the input to the frozen container
CREATE INDEX give_backs_by_time ON give_backs (at);

-- The tenant's memory was back, as the driver says.
CREATE TABLE vram_frees (
    id INTEGER PRIMARY KEY,
    lease TEXT NOT NULL,
    at INTEGER NOT NULL,
    took_ms INTEGER NOT NULL,        -- from the decision to end the tenant
    mode TEXT NOT NULL               -- JSON of core::settings::GiveBack
) STRICT;
CREATE INDEX vram_frees_by_time ON vram_frees (at);
