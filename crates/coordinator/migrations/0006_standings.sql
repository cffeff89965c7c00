-- What is thought of each card: JSON of core::standing::CardStanding. `out_until` is taken from it, to be looked for.
CREATE TABLE card_standings (
    host_id   TEXT    NOT NULL REFERENCES hosts (id),
    gpu       TEXT    NOT NULL,
    standing  TEXT    NOT NULL,
    out_until INTEGER NOT NULL,
    PRIMARY KEY (host_id, gpu)
);
CREATE INDEX card_standings_by_end ON card_standings (out_until);
-- What the card of the placement in force was asked.
ALTER TABLE leases ADD COLUMN nonce TEXT NOT NULL DEFAULT '';
