-- The log: who has one and what is in it. Topic tables are in 0002, the
-- database's own guards in 0004.
--
-- Unlike in SQLite nothing is interned: no numbers for tenants, names, run or
-- trace ids. Such a dictionary would be shared by all tenants, or a second
-- search for each of them, and a distributed database (Citus) keeps a tenant's
-- rows together by tenant_id alone. So every table of a tenant has tenant_id,
-- and every key and unique constraint begins with it. Rows are larger for it.
--
-- The tables of the platform are the exceptions: origins, settings, api_keys,
-- leases, expired_partitions and schema_migrations. They are small, are asked for
-- without a tenant. Where the database is distributed, settings, api_keys and leases
-- are the coordinator's alone, the others reference tables (a copy on each node).
--
-- Text is compared and ordered by its bytes, whatever the database's locale.
-- Times are microseconds since 1970 in bigint: timestamptz cannot be told from
-- a copy that was rounded, and its text depends on the session. Positions are
-- (log_no, leaf_index). Compressed and encrypted bytes are not compressed
-- again (STORAGE EXTERNAL).
--
-- No foreign keys: verification checks what they would check, and each costs a
-- search and a lock per row.

CREATE TABLE logs (
	tenant_id   text COLLATE "C" NOT NULL,
	log_no      bigint NOT NULL, -- counts a tenant's logs from 1
	origin      text COLLATE "C" NOT NULL,
	vkey        text COLLATE "C" NOT NULL,
	wrapped_key bytea NOT NULL,  -- signing key under the master keyset
	PRIMARY KEY (tenant_id, log_no)
);

-- Makes origins unique among all tenants, which no constraint of logs can.
CREATE TABLE origins (
	origin    text COLLATE "C" PRIMARY KEY,
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL
);

-- Operational: moved by compare-and-swap, never back. Every commit updates one
-- row, so there is room for its next version on the same page.
CREATE TABLE heads (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	size      bigint NOT NULL,
	root      bytea NOT NULL,
	note      bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no)
) WITH (fillfactor = 40);

-- Consecutive leaves, compressed, at most 256.
CREATE TABLE leaf_segments (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	first     bigint NOT NULL, -- leaf index
	count     bigint NOT NULL CHECK (count BETWEEN 1 AND 256),
	data      bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no, first)
);
ALTER TABLE leaf_segments ALTER COLUMN data SET STORAGE EXTERNAL;

-- Full tiles.
CREATE TABLE tiles (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	level     bigint NOT NULL,
	n         bigint NOT NULL,
	data      bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no, level, n)
);
ALTER TABLE tiles ALTER COLUMN data SET STORAGE EXTERNAL;

-- Kept checkpoints.
CREATE TABLE checkpoints (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	size      bigint NOT NULL,
	note      bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no, size)
);

-- Makes ids unique across kinds and months. Steps that have a span id and
-- contradict nothing are found by their span instead.
CREATE TABLE record_ids (
	tenant_id  text COLLATE "C" NOT NULL,
	id         bytea NOT NULL,
	log_no     bigint NOT NULL,
	leaf_index bigint NOT NULL,
	PRIMARY KEY (tenant_id, id)
);

-- A span is stored once: retries find the first. In SQLite an index of the
-- steps sees to that; here they are partitioned by time, and a unique index of
-- a partitioned table has to include the time. Ids are the bytes that their hex
-- digits stand for: this is the index that ingest grows at random places.
CREATE TABLE spans (
	tenant_id  text COLLATE "C" NOT NULL,
	trace_id   bytea NOT NULL, -- 16 bytes
	span_id    bytea NOT NULL, -- 8 bytes
	log_no     bigint NOT NULL,
	leaf_index bigint NOT NULL,
	PRIMARY KEY (tenant_id, trace_id, span_id)
);

-- A revision of a run is stored once, for the same reason a table. Conflict
-- records have no row here.
CREATE TABLE run_revisions (
	tenant_id  text COLLATE "C" NOT NULL,
	run_id     text COLLATE "C" NOT NULL,
	revision   bigint NOT NULL,
	log_no     bigint NOT NULL,
	leaf_index bigint NOT NULL,
	PRIMARY KEY (tenant_id, run_id, revision)
);

-- In which months a log has records. A row says where the first of a month
-- stands: times never fall within a log, so what stands between that and the
-- first of the next month is in one partition, and a read by position visits no
-- other. It is found in another all the same where this table should be wrong:
-- it is a sign on the way, no evidence.
CREATE TABLE log_months (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	month     bigint NOT NULL, -- counted from January of year 0
	first     bigint NOT NULL, -- leaf index
	PRIMARY KEY (tenant_id, log_no, month)
);

