//! The engine's child process by itself, for the tests of this package (`watchfire engine` is the same, with another guard).

use std::process::ExitCode;
use std::sync::Arc;

use store::engine::access::{EngineUser, Permitted, SqlGuard};

/// Lets visitors read `pairs` and nothing else: enough to see that the guard is asked.
struct OnlyPairs;

impl SqlGuard for OnlyPairs {
    fn check(&self, user: &EngineUser, sql: &str, format: &str) -> Result<Permitted, String> {
        if sql.contains("pairs") && !sql.contains("system") {
            Ok(Permitted { sql: sql.to_owned(), format: format.to_owned() })
        } else {
            Err(format!("{} may read pairs only", user.name))
        }
    }
}

fn main() -> ExitCode {
    let text = std::env::args().nth(3).unwrap_or_default();
    let outcome = serde_json::from_str(&text)
        .map_err(|error| error.to_string())
        .and_then(|args| store::engine::child::run_guarded(args, Some(Arc::new(OnlyPairs))).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(1)
        }
    }
}
