-- Credentials. Operational: who made, first used and revoked one is evidence,
-- in audit_ledger, and this table only says what counts now. It holds no
-- secret, only the SHA-256 of one that has 256 bits of its own.
CREATE TABLE api_keys (
	id         TEXT PRIMARY KEY,
	tenant_id  TEXT NOT NULL,    -- empty: of the platform
	role       TEXT NOT NULL,
	name       TEXT NOT NULL,
	scopes     TEXT NOT NULL,    -- JSON array of permissions; []: all of the role
	hash       BLOB NOT NULL CHECK (length(hash) = 32),
	created_at INTEGER NOT NULL, -- times in microseconds
	created_by TEXT NOT NULL,
	expires_at INTEGER NOT NULL, -- 0: never
	revoked_at INTEGER NOT NULL, -- 0: not
	used_at    INTEGER NOT NULL, -- 0: not yet
	recorded   INTEGER NOT NULL CHECK (recorded IN (0, 1))
) STRICT, WITHOUT ROWID;

-- In the order in which they are listed.
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, created_at, id);

-- What a credential may do is fixed when it is made: one that may do more is
-- another one. And a revocation is final, also against a writer whose copy of
-- the row is older.
CREATE TRIGGER guard_api_keys_fixed BEFORE UPDATE ON api_keys
WHEN NEW.id IS NOT OLD.id OR NEW.tenant_id IS NOT OLD.tenant_id OR NEW.role IS NOT OLD.role
	OR NEW.scopes IS NOT OLD.scopes OR NEW.hash IS NOT OLD.hash
	OR NEW.created_at IS NOT OLD.created_at OR NEW.created_by IS NOT OLD.created_by
BEGIN SELECT RAISE(ABORT, 'api_keys: what a credential may do is fixed'); END;
CREATE TRIGGER guard_api_keys_revoked BEFORE UPDATE ON api_keys
WHEN OLD.revoked_at <> 0 AND NEW.revoked_at IS NOT OLD.revoked_at
BEGIN SELECT RAISE(ABORT, 'api_keys: a revocation is final'); END;
