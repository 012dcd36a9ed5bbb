-- Who does what only one process should do at a time, and until when: it spares
-- work that two would do twice, and is no lock. Operational, and of the platform
-- (0001): a lease has a name, not a tenant. On a distributed database the table
-- stays on the coordinator, where a worker that is down is not missed.
--
-- Times are microseconds of the database's clock, never of a process's. asked is
-- the time at which a lease was last given: the statement that takes one compares
-- the old row with the new one's, since a distributed database takes no function
-- of the clock where a conflict is decided.
CREATE TABLE leases (
	name   text COLLATE "C" PRIMARY KEY,
	holder text COLLATE "C" NOT NULL,
	asked  bigint NOT NULL,
	until  bigint NOT NULL
) WITH (fillfactor = 40);
