-- What a transfer is follows from what else names it: a usage record, a payout, or neither (a payment in).
ALTER TABLE transfers DROP COLUMN kind;

-- Payments to hosts' owners. One reference is paid once.
CREATE TABLE payouts (
    transfer  INTEGER NOT NULL PRIMARY KEY REFERENCES transfers (id),
    host      TEXT    NOT NULL REFERENCES hosts (id),
    reference TEXT    NOT NULL,
    UNIQUE (host, reference)
);
