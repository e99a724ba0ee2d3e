-- quern's log, schema version 1. A new file is made by this text in one transaction; an older file is
-- brought up by migrations/NNNN_*.sql, forward only, one transaction each, after a backup beside it.
-- A file with a newer version is refused. src/db/db.h documents the words used here.
--
--   task_key  what was tuned where: op + task + target + device class + threads + cache mode + objective
--   run       one search over one key; its cursor is stored with the rows it belongs to
--   attempt   16 random bytes for each measurement ever taken: the primary key that forbids counting twice
--   record    one attempt's whole result, immutable; id = hash of its canonical JSON (quern log export)
--   env       texts "key=value" lines about the machine at that time, stored once each
--   claim     which living process is tuning which key; advisory
--
-- Read it with any SQLite >= 3.37, for instance the view `log`:
--   SELECT task, median, unit, gflops, verdict FROM log WHERE verdict = 'ok' ORDER BY median LIMIT 10;
--
-- Invariants kept here, whatever program writes: an `ok` row carries its numeric check; numbers are
-- finite or NULL; a counted step of a run exists once; all ids are lower-case hex of 128 bits.

PRAGMA application_id = 1366651502; -- "Qurn"
PRAGMA user_version = 1;

CREATE TABLE task_key (
    id           TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*'),
    task         TEXT NOT NULL CHECK (length(task) BETWEEN 1 AND 4096),
    op           TEXT NOT NULL, -- the task's name before ':'
    op_hash      TEXT NOT NULL CHECK (length(op_hash) = 32 AND op_hash NOT GLOB '*[^0-9a-f]*'),
    target       TEXT NOT NULL,
    target_hash  TEXT NOT NULL CHECK (length(target_hash) = 32 AND target_hash NOT GLOB '*[^0-9a-f]*'),
    device_class TEXT NOT NULL CHECK (length(device_class) <= 16384),
    threads      INTEGER NOT NULL CHECK (threads >= 1),
    cache_mode   TEXT NOT NULL CHECK (cache_mode IN ('hot', 'cold')),
    objective    TEXT NOT NULL,
    unit         TEXT NOT NULL,
    CHECK (objective || ':' || unit IN ('time:ns', 'instructions:count', 'energy:nJ', 'size:bytes'))
) STRICT;
CREATE INDEX task_key_op ON task_key (op, task);

CREATE TABLE env (
    id   TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32),
    text TEXT NOT NULL CHECK (length(text) <= 16384)
) STRICT;

CREATE TABLE run (
    id          TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*'),
    key         TEXT NOT NULL REFERENCES task_key (id),
    seed        INTEGER NOT NULL, -- bits of an unsigned 64-bit number
    options     TEXT NOT NULL CHECK (length(options) <= 16384),
    state       TEXT NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'finished')),
    epoch       INTEGER NOT NULL DEFAULT 1 CHECK (epoch >= 1), -- rises with each opening: fences old processes
    cursor      BLOB NOT NULL DEFAULT x'' CHECK (length(cursor) <= 16384),
    champion    TEXT REFERENCES record (id),
    why         TEXT NOT NULL DEFAULT '',
    started_ms  INTEGER NOT NULL,
    finished_ms INTEGER,
    CHECK ((state = 'finished') = (finished_ms IS NOT NULL)),
    CHECK (champion IS NULL OR state = 'finished')
) STRICT;
CREATE INDEX run_key ON run (key);

CREATE TABLE attempt (
    id      BLOB NOT NULL PRIMARY KEY CHECK (length(id) = 16),
    run     TEXT REFERENCES run (id), -- NULL: measured elsewhere or outside a run
    epoch   INTEGER NOT NULL CHECK (epoch >= 0),
    step    INTEGER NOT NULL CHECK (step >= -1),
    counted INTEGER NOT NULL CHECK (counted IN (0, 1)) -- 0: the verdict is about the world, to be retried
) STRICT;
CREATE UNIQUE INDEX attempt_step ON attempt (run, step) WHERE counted = 1 AND run IS NOT NULL;

