-- The key of a tenant's index and content MACs stays whatever is ordered. No content stands under it, so that
-- nothing kept it; and without it the keys of persons are not found any more, by which they are erased and held.
CREATE TRIGGER guard_data_keys_index BEFORE DELETE ON data_keys WHEN OLD.scope = 'index'
BEGIN SELECT RAISE(ABORT, 'data_keys: the key of the index stays'); END;
