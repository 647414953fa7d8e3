-- The durable queue. What the code promises, the schema holds too: a bug may fail an operation, but not leave a row that
-- contradicts itself. Ids are 16-byte UUIDs, times are integer milliseconds since the Unix epoch.

CREATE TABLE client (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL UNIQUE,
    key_hash    BLOB    UNIQUE CHECK (length(key_hash) = 32),
    weight      REAL    NOT NULL DEFAULT 1 CHECK (weight > 0),
    max_running INTEGER CHECK (max_running >= 0),
    max_queued  INTEGER CHECK (max_queued >= 0),
    -- Virtual time of start-time fair queueing, in GPU seconds divided by weight.
    vfinish     REAL    NOT NULL DEFAULT 0,
    created_ms  INTEGER NOT NULL
) STRICT;

CREATE TABLE job (
    -- Order of acceptance. Ids cannot give it, because clients may bring their own, and clocks may go backwards.
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               BLOB    NOT NULL UNIQUE CHECK (length(id) = 16),
    client_id        INTEGER NOT NULL REFERENCES client (id),
    kind             TEXT    NOT NULL,
    -- 0 interactive, 1 normal, 2 batch.
    priority         INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
    state            TEXT    NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    spec             TEXT    NOT NULL,
    spec_hash        BLOB    NOT NULL CHECK (length(spec_hash) = 32),
    -- Estimated GPU seconds, and the virtual start time, of start-time fair queueing.
    cost             REAL    NOT NULL DEFAULT 0 CHECK (cost >= 0),
    vstart           REAL    NOT NULL DEFAULT 0,
    start_before_ms  INTEGER,
    finish_before_ms INTEGER,
    idempotency_key  TEXT,
    request_hash     BLOB    CHECK (length(request_hash) = 32),
    cancel_requested INTEGER NOT NULL DEFAULT 0 CHECK (cancel_requested IN (0, 1)),
    created_ms       INTEGER NOT NULL,
    started_ms       INTEGER,
    ended_ms         INTEGER,
    purge_at_ms      INTEGER,
    error            TEXT,
    report           TEXT,
    UNIQUE (client_id, idempotency_key),
    CHECK ((idempotency_key IS NULL) = (request_hash IS NULL)),
    CHECK ((ended_ms IS NOT NULL) = (state IN ('succeeded', 'failed', 'cancelled', 'expired'))),
    CHECK ((error IS NOT NULL) = (state = 'failed')),
    CHECK (cancel_requested = 0 OR state = 'running')
) STRICT;

CREATE INDEX job_created ON job (created_ms, id);
CREATE INDEX job_by_state ON job (state, created_ms, id);
CREATE INDEX job_by_client ON job (client_id, created_ms, id);
CREATE INDEX job_by_client_and_state ON job (client_id, state, created_ms, id);

CREATE TABLE label (
    job_seq INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    key     TEXT    NOT NULL,
    value   TEXT    NOT NULL,
    PRIMARY KEY (job_seq, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX label_search ON label (key, value, job_seq);

CREATE TABLE task (
    job_seq        INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    idx            INTEGER NOT NULL CHECK (idx >= 0),
    first_frame    INTEGER NOT NULL DEFAULT 0,
    last_frame     INTEGER NOT NULL DEFAULT 0 CHECK (last_frame >= first_frame),
    -- The job's, repeated here so that one index holds the whole order of claims.
    priority       INTEGER NOT NULL CHECK (priority IN (0, 1, 2)),
    state          TEXT    NOT NULL
        CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired')),
    -- Attempts begun, and how many there may be: a retry that a person asks for raises the second.
    attempt        INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    attempts_max   INTEGER NOT NULL CHECK (attempts_max > 0),
    deaths         INTEGER NOT NULL DEFAULT 0 CHECK (deaths >= 0),
    fence          INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0),
    owner          TEXT,
    lease_until_ms INTEGER,
    progress       TEXT,
    checkpoint     TEXT,
    -- Not claimed before this; in the future after a failure that is retried.
    run_at_ms      INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_seq, idx),
    CHECK ((owner IS NOT NULL) = (state = 'running')),
    CHECK ((lease_until_ms IS NOT NULL) = (state = 'running'))
) STRICT, WITHOUT ROWID;

