-- The order of claims (classes, fair queueing), jobs of several tasks, reuse, checkpoints, retention.
--
-- Virtual time is in GPU microseconds divided by the client's weight, an integer, so that equal work compares equal.

-- What waits and runs in each class, and its virtual time. The counts are kept by triggers, so that nobody has to count a long queue.
CREATE TABLE class (
    priority         INTEGER PRIMARY KEY CHECK (priority IN (0, 1, 2)),
    -- Start tag of the last task that was claimed; never goes back.
    vtime            INTEGER NOT NULL DEFAULT 0,
    -- Since when the class has waited without one of its tasks being claimed; NULL while nothing waits.
    waiting_since_ms INTEGER,
    jobs_queued      INTEGER NOT NULL DEFAULT 0 CHECK (jobs_queued >= 0),
    jobs_running     INTEGER NOT NULL DEFAULT 0 CHECK (jobs_running >= 0),
    -- Ready: queued and not blocked.
    tasks_ready      INTEGER NOT NULL DEFAULT 0 CHECK (tasks_ready >= 0),
    tasks_running    INTEGER NOT NULL DEFAULT 0 CHECK (tasks_running >= 0),
    -- Estimated GPU microseconds of the ready tasks.
    left_us          INTEGER NOT NULL DEFAULT 0 CHECK (left_us >= 0)
) STRICT;

INSERT INTO class (priority) VALUES (0), (1), (2);

-- The same for each client in each class: a flow of start-time fair queueing.
CREATE TABLE flow (
    priority      INTEGER NOT NULL REFERENCES class (priority),
    client_id     INTEGER NOT NULL REFERENCES client (id),
    -- Start tag of the flow's next task; and the class's virtual time when the flow last came back from being empty, below which no
    -- correction takes it: what others did while it had nothing queued is not its credit.
    vfinish       INTEGER NOT NULL DEFAULT 0,
    vfloor        INTEGER NOT NULL DEFAULT 0,
    -- The place that the next new task gets in the flow, and the places of the first ready task.
    vtail         INTEGER NOT NULL DEFAULT 0,
    head_vplace   INTEGER,
    head_seq      INTEGER,
    jobs_queued   INTEGER NOT NULL DEFAULT 0 CHECK (jobs_queued >= 0),
    jobs_running  INTEGER NOT NULL DEFAULT 0 CHECK (jobs_running >= 0),
    tasks_ready   INTEGER NOT NULL DEFAULT 0 CHECK (tasks_ready >= 0),
    tasks_running INTEGER NOT NULL DEFAULT 0 CHECK (tasks_running >= 0),
    left_us       INTEGER NOT NULL DEFAULT 0 CHECK (left_us >= 0),
    PRIMARY KEY (priority, client_id),
    CHECK ((head_seq IS NULL) = (tasks_ready = 0)),
    CHECK ((head_vplace IS NULL) = (tasks_ready = 0))
) STRICT, WITHOUT ROWID;

-- The order of flows.
CREATE INDEX flow_ready ON flow (priority, vfinish, head_seq) WHERE tasks_ready > 0;
CREATE INDEX flow_busy ON flow (client_id) WHERE jobs_queued > 0 OR jobs_running > 0;

ALTER TABLE client DROP COLUMN vfinish;
ALTER TABLE job DROP COLUMN cost;
ALTER TABLE job DROP COLUMN vstart;
ALTER TABLE job DROP COLUMN purge_at_ms;

