-- Reads the table beside all writers.
ALTER TABLE discrepancies VALIDATE CONSTRAINT discrepancies_kind_known;
