-- no-transaction
-- A control look-up of a name with signs such as . or : needs another that has them too. They are few where most
-- names are plain, and must be found without reading the rest.
CREATE INDEX CONCURRENTLY transactions_odd_names ON transactions (shop_id, id)
    WHERE tracking_id ~ '[^A-Za-z0-9_-]';