-- The order of claims. The last two columns are there so that positions are counted in the index alone.
CREATE INDEX task_queued ON task (priority, job_seq, idx, run_at_ms, state) WHERE state = 'queued';
CREATE INDEX task_leased ON task (lease_until_ms) WHERE state = 'running';

-- How many tasks wait and run, by class: kept by triggers, so that nobody has to count a long queue.
CREATE TABLE queue_depth (
    state    TEXT    NOT NULL CHECK (state IN ('queued', 'running')),
    priority INTEGER NOT NULL,
    tasks    INTEGER NOT NULL CHECK (tasks >= 0),
    PRIMARY KEY (state, priority)
) STRICT, WITHOUT ROWID;

INSERT INTO queue_depth VALUES
    ('queued', 0, 0), ('queued', 1, 0), ('queued', 2, 0), ('running', 0, 0), ('running', 1, 0), ('running', 2, 0);

CREATE TRIGGER task_inserted AFTER INSERT ON task BEGIN
    UPDATE queue_depth SET tasks = tasks + 1 WHERE state = NEW.state AND priority = NEW.priority;
END;

CREATE TRIGGER task_changed AFTER UPDATE OF state, priority ON task
WHEN OLD.state IS NOT NEW.state OR OLD.priority IS NOT NEW.priority BEGIN
    UPDATE queue_depth SET tasks = tasks - 1 WHERE state = OLD.state AND priority = OLD.priority;
    UPDATE queue_depth SET tasks = tasks + 1 WHERE state = NEW.state AND priority = NEW.priority;
END;

CREATE TRIGGER task_deleted AFTER DELETE ON task BEGIN
    UPDATE queue_depth SET tasks = tasks - 1 WHERE state = OLD.state AND priority = OLD.priority;
END;

CREATE TABLE output (
    job_seq    INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    ordinal    INTEGER NOT NULL CHECK (ordinal >= 0),
    name       TEXT    NOT NULL,
    blob       TEXT    NOT NULL,
    bytes      INTEGER NOT NULL CHECK (bytes >= 0),
    sha256     TEXT    NOT NULL CHECK (length(sha256) = 64),
    media_type TEXT    NOT NULL,
    PRIMARY KEY (job_seq, name),
    UNIQUE (job_seq, ordinal)
) STRICT, WITHOUT ROWID;

CREATE INDEX output_blob ON output (blob);

CREATE TABLE event (
    job_seq INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    seq     INTEGER NOT NULL CHECK (seq > 0),
    time_ms INTEGER NOT NULL,
    kind    TEXT    NOT NULL,
    PRIMARY KEY (job_seq, seq)
) STRICT, WITHOUT ROWID;

-- The outbox of webhooks: a row is written with the event that it tells of, and removed when it has been told.
CREATE TABLE delivery (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_seq    INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    event_seq  INTEGER NOT NULL,
    url        TEXT    NOT NULL,
    attempt    INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    run_at_ms  INTEGER NOT NULL,
    give_up_ms INTEGER NOT NULL,
    UNIQUE (job_seq, event_seq, url)
) STRICT;

CREATE INDEX delivery_due ON delivery (run_at_ms);

CREATE TABLE worker (
    name          TEXT    PRIMARY KEY,
    first_seen_ms INTEGER NOT NULL,
    last_seen_ms  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE asset (
    sha256     TEXT    PRIMARY KEY CHECK (length(sha256) = 64),
    bytes      INTEGER NOT NULL CHECK (bytes >= 0),
    created_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
