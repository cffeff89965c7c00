-- From which the key of what the renter keeps on a host is made, for each host another. Forgotten when the lease can no
-- longer go on.
ALTER TABLE leases ADD COLUMN volume_secret TEXT;
CREATE INDEX leases_with_secret ON leases (closed_at) WHERE volume_secret IS NOT NULL;
