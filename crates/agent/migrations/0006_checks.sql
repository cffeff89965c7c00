-- Cards prove themselves to their market while no job is there.
CREATE TABLE checks (
    id INTEGER PRIMARY KEY,
    gpu TEXT NOT NULL,
    at INTEGER NOT NULL,
    is_on INTEGER NOT NULL           -- 1 from here on, 0 until here
) STRICT;
CREATE INDEX checks_by_time ON checks (at);
CREATE INDEX checks_by_card ON checks (gpu, at);

-- What each took, at the owner's cost. Columns as in `accounts`.
CREATE TABLE check_costs (
    id INTEGER PRIMARY KEY,
    gpu TEXT NOT NULL,
    at INTEGER NOT NULL,
    millijoules INTEGER NOT NULL,
    uncertain_millijoules INTEGER NOT NULL,
    overhead_millijoules INTEGER NOT NULL,
    electricity_micros INTEGER NOT NULL,
    currency TEXT NOT NULL
) STRICT;
CREATE INDEX check_costs_by_time ON check_costs (at);
