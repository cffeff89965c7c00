-- What was measured of each host's line: JSON of core::line_check::LineStanding.
CREATE TABLE host_lines (
    host_id  TEXT NOT NULL PRIMARY KEY REFERENCES hosts (id),
    standing TEXT NOT NULL
);
