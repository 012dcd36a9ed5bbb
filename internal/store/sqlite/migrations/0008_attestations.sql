-- What others said of a log's tree of one size: witnesses by cosignatures,
-- authorities by time stamps. Evidence, so append-only like checkpoints.
-- row = log_key << 40 | size.
CREATE TABLE attestations (
	row     INTEGER NOT NULL,
	kind    TEXT NOT NULL CHECK (kind IN ('cosignature', 'timestamp')),
	by_name TEXT NOT NULL,
	key_id  TEXT NOT NULL,    -- of a cosignature, 8 hex digits; else empty
	at      INTEGER NOT NULL, -- microseconds, as they say
	note    BLOB,             -- what was stamped; null: the checkpoint of that size
	data    BLOB NOT NULL,
	PRIMARY KEY (row, kind, by_name, key_id)
) STRICT, WITHOUT ROWID;

-- Time stamps are few among cosignatures, which may come every second.
CREATE INDEX attestations_stamps ON attestations (row, by_name, key_id) WHERE kind = 'timestamp';

CREATE TRIGGER guard_attestations_update BEFORE UPDATE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only: update refused'); END;
CREATE TRIGGER guard_attestations_delete BEFORE DELETE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only: delete refused'); END;
CREATE TRIGGER guard_attestations_replace BEFORE INSERT ON attestations
WHEN EXISTS (SELECT 1 FROM attestations WHERE row = NEW.row AND kind = NEW.kind AND by_name = NEW.by_name AND key_id = NEW.key_id)
BEGIN SELECT RAISE(ABORT, 'attestations: row exists'); END;
