-- The outbox by itself: a row holds all that its receiver is told, so that a message outlives its job and says what was true when it
-- was written. Rows are read by host, so that the backlog of one hides nobody else's messages.

DROP INDEX delivery_due;
ALTER TABLE delivery RENAME TO delivery_of_job;

CREATE TABLE delivery (
    -- Never used twice: receivers tell messages apart by it.
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The job's, which may be gone.
    job_seq    INTEGER NOT NULL,
    job_id     BLOB    NOT NULL CHECK (length(job_id) = 16),
    event_seq  INTEGER NOT NULL,
    time_ms    INTEGER NOT NULL,
    event      TEXT    NOT NULL,
    labels     TEXT    NOT NULL,
    url        TEXT    NOT NULL,
    -- JSON; NULL: it is not signed.
    secret     TEXT,
    -- Host and port of the address.
    host       TEXT    NOT NULL,
    attempt    INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    run_at_ms  INTEGER NOT NULL,
    give_up_ms INTEGER NOT NULL,
    UNIQUE (job_seq, event_seq, url)
) STRICT;

CREATE INDEX delivery_due ON delivery (host, run_at_ms);

-- What earlier versions left stands in one line, whatever its host.
INSERT INTO delivery (id, job_seq, job_id, event_seq, time_ms, event, labels, url, secret, host, attempt, run_at_ms, give_up_ms)
    SELECT old.id, old.job_seq, job.id, old.event_seq, event.time_ms, event.kind,
           (SELECT json_group_object(key, value) FROM label WHERE label.job_seq = old.job_seq),
           old.url, iif(json_valid(job.webhook), job.webhook -> '$.secret', NULL), '', old.attempt, old.run_at_ms, old.give_up_ms
    FROM delivery_of_job AS old JOIN job ON job.seq = old.job_seq
         JOIN event ON event.job_seq = old.job_seq AND event.seq = old.event_seq;

DELETE FROM sqlite_sequence WHERE name = 'delivery';
INSERT INTO sqlite_sequence (name, seq)
    SELECT 'delivery', coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'delivery_of_job'), 0);
DROP TABLE delivery_of_job;
