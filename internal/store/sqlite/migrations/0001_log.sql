-- The log: who has one, what is in it, and the tables that give numbers to
-- names. Topic tables are in 0002, views with the contract's names in 0003,
-- the triggers that refuse mutation in 0004.
--
-- Conventions. "row" is log_key << 40 | number: the rows of one log lie side
-- by side in order, and every log appends at a point of its own. A column
-- that ends in _no or _key is a number that stands for a text; columns that
-- no trigger protects are operational. Foreign keys are not declared: they
-- would cost a search for each column of each record, and verification
-- checks what they would check.

-- Evidence is read through tenants, logs, names and spine, so they are
-- guarded like evidence: who could rename a number would rewrite records.
CREATE TABLE tenants (
	tenant_no INTEGER PRIMARY KEY,
	tenant_id TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE logs (
	log_key     INTEGER PRIMARY KEY,
	tenant_no   INTEGER NOT NULL,
	log_no      INTEGER NOT NULL, -- counts a tenant's logs from 1
	origin      TEXT NOT NULL UNIQUE,
	vkey        TEXT NOT NULL,
	wrapped_key BLOB NOT NULL,    -- signing key under the master keyset
	UNIQUE (tenant_no, log_no)
) STRICT;

-- Operational: moved by compare-and-swap, never back.
CREATE TABLE heads (
	log_key INTEGER PRIMARY KEY,
	size    INTEGER NOT NULL,
	root    BLOB NOT NULL,
	note    BLOB NOT NULL
) STRICT;

-- Interned public names, enumerations and arrays (their JSON text).
CREATE TABLE names (
	name_no INTEGER PRIMARY KEY,
	text    TEXT NOT NULL UNIQUE
) STRICT;

-- Run ids and trace ids. Numbers are given in order of first sight, so that
-- everything keyed by one appends; this is the only large table that is
-- keyed by random ids. A number belongs to one tenant: whatever is keyed by
-- it needs no tenant column.
CREATE TABLE spine (
	spine_no  INTEGER PRIMARY KEY,
	tenant_no INTEGER NOT NULL,
	text      TEXT NOT NULL,
	UNIQUE (tenant_no, text)
) STRICT;

-- Consecutive leaves, compressed, at most 256. row = log_key << 40 | first.
CREATE TABLE leaf_segments (
	row   INTEGER PRIMARY KEY,
	count INTEGER NOT NULL CHECK (count BETWEEN 1 AND 256),
	data  BLOB NOT NULL
) STRICT;

-- Full tiles. row = log_key << 40 | level << 32 | n: with 256 hashes a tile
-- and 2^40 leaves, n fits 32 bits.
CREATE TABLE tiles (
	row   INTEGER PRIMARY KEY,
	data  BLOB NOT NULL
) STRICT;

-- Kept checkpoints. row = log_key << 40 | size.
CREATE TABLE checkpoints (
	row  INTEGER PRIMARY KEY,
	note BLOB NOT NULL
) STRICT;

-- Makes ids unique across kinds. Steps that have a span id and contradict
-- nothing are found by their span instead.
CREATE TABLE record_ids (
	tenant_no INTEGER NOT NULL,
	id        BLOB NOT NULL,
	row       INTEGER NOT NULL,
	PRIMARY KEY (tenant_no, id)
) STRICT, WITHOUT ROWID;

-- Sealed content. row = log_key << 40 | number.
CREATE TABLE sealed_segments (
	row    INTEGER PRIMARY KEY,
	id     BLOB NOT NULL,
	key_id BLOB NOT NULL, -- data_keys.id
	data   BLOB NOT NULL
) STRICT;

-- Finds records by the MAC of a sealed value; the key is in the order of the
-- answer, newest last.
CREATE TABLE sealed_index (
	tenant_no INTEGER NOT NULL,
	name_no   INTEGER NOT NULL, -- names
	mac       BLOB NOT NULL,
	row       INTEGER NOT NULL, -- of the topic row
	trace_no  INTEGER,          -- spine; of steps and events
	PRIMARY KEY (tenant_no, name_no, mac, row)
) STRICT, WITHOUT ROWID;

-- Steps and events are indexed once a trace (a trace belongs to a tenant).
CREATE UNIQUE INDEX sealed_index_once ON sealed_index (trace_no, name_no, mac)
	WHERE trace_no IS NOT NULL;

CREATE TABLE data_keys (
	key_no    INTEGER PRIMARY KEY, -- in order of making
	tenant_no INTEGER NOT NULL,
	id        BLOB NOT NULL,
	scope     TEXT NOT NULL,
	label     TEXT NOT NULL,
	wrapped   BLOB NOT NULL,
	UNIQUE (tenant_no, id)
) STRICT;

-- The key in use is looked up by what it is for, before sealing.
CREATE INDEX data_keys_scope ON data_keys (tenant_no, scope, label);

-- Which record ordered the removal of which sealed row. Without a row here
-- the database refuses the deletion. It names records and random ids, never
-- a MAC: what was found by one must not be found by what is left of it.
CREATE TABLE removals (
	tenant_no INTEGER NOT NULL,
	what      TEXT NOT NULL CHECK (what IN ('segment', 'key', 'index')),
	ref       INTEGER NOT NULL, -- segment: its row; index: the record's row; key: 0
	id        BLOB NOT NULL,    -- segment: its id; key: its id; index: empty
	name_no   INTEGER NOT NULL, -- index: its name; else 0
	by_row    INTEGER NOT NULL, -- the audit record that orders it
	PRIMARY KEY (tenant_no, what, ref, id, name_no, by_row)
) STRICT, WITHOUT ROWID;

-- Operational: what sequencing must know of a run.
CREATE TABLE run_states (
	run_no    INTEGER PRIMARY KEY, -- spine
	next_n    INTEGER NOT NULL,
	next_step INTEGER NOT NULL,
	revision  INTEGER NOT NULL,
	last_row  INTEGER NOT NULL
) STRICT;

-- Operational.
CREATE TABLE settings (
	name  TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT;
