-- Why a lease is frozen or was ended, as its host tells it: a name of core::parting::Cause.
ALTER TABLE leases ADD COLUMN cause TEXT;
-- What the renter wants when the owner takes the card: a name of core::market::AfterInterruption.
ALTER TABLE leases ADD COLUMN after_interruption TEXT NOT NULL DEFAULT 'end';
-- The lease that this one goes on for.
ALTER TABLE leases ADD COLUMN continues TEXT REFERENCES leases (id);

-- Leases that were interrupted and are to go on. A row stays when it has its successor, so that the two name each other.
CREATE TABLE continuations (
    lease      TEXT    NOT NULL PRIMARY KEY REFERENCES leases (id),
    since      INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    -- Not tried before: a host that has just said no is not asked at once again.
    not_before INTEGER NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    successor  TEXT REFERENCES leases (id)
);
CREATE INDEX continuations_that_wait ON continuations (not_before) WHERE successor IS NULL;
