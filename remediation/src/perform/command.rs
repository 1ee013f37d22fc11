//! The action `command`. In: an action and its facts. Out: one run of one program: no shell, an empty environment but `PATH` and the
//! configured values, no input, 4 KiB of output kept, killed at the timeout.

use std::process::Stdio;

use model::time::Stopwatch;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{Order, Outcome, Performed, describe, one_line, without_secrets};
use crate::config::{Action, CommandAction};
use crate::template;

/// How much of each output is kept.
const KEPT: usize = 4 * 1024;
/// How much of it is shown in the journal.
const SHOWN: usize = 600;
/// The search path of started programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Carries out the action.
pub async fn run(action: &CommandAction, order: Order<'_>) -> Performed {
    let what = match describe(&Action::Command(action.clone()), order.facts) {
        Ok(what) => without_secrets(&what, action.env.values()),
        Err(error) => return Performed::not_sent(error.to_string()),
    };
    let args = action.args.iter().map(|arg| template::argument(arg, order.facts)).collect::<Result<Vec<_>, _>>();
    let args = match args {
        Ok(args) => args,
        Err(error) => return Performed::not_sent(error.to_string()),
    };
    let mut command = Command::new(&action.program);
    command.args(args).env_clear().env("PATH", PATH).env("WATCHFIRE_IDEMPOTENCY_KEY", order.key).current_dir("/");
    command.envs(action.env.iter().map(|(name, value)| (name, value.reveal())));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let watch = Stopwatch::start();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Performed::not_sent(format!("{what}: it could not be started: {error}")),
    };
    let finished = tokio::time::timeout(action.timeout.0, outcome(&mut child)).await;
    let millis = watch.elapsed().as_millis();
    let (outcome, said) = match finished {
        Ok(Ok((0, said))) => (Outcome::Done, format!("exit code 0 in {millis} ms{said}")),
        Ok(Ok((code, said))) if code > 0 => (Outcome::Failed, format!("exit code {code} in {millis} ms{said}")),
        Ok(Ok((_, said))) => (Outcome::Failed, format!("ended by a signal after {millis} ms{said}")),
        Ok(Err(error)) => (Outcome::Failed, format!("its end could not be seen: {error}")),
        Err(_) => {
            if let Err(error) = child.kill().await {
                tracing::warn!(%error, program = action.program, "a command that took too long could not be killed");
            }
            (Outcome::Failed, format!("killed, it took longer than {}", action.timeout))
        }
    };
    Performed { outcome, text: without_secrets(&format!("{what}: {said}"), action.env.values()) }
}

/// Exit code (-1 for a signal) and the beginning of what it printed.
async fn outcome(child: &mut Child) -> std::io::Result<(i32, String)> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (status, out, err) = tokio::join!(child.wait(), beginning(stdout), beginning(stderr));
    let said = one_line(&[out, err].join(" "), SHOWN);
    Ok((status?.code().unwrap_or(-1), if said.is_empty() { said } else { format!(": {said}") }))
}

/// Reads to the end, so that the program is never blocked, and keeps the beginning.
async fn beginning(pipe: Option<impl AsyncRead + Unpin>) -> String {
    let Some(mut pipe) = pipe else { return String::new() };
    let (mut kept, mut buffer) = (Vec::new(), [0u8; KEPT]);
    // A pipe that breaks off ends the text; the exit code decides.
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let room = KEPT - kept.len();
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
