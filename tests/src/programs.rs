//! Programs from Debian's packages that tests run beside Watchfire.

use std::process::{Child, Command, Stdio};

/// A program that ends with the test.
pub struct Program(Child);

impl Program {
    /// Starts it; what it says is thrown away.
    pub fn start(program: &str, arguments: &[String]) -> Self {
        let child = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Program(child.unwrap_or_else(|error| panic!("needs {program} (apt install {program}): {error}")))
    }
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
    /// `kill -9`.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
    /// SIGTERM, and waits for its end.
    pub async fn stop(&mut self) {
        Command::new("kill").arg(self.0.id().to_string()).status().unwrap();
        crate::wait::wait_for("a program to stop", async || self.0.try_wait().unwrap()).await;
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the programs are there. Without them and without `CI` it says so.
pub fn have(programs: &[&str]) -> bool {
    let there = |program: &&&str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let found = programs.iter().filter(there).count() == programs.len();
    assert!(found || std::env::var("CI").is_err(), "{programs:?} are missing: apt install prometheus prometheus-alertmanager");
    if !found {
        println!("SKIPPED: needs {programs:?} (apt install prometheus prometheus-alertmanager)");
    }
    found
}
