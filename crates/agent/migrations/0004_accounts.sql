-- What each lease brought and cost its host. Money is in micro-units, energy in millijoules of the card (and of the rest
-- of the PC, by the owner's word).
CREATE TABLE accounts (
    lease TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    at INTEGER NOT NULL,
    gross_micros INTEGER NOT NULL,
    fee_micros INTEGER NOT NULL,
    electricity_micros INTEGER NOT NULL,
    net_micros INTEGER NOT NULL,
    currency TEXT NOT NULL,
    millijoules INTEGER NOT NULL,
    uncertain_millijoules INTEGER NOT NULL,   -- what the energy may be off by; 0 where the card has a counter
    overhead_millijoules INTEGER NOT NULL,
    bill TEXT NOT NULL,                       -- JSON of core::host::Bill: a restarted agent goes on with it
    PRIMARY KEY (lease, epoch),
    FOREIGN KEY (lease, epoch) REFERENCES leases (lease, epoch)
) STRICT;
