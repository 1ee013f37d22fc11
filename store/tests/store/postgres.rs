//! Debian's PostgreSQL in a temporary folder, on a Unix socket of its own; stopped when dropped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use model::secret::Secret;
use sqlx::Connection;

/// A server.
pub struct Postgres {
    child: Child,
    folder: tempfile::TempDir,
}

fn binaries() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut found: Vec<PathBuf> =
        versions.filter_map(Result::ok).map(|entry| entry.path().join("bin")).filter(|bin| bin.join("initdb").is_file()).collect();
    found.sort();
    found.pop()
}

/// A command that does not run as root, which PostgreSQL refuses.
fn command(program: &Path, root: bool) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

impl Postgres {
    /// Starts one; `None` (and a line SKIPPED) where it is not installed, which CI does not allow.
    pub fn start() -> Option<Postgres> {
        let Some(bin) = binaries() else {
            assert!(std::env::var("CI").is_err(), "in CI nothing is skipped: this test needs PostgreSQL");
            eprintln!("SKIPPED: needs PostgreSQL (apt install postgresql)");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let root = std::fs::metadata("/proc/self").map(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0).unwrap();
        if root {
            std::fs::create_dir(&data).unwrap();
            assert!(Command::new("chown").arg("-R").arg("postgres").arg(folder.path()).status().unwrap().success());
        }
        let made = command(&bin.join("initdb"), root)
            // A locale that does not sort by bytes, as most servers have one.
            .args(["--auth=trust", "--no-sync", "--encoding=UTF8", "--locale-provider=icu", "--icu-locale=en-US", "-U", "watchfire", "-D"])
            .arg(&data)
            .current_dir("/")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        let child = command(&bin.join("postgres"), root)
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(folder.path())
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let postgres = Postgres { child, folder };
        for _ in 0..400 {
            // The socket is there before the server takes connections; the last line of this file says `ready` when it does.
            let state = std::fs::read_to_string(postgres.folder.path().join("data/postmaster.pid")).unwrap_or_default();
            if state.lines().any(|line| line.trim() == "ready") {
                return Some(postgres);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PostgreSQL did not start");
    }

    /// Where to connect.
    pub fn url(&self) -> Secret {
        self.named("postgres")
    }

    /// Where to connect for a new, empty database of this server.
    pub async fn database(&self, number: u32) -> Secret {
        let mut admin = sqlx::PgConnection::connect(self.url().reveal()).await.unwrap();
        let make = format!("CREATE DATABASE case{number}");
        sqlx::query(sqlx::AssertSqlSafe(make)).execute(&mut admin).await.unwrap();
        admin.close().await.unwrap();
        self.named(&format!("case{number}"))
    }

    fn named(&self, database: &str) -> Secret {
        let folder = self.folder.path().display().to_string().replace('/', "%2F");
        Secret::new(format!("postgres://watchfire@{folder}/{database}"))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        if let Some(pid) = pid.lines().next() {
            let _ = Command::new("kill").args(["-INT", pid]).status();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}
