-- A shop's key that the gateway refuses, as all replicas see it. An older program beside this schema leaves
-- the new columns at their defaults.
ALTER TABLE shop_controls
    ADD COLUMN key_refusals integer NOT NULL DEFAULT 0,
    ADD COLUMN key_probe_at timestamptz;
ALTER TABLE shop_controls
    ADD CONSTRAINT shop_controls_key_refusals CHECK (key_refusals >= 0) NOT VALID;
COMMENT ON COLUMN shop_controls.key_refusals IS 'How many submits in a row the gateway has answered with 401 or E.1021.';
COMMENT ON COLUMN shop_controls.key_probe_at IS 'When the next submit may try the key again; null while submits go out.';
