//! The binary `watchfire`: everything is in the library, so that tests can start it in-process.

use std::ffi::c_long;
use std::process::ExitCode;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in `mimalloc.h`, and what it is unless the environment says otherwise.
const PURGE_DELAY: (mi_option_t, c_long) = (15, 1_000);
/// After so many milliseconds freed memory goes back to the system. While 300,000 spans a second are stored the server has 104 to 118 MiB
/// instead of 143 to 155 (`load`), after a storm of 10,000 alerts about 30 less (`measure alertmanager`); the CPU for it is within the noise.
const SOON: c_long = 10;

#[allow(unsafe_code)] // a number of the allocator is read and set; there is no safe form
fn give_memory_back_soon() {
    let (option, usual) = PURGE_DELAY;
    // SAFETY: both take any number and touch nothing else; no other thread runs yet.
    unsafe {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() && mi_option_get(option) == usual {
            mi_option_set(option, SOON);
        }
    }
}

fn main() -> ExitCode {
    give_memory_back_soon();
    server::cli::main()
}