-- Sealed content, partitioned by month like the topics (0002). A segment has the
-- time of the record that it begins with, and what is put in its place has that,
-- too. That a number is there once within a log follows from the head: it is
-- made of that record's leaf index, no >> 4.
CREATE TABLE sealed_segments (
	tenant_id   text COLLATE "C" NOT NULL,
	log_no      bigint NOT NULL,
	no          bigint NOT NULL,
	recorded_at bigint NOT NULL,
	id          bytea NOT NULL,
	key_id      bytea NOT NULL, -- data_keys.id
	data        bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no, no, recorded_at)
) PARTITION BY RANGE (recorded_at);
ALTER TABLE sealed_segments ALTER COLUMN data SET STORAGE EXTERNAL;

-- Finds records by the MAC of a sealed value; the key is in the order of the
-- answer, newest last.
CREATE TABLE sealed_index (
	tenant_id  text COLLATE "C" NOT NULL,
	name       text COLLATE "C" NOT NULL,
	mac        bytea NOT NULL,
	log_no     bigint NOT NULL,
	leaf_index bigint NOT NULL, -- of the record
	trace_id   text COLLATE "C", -- of steps and events, else null
	PRIMARY KEY (tenant_id, name, mac, log_no, leaf_index)
);

-- Steps and events are indexed once a trace.
CREATE UNIQUE INDEX sealed_index_once ON sealed_index (tenant_id, trace_id, name, mac)
	WHERE trace_id IS NOT NULL;

-- key_no is in the order of making within a tenant; several processes share
-- the counter, so it has gaps.
CREATE TABLE data_keys (
	tenant_id text COLLATE "C" NOT NULL,
	id        bytea NOT NULL,
	key_no    bigint GENERATED ALWAYS AS IDENTITY,
	scope     text COLLATE "C" NOT NULL,
	label     text COLLATE "C" NOT NULL,
	wrapped   bytea NOT NULL,
	PRIMARY KEY (tenant_id, id)
);

-- The key in use is looked up by what it is for, before sealing.
CREATE INDEX data_keys_scope ON data_keys (tenant_id, scope, label, key_no);

-- Which record ordered the removal of which sealed row. Without a row here
-- the database refuses the deletion. It names records and random ids, never
-- a MAC: what was found by one must not be found by what is left of it.
CREATE TABLE removals (
	tenant_id text COLLATE "C" NOT NULL,
	what      text COLLATE "C" NOT NULL CHECK (what IN ('segment', 'key', 'index')),
	log_no    bigint NOT NULL, -- segment, index: of the log; key: 0
	ref       bigint NOT NULL, -- segment: its number; index: the record's leaf index; key: 0
	id        bytea NOT NULL,  -- segment: its id; key: its id; index: empty
	name      text COLLATE "C" NOT NULL, -- index: its name; else empty
	by_log    bigint NOT NULL, -- the audit record that orders it
	by_leaf   bigint NOT NULL,
	PRIMARY KEY (tenant_id, what, log_no, ref, id, name, by_log, by_leaf)
);

-- Operational: what sequencing must know of a run. first_seen is in the order
-- in which runs were first seen.
CREATE TABLE run_states (
	tenant_id  text COLLATE "C" NOT NULL,
	run_id     text COLLATE "C" NOT NULL,
	first_seen bigint GENERATED ALWAYS AS IDENTITY,
	next_n     bigint NOT NULL,
	next_step  bigint NOT NULL,
	revision   bigint NOT NULL,
	last_log   bigint NOT NULL,
	last_leaf  bigint NOT NULL,
	PRIMARY KEY (tenant_id, run_id)
) WITH (fillfactor = 80);

-- Operational, of the platform: months of which a table had a partition until it
-- expired. None is made again: what comes late must not look like what was kept.
CREATE TABLE expired_partitions (
	relation   text COLLATE "C" NOT NULL,
	month      bigint NOT NULL, -- counted from January of year 0
	tenants    bigint NOT NULL, -- that had rows in it
	row_count  bigint NOT NULL,
	expired_at bigint NOT NULL, -- microseconds
	PRIMARY KEY (relation, month)
);

-- Operational, of the platform.
CREATE TABLE settings (
	name  text COLLATE "C" PRIMARY KEY,
	value text COLLATE "C" NOT NULL
);
