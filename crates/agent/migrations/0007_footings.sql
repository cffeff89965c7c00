-- What the renter's volume stood on when it was brought up for a lease: JSON of core::volume::Footing.
ALTER TABLE leases ADD COLUMN footing TEXT;
