-- Which node claimed a row last, so that a node that starts again may take back what its earlier process held.
ALTER TABLE work ADD COLUMN holder TEXT;
CREATE INDEX work_holder ON work (holder) WHERE lease_until IS NOT NULL;
