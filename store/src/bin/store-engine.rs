//! The engine's child process by itself, for the tests of this package (`watchfire engine` is the same).

use std::process::ExitCode;

fn main() -> ExitCode {
    let text = std::env::args().nth(3).unwrap_or_default();
    let outcome = serde_json::from_str(&text)
        .map_err(|error| error.to_string())
        .and_then(|args| store::engine::child::run(args).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
