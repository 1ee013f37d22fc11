//! The binary `watchfire`: everything is in the library, so that tests can start it in-process.

use std::ffi::c_long;
use std::process::ExitCode;

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in `mimalloc.h`, and what it is unless the environment says otherwise.
const PURGE_DELAY: (mi_option_t, c_long) = (15, 1_000);
/// After so many milliseconds freed memory goes back to the system: at once. While 100,000 spans a second are stored the server has 63 to 68
/// MiB, with 10 ms 81 to 87, for some 3 % more CPU (`load spans`); when 10,000 alerts were told 92 to 100 instead of 97 to 117, for no more
/// that could be measured (`measure alertmanager`). With 1,000 ms, a third more than with 10.
const SOON: c_long = 0;

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
