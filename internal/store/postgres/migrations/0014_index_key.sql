-- The key of a tenant's index and content MACs stays whatever is ordered. No content stands under it, so that
-- nothing kept it; and without it the keys of persons are not found any more, by which they are erased and held.
DO $$
BEGIN
	PERFORM set_config('citus.enable_unsafe_triggers', 'on', true);
END $$;
CREATE TRIGGER guard_index BEFORE DELETE ON data_keys FOR EACH ROW WHEN (OLD.scope = 'index') EXECUTE FUNCTION runledger_refuse();
ALTER TABLE data_keys ENABLE ALWAYS TRIGGER guard_index;
