//! The child's standard error becomes our log: lines of ClickHouse (`date [ thread ] {query} <Level> component: text`) and of the child
//! itself (`<Level> text`), each at its level. Errors of statements were answered to who asked and are only noted.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;

/// How many lines are kept to explain an end.
const KEPT: usize = 5;

/// How loud a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Something is wrong.
    Error,
    /// Something may be wrong.
    Warning,
    /// Noise, stack traces, errors of statements.
    Debug,
}

/// How loud a line is, and its text without date and level.
pub fn understood(line: &str) -> (Level, &str) {
    let found = [("<Fatal> ", Level::Error), ("<Critical> ", Level::Error), ("<Error> ", Level::Error), ("<Warning> ", Level::Warning)]
        .into_iter()
        .filter_map(|(sign, level)| line.find(sign).map(|at| (at, level, &line[at + sign.len()..])))
        .min_by_key(|(at, _, _)| *at);
    // What was answered to who asked; and what the library says of itself at the end of every insert stream, without harm.
    let noise = ["executeQuery: ", "ThreadStatus: current_thread contains invalid address"];
    match found {
        Some((_, _, text)) if noise.iter().any(|start| text.starts_with(start)) => (Level::Debug, text),
        Some((_, level, text)) => (level, text),
        // The child's last words, such as a refusal, have no level.
        None if line.starts_with(|c: char| c.is_ascii_digit()) || line.trim().is_empty() => (Level::Debug, line),
        None => (Level::Warning, line),
    }
}

/// The last lines of a child that matter.
pub struct LastWords {
    kept: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
}

impl LastWords {
    /// The lines, when the child is gone.
    pub async fn last(self) -> String {
        // A grandchild could hold the pipe open: what was read by then has to do.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), self.reader).await;
        let words = self.kept.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
        if words.is_empty() { "it said nothing".to_owned() } else { words }
    }
}

/// Reads a child's log until it ends.
pub fn forward(stderr: impl AsyncRead + Unpin + Send + 'static) -> LastWords {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let last = kept.clone();
    let reader = tokio::spawn(async move {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let (level, text) = understood(&line);
            match level {
                Level::Error => tracing::error!(engine = %text),
                Level::Warning => tracing::warn!(engine = %text),
                Level::Debug => tracing::debug!(engine = %text),
            }
            if level == Level::Debug {
                continue;
            }
            let mut kept = last.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push(text.to_owned());
            if kept.len() > KEPT {
                kept.remove(0);
            }
        }
    });
    LastWords { kept, reader }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_apart() {
        for (line, expected) in [
            ("2026.11.21 06:39:03 [ 8973 ] {7089} <Error> MergeTree: broken part", (Level::Error, "MergeTree: broken part")),
            (
                "2026.11.21 06:39:03 [ 1 ] {} <Error> executeQuery: Code: 60. <Warning> x",
                (Level::Debug, "executeQuery: Code: 60. <Warning> x"),
            ),
            (
                "x <Fatal> ThreadStatus: current_thread contains invalid address",
                (Level::Debug, "ThreadStatus: current_thread contains invalid address"),
            ),
            ("<Warning> a connection could not be accepted", (Level::Warning, "a connection could not be accepted")),
            ("0. ? @ 0x000000001c8fa4b3", (Level::Debug, "0. ? @ 0x000000001c8fa4b3")),
            ("the data folder x is in use by process 7", (Level::Warning, "the data folder x is in use by process 7")),
            ("", (Level::Debug, "")),
        ] {
            assert_eq!(understood(line), expected, "{line}");
        }
    }
}
