-- Credentials. Operational: who made, first used and revoked one is evidence,
-- in audit_ledger, and this table only says what counts now. It holds no
-- secret, only the SHA-256 of one that has 256 bits of its own.
--
-- A table of the platform (0001): a credential is looked up by its id before
-- anyone knows whose it is, so the id is unique among all tenants.
CREATE TABLE api_keys (
	id         text COLLATE "C" PRIMARY KEY,
	tenant_id  text COLLATE "C" NOT NULL, -- empty: of the platform
	role       text COLLATE "C" NOT NULL,
	name       bytea NOT NULL,            -- UTF-8; of people, so it may have a NUL, which text cannot
	scopes     text COLLATE "C" NOT NULL, -- JSON array of permissions; []: all of the role
	hash       bytea NOT NULL CHECK (length(hash) = 32),
	created_at bigint NOT NULL,           -- times in microseconds
	created_by text COLLATE "C" NOT NULL,
	expires_at bigint NOT NULL,           -- 0: never
	revoked_at bigint NOT NULL,           -- 0: not
	used_at    bigint NOT NULL,           -- 0: not yet
	recorded   boolean NOT NULL
);

-- In the order in which they are listed.
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at, id);

-- What a credential may do is fixed when it is made: one that may do more is
-- another one. And a revocation is final, also against a writer whose copy of
-- the row is older.
CREATE FUNCTION runledger_guard_api_keys() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
	IF (NEW.id, NEW.tenant_id, NEW.role, NEW.scopes, NEW.hash, NEW.created_at, NEW.created_by)
		IS DISTINCT FROM (OLD.id, OLD.tenant_id, OLD.role, OLD.scopes, OLD.hash, OLD.created_at, OLD.created_by) THEN
		RAISE EXCEPTION 'api_keys: what a credential may do is fixed' USING ERRCODE = 'RL003';
	END IF;
	IF OLD.revoked_at <> 0 AND NEW.revoked_at <> OLD.revoked_at THEN
		RAISE EXCEPTION 'api_keys: a revocation is final' USING ERRCODE = 'RL003';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER guard_fixed BEFORE UPDATE ON api_keys
	FOR EACH ROW EXECUTE FUNCTION runledger_guard_api_keys();
ALTER TABLE api_keys ENABLE ALWAYS TRIGGER guard_fixed;
REVOKE ALL ON FUNCTION runledger_guard_api_keys() FROM PUBLIC;
