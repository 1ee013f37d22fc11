-- Lists of what there is much of name the tenant or the status: the primary key and record_status have their order.
DROP INDEX record_newest;

-- What is pending, in the order in which it is claimed, and dead letters; finished rows, which are nearly all, are in neither.
DROP INDEX work_due;
CREATE INDEX work_turn ON work (queue, lane, due_at, id) WHERE state = 'pending';
CREATE INDEX work_dead ON work (tenant, queue, id) WHERE state = 'dead';