CREATE TABLE record (
    id              TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 32 AND id NOT GLOB '*[^0-9a-f]*'),
    key             TEXT NOT NULL REFERENCES task_key (id),
    attempt         BLOB NOT NULL UNIQUE REFERENCES attempt (id),
    origin          TEXT NOT NULL CHECK (origin IN ('local', 'import', 'seed')),
    -- the candidate
    trace           TEXT NOT NULL CHECK (length(trace) <= 262144),
    trace_hash      TEXT NOT NULL CHECK (length(trace_hash) = 32),
    blob_hash       TEXT NOT NULL CHECK (length(blob_hash) <= 64),
    -- its place in a search (`run` may be another machine's: no reference)
    run             TEXT NOT NULL CHECK (length(run) IN (0, 32)),
    step            INTEGER NOT NULL CHECK (step >= -1),
    phase           TEXT NOT NULL CHECK (phase IN ('build', 'screen', 'race', 'confirm')),
    seed            INTEGER NOT NULL,
    -- the result
    verdict         TEXT NOT NULL CHECK (length(verdict) BETWEEN 1 AND 32 AND verdict NOT GLOB '*[^a-z0-9_]*'),
    world           INTEGER NOT NULL CHECK (world IN (0, 1)),
    tier            INTEGER NOT NULL CHECK (tier BETWEEN 0 AND 3),
    error           TEXT NOT NULL CHECK (length(error) <= 4096),
    samples         BLOB CHECK (length(samples) % 8 = 0 AND length(samples) <= 524288), -- f64, little-endian
    median          REAL CHECK (median > 0 AND median < 9e999),
    ci_lo           REAL CHECK (ci_lo <= median),
    ci_hi           REAL CHECK (ci_hi >= median AND ci_hi < 9e999),
    gflops          REAL CHECK (gflops >= 0 AND gflops < 9e999),
    executed_gflops REAL CHECK (executed_gflops >= 0 AND executed_gflops < 9e999),
    roofline_pct    REAL CHECK (roofline_pct >= 0 AND roofline_pct < 9e999),
    roof            TEXT NOT NULL CHECK (length(roof) <= 64),
    max_err         REAL CHECK (max_err >= 0 AND max_err < 9e999), -- a NaN in the output: the largest double
    bound           REAL CHECK (bound >= 0 AND bound < 9e999),
    out_crc         INTEGER CHECK (out_crc BETWEEN 0 AND 4294967295),
    build_ns        INTEGER CHECK (build_ns >= 0),
    verify_ns       INTEGER CHECK (verify_ns >= 0),
    run_ns          INTEGER CHECK (run_ns >= 0),
    -- who, when, with what
    when_ms         INTEGER NOT NULL,
    device          TEXT NOT NULL CHECK (length(device) <= 256), -- '': the machine that wrote the row
    who             TEXT NOT NULL CHECK (length(who) <= 256),
    generator       TEXT NOT NULL CHECK (length(generator) <= 256),
    toolchain       TEXT NOT NULL CHECK (length(toolchain) <= 1024),
    env             TEXT NOT NULL REFERENCES env (id),
    -- the numeric gate: no row says ok without its check, no timed row without its samples
    CHECK (verdict <> 'ok' OR (tier >= 1 AND world = 0 AND max_err IS NOT NULL AND max_err < 9e999
                               AND bound IS NOT NULL AND out_crc IS NOT NULL)),
    CHECK (verdict <> 'ok' OR phase = 'build' OR (median IS NOT NULL AND samples IS NOT NULL)),
    CHECK ((ci_lo IS NULL) = (ci_hi IS NULL) AND (ci_lo IS NULL OR median IS NOT NULL))
) STRICT;
CREATE INDEX record_best ON record (key, median) WHERE verdict = 'ok';
CREATE INDEX record_trace ON record (key, trace_hash);
CREATE INDEX record_blob ON record (key, blob_hash);
CREATE INDEX record_run ON record (run, step);

CREATE TABLE claim (
    key        TEXT NOT NULL PRIMARY KEY REFERENCES task_key (id),
    token      BLOB NOT NULL CHECK (length(token) = 16), -- the handle that holds it
    pid        INTEGER NOT NULL,
    started    INTEGER NOT NULL, -- the process's start time, so that a reused pid is seen
    boot       TEXT NOT NULL,    -- the machine's boot id
    pid_ns     INTEGER NOT NULL, -- pids of another namespace cannot be checked, only expire
    who        TEXT NOT NULL,
    since_ms   INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;

-- For people.
CREATE VIEW log AS
SELECT r.id, k.task, k.target, k.threads, k.cache_mode, k.objective, r.verdict, r.tier, r.phase, r.origin,
       r.median, r.ci_lo, r.ci_hi, k.unit, r.gflops, r.executed_gflops, r.roofline_pct, r.roof,
       r.max_err, r.bound, r.error, r.run, r.step,
       strftime('%Y-%m-%dT%H:%M:%SZ', r.when_ms / 1000, 'unixepoch') AS at, r.who, r.device, r.trace
FROM record r JOIN task_key k ON k.id = r.key;

CREATE VIEW best AS
SELECT * FROM (
    SELECT l.*, row_number() OVER (PARTITION BY r.key ORDER BY r.median, r.id) AS place
    FROM record r JOIN log l ON l.id = r.id
    WHERE r.origin = 'local' AND r.verdict = 'ok' AND r.tier = 3 AND r.phase IN ('race', 'confirm'))
WHERE place = 1;