-- The largest attempt of its tasks, and the last fence that one of them got: fences are unique within a job.
ALTER TABLE job ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0);
ALTER TABLE job ADD COLUMN fence INTEGER NOT NULL DEFAULT 0 CHECK (fence >= 0);
-- What decides about its bytes; jobs of one client with the same may answer for one another.
ALTER TABLE job ADD COLUMN content BLOB CHECK (length(content) = 32);
-- The job that this one waits for, to succeed together with it.
ALTER TABLE job ADD COLUMN leader_seq INTEGER;
ALTER TABLE job ADD COLUMN cached INTEGER NOT NULL DEFAULT 0 CHECK (cached IN (0, 1));
ALTER TABLE job ADD COLUMN webhook TEXT;
ALTER TABLE job ADD COLUMN tasks INTEGER NOT NULL DEFAULT 1 CHECK (tasks > 0);
ALTER TABLE job ADD COLUMN tasks_succeeded INTEGER NOT NULL DEFAULT 0 CHECK (tasks_succeeded BETWEEN 0 AND tasks);
ALTER TABLE job ADD COLUMN frames INTEGER NOT NULL DEFAULT 1 CHECK (frames > 0);
-- Units of work for its progress: one a frame, and one for an assembly.
ALTER TABLE job ADD COLUMN units INTEGER NOT NULL DEFAULT 1 CHECK (units > 0);
ALTER TABLE job ADD COLUMN units_succeeded INTEGER NOT NULL DEFAULT 0 CHECK (units_succeeded BETWEEN 0 AND units);
-- GPU microseconds of attempts that have ended.
ALTER TABLE job ADD COLUMN gpu_us INTEGER NOT NULL DEFAULT 0 CHECK (gpu_us >= 0);
-- The last progress, where no task runs that knows better.
ALTER TABLE job ADD COLUMN progress TEXT;

-- 1: all its events but the last were forgotten since it ended.
ALTER TABLE job ADD COLUMN events_forgotten INTEGER NOT NULL DEFAULT 0 CHECK (events_forgotten IN (0, 1));

CREATE INDEX job_content ON job (client_id, content, state) WHERE content IS NOT NULL;
CREATE INDEX job_follower ON job (leader_seq, seq) WHERE leader_seq IS NOT NULL;
CREATE INDEX job_start_before ON job (start_before_ms) WHERE state = 'queued' AND start_before_ms IS NOT NULL;
CREATE INDEX job_ended ON job (ended_ms) WHERE ended_ms IS NOT NULL;
CREATE INDEX job_events_kept ON job (ended_ms) WHERE ended_ms IS NOT NULL AND events_forgotten = 0;
CREATE INDEX job_begun ON job (seq) WHERE state IN ('queued', 'running') AND started_ms IS NOT NULL;

DROP TRIGGER task_inserted;
DROP TRIGGER task_changed;
DROP TRIGGER task_deleted;
DROP TABLE queue_depth;
DROP INDEX task_queued;

ALTER TABLE task ADD COLUMN kind TEXT NOT NULL DEFAULT 'frames' CHECK (kind IN ('frames', 'assemble'));
-- Not claimable: 1 until all other tasks of the job have succeeded, 2 as long as the job follows another one.
ALTER TABLE task ADD COLUMN blocked INTEGER NOT NULL DEFAULT 0 CHECK (blocked IN (0, 1, 2));
-- The job's, repeated here so that one index holds the order inside a flow.
ALTER TABLE task ADD COLUMN client_id INTEGER NOT NULL DEFAULT 0;
-- Its place in the flow: the work of those before it. Estimated GPU microseconds of all of it and of what is left of it, and the
-- virtual time of all of it.
ALTER TABLE task ADD COLUMN vplace INTEGER NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN vcost INTEGER NOT NULL DEFAULT 1000000 CHECK (vcost > 0);
ALTER TABLE task ADD COLUMN cost_us INTEGER NOT NULL DEFAULT 1000000 CHECK (cost_us > 0);
ALTER TABLE task ADD COLUMN left_us INTEGER NOT NULL DEFAULT 1000000 CHECK (left_us > 0);
-- How often another task was preferred while this one was the best.
ALTER TABLE task ADD COLUMN passed INTEGER NOT NULL DEFAULT 0 CHECK (passed >= 0);
-- Of the attempt that runs: GPU microseconds used, when they last rose, and since when its class had waited before it.
ALTER TABLE task ADD COLUMN attempt_us INTEGER NOT NULL DEFAULT 0 CHECK (attempt_us >= 0);
ALTER TABLE task ADD COLUMN advanced_ms INTEGER;
ALTER TABLE task ADD COLUMN waited_since_ms INTEGER;
ALTER TABLE task ADD COLUMN checkpoint_bytes INTEGER NOT NULL DEFAULT 0 CHECK (checkpoint_bytes >= 0);

