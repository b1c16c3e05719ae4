-- Apart from its addition, so that the check of the rows that are there locks nobody out.
ALTER TABLE due_checks VALIDATE CONSTRAINT due_checks_counts;
