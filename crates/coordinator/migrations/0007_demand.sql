-- The leases of one model of card, the latest first: from these owners learn how much such cards are wanted.
CREATE INDEX leases_by_model ON leases (json_extract(card, '$.model'), created_at);
