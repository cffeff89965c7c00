-- What the renter's volume stands on at the lease's host: JSON of core::volume::Footing.
ALTER TABLE leases ADD COLUMN footing TEXT;
