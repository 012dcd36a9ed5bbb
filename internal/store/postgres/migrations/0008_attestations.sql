-- What others said of a log's tree of one size: witnesses by cosignatures,
-- authorities by time stamps. Evidence, so append-only like checkpoints.
CREATE TABLE attestations (
	tenant_id text COLLATE "C" NOT NULL,
	log_no    bigint NOT NULL,
	size      bigint NOT NULL,
	kind      text COLLATE "C" NOT NULL CHECK (kind IN ('cosignature', 'timestamp')),
	by_name   text COLLATE "C" NOT NULL,
	key_id    text COLLATE "C" NOT NULL, -- of a cosignature, 8 hex digits; else empty
	at        bigint NOT NULL,           -- microseconds, as they say
	note      bytea,                     -- what was stamped; null: the checkpoint of that size
	data      bytea NOT NULL,
	PRIMARY KEY (tenant_id, log_no, size, kind, by_name, key_id)
);

-- Time stamps are few among cosignatures, which may come every second.
CREATE INDEX attestations_stamps ON attestations (tenant_id, log_no, size, by_name, key_id) WHERE kind = 'timestamp';

SELECT runledger_guard_evidence('attestations');
