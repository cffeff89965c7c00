-- Times are milliseconds since 1970 UTC; amounts are micro-units of the one currency of this market (`meta.currency`).

CREATE TABLE meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE hosts (
    id            TEXT    NOT NULL PRIMARY KEY,
    host_key      TEXT    NOT NULL UNIQUE,
    enrolled_at   INTEGER NOT NULL,
    -- Written at most once a minute while the host is connected: only silences of minutes are judged by it.
    last_heard_at INTEGER NOT NULL,
    app_version   TEXT    NOT NULL DEFAULT ''
);

CREATE TABLE pairing_codes (
    code_hash  TEXT    NOT NULL PRIMARY KEY,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at    INTEGER,
    used_by    TEXT REFERENCES hosts (id)
);

-- `id` is the pseudonym that hosts see; `name` is only the operator's.
CREATE TABLE renters (
    id         TEXT    NOT NULL PRIMARY KEY,
    name       TEXT    NOT NULL UNIQUE,
    token_hash TEXT    NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
);

CREATE TABLE leases (
    id               TEXT    NOT NULL PRIMARY KEY,
    renter           TEXT    NOT NULL REFERENCES renters (id),
    image            TEXT    NOT NULL,
    requirements     TEXT    NOT NULL,
    renter_key       TEXT    NOT NULL,
    ssh_public_key   TEXT    NOT NULL,
    created_at       INTEGER NOT NULL,
    -- The placement in force.
    epoch            INTEGER NOT NULL,
    host_id          TEXT    NOT NULL REFERENCES hosts (id),
    gpu              TEXT    NOT NULL,
    region           TEXT    NOT NULL,
    card             TEXT    NOT NULL,
    fee_basis_points INTEGER NOT NULL,
    offered_at       INTEGER NOT NULL,
    started_at       INTEGER,
    access           TEXT,
    last_sequence    INTEGER NOT NULL,
    running_ms_total INTEGER NOT NULL,
    metered_to       INTEGER NOT NULL,
    -- Of the lease as a whole.
    state            TEXT    NOT NULL,
    state_since      INTEGER NOT NULL,
    closed_at        INTEGER,
    over             INTEGER NOT NULL,
    running_ms       INTEGER NOT NULL,
    charged_micros   INTEGER NOT NULL
);

-- However many requests come at once: a card is promised to one lease.
CREATE UNIQUE INDEX leases_one_a_card ON leases (host_id, gpu) WHERE over = 0;
CREATE INDEX leases_of_renter ON leases (renter, created_at);

CREATE TABLE placements (
    lease        TEXT    NOT NULL REFERENCES leases (id),
    epoch        INTEGER NOT NULL,
    host_id      TEXT    NOT NULL REFERENCES hosts (id),
    gpu          TEXT    NOT NULL,
    price_micros INTEGER NOT NULL,
    offered_at   INTEGER NOT NULL,
    PRIMARY KEY (lease, epoch)
);

-- The key is what keeps a record from being applied twice.
CREATE TABLE usage_records (
    lease            TEXT    NOT NULL,
    epoch            INTEGER NOT NULL,
    sequence         INTEGER NOT NULL,
    from_at          INTEGER NOT NULL,
    to_at            INTEGER NOT NULL,
    running_ms_total INTEGER NOT NULL,
    millijoules      INTEGER NOT NULL,
    signature        TEXT    NOT NULL,
    received_at      INTEGER NOT NULL,
    PRIMARY KEY (lease, epoch, sequence),
    FOREIGN KEY (lease, epoch) REFERENCES placements (lease, epoch)
);

CREATE TABLE transfers (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    at       INTEGER NOT NULL,
    kind     TEXT    NOT NULL CHECK (kind IN ('deposit', 'usage')),
    lease    TEXT,
    epoch    INTEGER,
    sequence INTEGER,
    UNIQUE (lease, epoch, sequence),
    FOREIGN KEY (lease, epoch, sequence) REFERENCES usage_records (lease, epoch, sequence)
);

CREATE TABLE legs (
    transfer     INTEGER NOT NULL REFERENCES transfers (id),
    position     INTEGER NOT NULL,
    account_kind TEXT    NOT NULL CHECK (account_kind IN ('world', 'renter', 'host', 'fees')),
    account_id   TEXT    NOT NULL,
    micros       INTEGER NOT NULL,
    PRIMARY KEY (transfer, position)
);

-- Kept in the same transaction as the legs, so that a balance is one row; `ledger` checks it against their sum.
CREATE TABLE balances (
    account_kind TEXT    NOT NULL,
    account_id   TEXT    NOT NULL,
    -- A sum that does not fit would silently become a floating-point number.
    micros       INTEGER NOT NULL CHECK (typeof(micros) = 'integer'),
    PRIMARY KEY (account_kind, account_id)
);
