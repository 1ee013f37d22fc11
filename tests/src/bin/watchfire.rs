//! The server's binary once more, so that the end-to-end tests of this package can start, kill and restart it.

use std::process::ExitCode;

fn main() -> ExitCode {
    server::cli::main()
}
