-- no-transaction
-- A build that broke off leaves an index behind that nothing uses, and that stands in the way of the next try.
DROP INDEX CONCURRENTLY IF EXISTS orphans_unmatched;