-- What earlier versions left: one task a job, in order of arrival, of unknown cost.
INSERT INTO flow (priority, client_id) SELECT DISTINCT priority, client_id FROM job;
UPDATE task SET client_id = (SELECT client_id FROM job WHERE job.seq = task.job_seq), vplace = job_seq * 1000000;
UPDATE flow SET vtail = coalesce((SELECT max(seq) + 1 FROM job), 0) * 1000000;
UPDATE job SET attempt = task.attempt, fence = task.fence, tasks_succeeded = (task.state = 'succeeded'),
               units_succeeded = (task.state = 'succeeded'), progress = task.progress
FROM task WHERE task.job_seq = job.seq AND task.idx = 0;

-- The order inside a flow. The columns behind the key are there so that positions are counted in the index alone.
CREATE INDEX task_ready ON task (priority, client_id, vplace, job_seq, idx, run_at_ms, left_us, state, blocked)
    WHERE state = 'queued' AND blocked = 0;
CREATE INDEX task_checkpoint ON task (checkpoint) WHERE checkpoint IS NOT NULL;

UPDATE flow SET
    (tasks_ready, left_us) = (SELECT count(*), coalesce(sum(left_us), 0) FROM task
        WHERE task.priority = flow.priority AND task.client_id = flow.client_id AND state = 'queued' AND blocked = 0),
    tasks_running = (SELECT count(*) FROM task
        WHERE task.priority = flow.priority AND task.client_id = flow.client_id AND state = 'running'),
    jobs_queued = (SELECT count(*) FROM job
        WHERE job.priority = flow.priority AND job.client_id = flow.client_id AND state = 'queued'),
    jobs_running = (SELECT count(*) FROM job
        WHERE job.priority = flow.priority AND job.client_id = flow.client_id AND state = 'running'),
    (head_vplace, head_seq) = (SELECT vplace, job_seq FROM task
        WHERE task.priority = flow.priority AND task.client_id = flow.client_id AND state = 'queued' AND blocked = 0
        ORDER BY vplace, job_seq, idx LIMIT 1);
UPDATE class SET (jobs_queued, jobs_running, tasks_ready, tasks_running, left_us) = (
    SELECT coalesce(sum(jobs_queued), 0), coalesce(sum(jobs_running), 0), coalesce(sum(tasks_ready), 0),
           coalesce(sum(tasks_running), 0), coalesce(sum(left_us), 0)
    FROM flow WHERE flow.priority = class.priority);

-- A task became ready (or was inserted so): a flow that was empty takes up at the class's virtual time, so that idleness earns nothing.
CREATE TRIGGER task_ready_inserted AFTER INSERT ON task WHEN NEW.state = 'queued' AND NEW.blocked = 0 BEGIN
    UPDATE flow SET
        vfloor = iif(tasks_ready > 0, vfloor, (SELECT vtime FROM class WHERE priority = NEW.priority)),
        vfinish = iif(tasks_ready > 0, vfinish, max(vfinish, (SELECT vtime FROM class WHERE priority = NEW.priority))),
        head_seq = iif(head_vplace <= NEW.vplace, head_seq, NEW.job_seq),
        head_vplace = iif(head_vplace <= NEW.vplace, head_vplace, NEW.vplace),
        tasks_ready = tasks_ready + 1,
        left_us = left_us + NEW.left_us
    WHERE priority = NEW.priority AND client_id = NEW.client_id;
    UPDATE class SET tasks_ready = tasks_ready + 1, left_us = left_us + NEW.left_us WHERE priority = NEW.priority;
END;

CREATE TRIGGER task_changed AFTER UPDATE OF state, blocked, priority, vplace, left_us ON task
WHEN (OLD.state IN ('queued', 'running') OR NEW.state IN ('queued', 'running'))
    AND (OLD.state, OLD.blocked, OLD.priority, OLD.vplace, OLD.left_us)
        IS NOT (NEW.state, NEW.blocked, NEW.priority, NEW.vplace, NEW.left_us)
