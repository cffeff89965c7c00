-- What renters asked for within the last hour, and which card it went to: from this a host learns why no job comes.
CREATE TABLE requests (
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    request TEXT    NOT NULL          -- JSON of core::demand::Request
);
CREATE INDEX requests_by_time ON requests (at);
