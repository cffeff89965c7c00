-- The last weekly sum that the owner was shown, by when it would have been old (milliseconds since 1970 UTC).
CREATE TABLE week_told (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    old_at INTEGER NOT NULL
) STRICT;
-- Until here a week counted as told where a host ran after its end: half a week on, `core::notify::week_is_told` says so.
INSERT INTO week_told (only, old_at)
    SELECT 1, told_at FROM (SELECT max(seen_at) + 302400000 AS told_at FROM runs) WHERE told_at IS NOT NULL;