BEGIN
    UPDATE flow SET
        tasks_ready = tasks_ready - (OLD.state = 'queued' AND OLD.blocked = 0),
        left_us = left_us - iif(OLD.state = 'queued' AND OLD.blocked = 0, OLD.left_us, 0),
        tasks_running = tasks_running - (OLD.state = 'running'),
        (head_vplace, head_seq) = (SELECT vplace, job_seq FROM task
            WHERE priority = OLD.priority AND client_id = OLD.client_id AND state = 'queued' AND blocked = 0
                AND (job_seq, idx) IS NOT (NEW.job_seq, NEW.idx)
            ORDER BY vplace, job_seq, idx LIMIT 1)
    WHERE priority = OLD.priority AND client_id = OLD.client_id;
    UPDATE class SET
        tasks_ready = tasks_ready - (OLD.state = 'queued' AND OLD.blocked = 0),
        left_us = left_us - iif(OLD.state = 'queued' AND OLD.blocked = 0, OLD.left_us, 0),
        tasks_running = tasks_running - (OLD.state = 'running')
    WHERE priority = OLD.priority;
    UPDATE flow SET
        vfloor = iif(tasks_ready > 0 OR NEW.state = 'running' OR NEW.blocked > 0, vfloor,
                     (SELECT vtime FROM class WHERE priority = NEW.priority)),
        vfinish = iif(tasks_ready > 0 OR NEW.state = 'running' OR NEW.blocked > 0, vfinish,
                      max(vfinish, (SELECT vtime FROM class WHERE priority = NEW.priority))),
        (head_vplace, head_seq) = (SELECT vplace, job_seq FROM task
            WHERE priority = NEW.priority AND client_id = NEW.client_id AND state = 'queued' AND blocked = 0
            ORDER BY vplace, job_seq, idx LIMIT 1),
        tasks_ready = tasks_ready + (NEW.state = 'queued' AND NEW.blocked = 0),
        left_us = left_us + iif(NEW.state = 'queued' AND NEW.blocked = 0, NEW.left_us, 0),
        tasks_running = tasks_running + (NEW.state = 'running')
    WHERE priority = NEW.priority AND client_id = NEW.client_id AND NEW.state IN ('queued', 'running');
    UPDATE class SET
        tasks_ready = tasks_ready + (NEW.state = 'queued' AND NEW.blocked = 0),
        left_us = left_us + iif(NEW.state = 'queued' AND NEW.blocked = 0, NEW.left_us, 0),
        tasks_running = tasks_running + (NEW.state = 'running')
    WHERE priority = NEW.priority AND NEW.state IN ('queued', 'running');
END;

-- Only tasks of ended jobs are deleted by the code; whoever deletes others by hand must not leave wrong counts behind.
CREATE TRIGGER task_deleted BEFORE DELETE ON task WHEN OLD.state IN ('queued', 'running') BEGIN
    UPDATE task SET state = 'cancelled', owner = NULL, lease_until_ms = NULL WHERE job_seq = OLD.job_seq AND idx = OLD.idx;
END;

CREATE TRIGGER class_emptied AFTER UPDATE OF tasks_ready ON class WHEN NEW.tasks_ready = 0 BEGIN
    UPDATE class SET waiting_since_ms = NULL WHERE priority = NEW.priority;
END;

CREATE TRIGGER job_inserted AFTER INSERT ON job WHEN NEW.state IN ('queued', 'running') BEGIN
    UPDATE flow SET jobs_queued = jobs_queued + (NEW.state = 'queued'), jobs_running = jobs_running + (NEW.state = 'running')
    WHERE priority = NEW.priority AND client_id = NEW.client_id;
    UPDATE class SET jobs_queued = jobs_queued + (NEW.state = 'queued'), jobs_running = jobs_running + (NEW.state = 'running')
    WHERE priority = NEW.priority;
END;

