-- What sweeps over power limits have measured: the last one of each card at each kind of work.
CREATE TABLE curves (
    gpu TEXT NOT NULL,
    work TEXT NOT NULL,              -- JSON of core::sweep::WorkKind
    measured_at INTEGER NOT NULL,
    points TEXT NOT NULL,            -- JSON of core::sweep::Point, one a limit
    PRIMARY KEY (gpu, work)
) STRICT;
