//! Room for deep expressions: who reads or evaluates one calls itself for each level, and the threads of the server have small stacks.
//! Fails where there is no thread to be had.

use model::query::QueryError;

/// Levels, or an upper bound of them, that fit on any thread's stack.
pub const SHALLOW: usize = 40;
/// Enough for a level; memory is taken as it is used.
const ROOM: usize = 64 << 10;

/// Does work of so many levels: here, or where there is room for it.
pub fn with_room<T: Send>(levels: usize, work: impl FnOnce() -> Result<T, QueryError> + Send) -> Result<T, QueryError> {
    if levels <= SHALLOW {
        return work();
    }
    let failed = |error: std::io::Error| QueryError::Execution(format!("there is no thread for a deep expression: {error}"));
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().name("deep-promql".to_owned()).stack_size(levels.saturating_mul(ROOM)).spawn_scoped(scope, work);
        let died = |_| QueryError::Execution("the reading or evaluation of a deep expression died".to_owned());
        thread.map_err(failed)?.join().map_err(died)?
    })
}