CREATE TRIGGER job_changed AFTER UPDATE OF state, priority ON job
WHEN (OLD.state, OLD.priority) IS NOT (NEW.state, NEW.priority) BEGIN
    UPDATE flow SET jobs_queued = jobs_queued - (OLD.state = 'queued'), jobs_running = jobs_running - (OLD.state = 'running')
    WHERE priority = OLD.priority AND client_id = OLD.client_id;
    UPDATE class SET jobs_queued = jobs_queued - (OLD.state = 'queued'), jobs_running = jobs_running - (OLD.state = 'running')
    WHERE priority = OLD.priority;
    UPDATE flow SET jobs_queued = jobs_queued + (NEW.state = 'queued'), jobs_running = jobs_running + (NEW.state = 'running')
    WHERE priority = NEW.priority AND client_id = NEW.client_id;
    UPDATE class SET jobs_queued = jobs_queued + (NEW.state = 'queued'), jobs_running = jobs_running + (NEW.state = 'running')
    WHERE priority = NEW.priority;
END;

CREATE TRIGGER job_deleted BEFORE DELETE ON job WHEN OLD.state IN ('queued', 'running') BEGIN
    UPDATE flow SET jobs_queued = jobs_queued - (OLD.state = 'queued'), jobs_running = jobs_running - (OLD.state = 'running')
    WHERE priority = OLD.priority AND client_id = OLD.client_id;
    UPDATE class SET jobs_queued = jobs_queued - (OLD.state = 'queued'), jobs_running = jobs_running - (OLD.state = 'running')
    WHERE priority = OLD.priority;
END;

-- What earlier versions left has waited from now on. They kept deadlines and webhooks in the job's document alone.
UPDATE class SET waiting_since_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER) WHERE tasks_ready > 0;
UPDATE job SET start_before_ms = CAST(unixepoch(spec ->> '$.start_before', 'subsec') * 1000 AS INTEGER),
               finish_before_ms = CAST(unixepoch(spec ->> '$.finish_before', 'subsec') * 1000 AS INTEGER),
               webhook = spec -> '$.webhook'
WHERE state IN ('queued', 'running') AND json_valid(spec);

-- Bytes of all outputs, each blob once.
CREATE TABLE total (
    only          INTEGER PRIMARY KEY CHECK (only = 1),
    outputs_bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

INSERT INTO total SELECT 1, coalesce(sum(bytes), 0) FROM (SELECT max(bytes) AS bytes FROM output GROUP BY blob);

CREATE TRIGGER output_inserted AFTER INSERT ON output
WHEN NOT EXISTS (SELECT 1 FROM output WHERE blob = NEW.blob AND (job_seq, name) IS NOT (NEW.job_seq, NEW.name)) BEGIN
    UPDATE total SET outputs_bytes = outputs_bytes + NEW.bytes;
END;

CREATE TRIGGER output_deleted AFTER DELETE ON output WHEN NOT EXISTS (SELECT 1 FROM output WHERE blob = OLD.blob) BEGIN
    UPDATE total SET outputs_bytes = max(outputs_bytes - OLD.bytes, 0);
END;

-- The assets that a job reads, in the order of its document: 0 is its scene.
CREATE TABLE job_asset (
    job_seq INTEGER NOT NULL REFERENCES job (seq) ON DELETE CASCADE,
    ordinal INTEGER NOT NULL,
    sha256  TEXT    NOT NULL,
    PRIMARY KEY (job_seq, ordinal)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_asset_search ON job_asset (sha256);

INSERT INTO job_asset (job_seq, ordinal, sha256)
    SELECT job.seq, row_number() OVER (PARTITION BY job.seq ORDER BY reference.id) - 1, substr(reference.value, 8)
    FROM job, json_tree(iif(json_valid(job.spec), job.spec, 'null')) AS reference
    WHERE reference.key = 'asset' AND reference.type = 'text' AND reference.value LIKE 'sha256:%';

ALTER TABLE asset ADD COLUMN used_ms INTEGER NOT NULL DEFAULT 0;
UPDATE asset SET used_ms = created_ms;
CREATE INDEX asset_used ON asset (used_ms);

-- Ids of jobs that were forgotten.
CREATE TABLE tombstone (
    id        BLOB    PRIMARY KEY CHECK (length(id) = 16),
    purged_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tombstone_age ON tombstone (purged_ms);

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE model (
    name       TEXT    PRIMARY KEY,
    json       TEXT    NOT NULL,
    updated_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
