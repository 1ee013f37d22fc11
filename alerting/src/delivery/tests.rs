//! Tests of the outbox worker.
