//! The files under `deploy/`: the systemd unit passes its own linter, the sample rules load, YAML parses, the container files
//! name what exists. Building the image and bringing the compose file up need a container engine and are not done here.

use std::path::Path;
use std::process::Command;

use tests::python::skip;

fn deploy() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

#[test]
fn the_systemd_unit_verifies() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd-analyze (apt install systemd)");
    }
    // The linter wants the executable to exist: the same unit with the binary under test in its place.
    let unit = std::fs::read_to_string(deploy().join("systemd/watchfire.service")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("watchfire.service");
    std::fs::write(&path, unit.replace("/usr/bin/watchfire", crate::WATCHFIRE)).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let about_us: Vec<&str> = said.lines().filter(|line| line.contains("watchfire.service")).collect();
    assert!(output.status.success() && about_us.is_empty(), "{said}");
}

#[test]
fn the_sample_configuration_and_rules_pass_check() {
    let folder = tempfile::tempdir().unwrap();
    for config in ["watchfire.yaml", "watchfire.example.yaml"] {
        let output = Command::new(crate::WATCHFIRE)
            .args(["check", "--config"])
            .arg(deploy().join(config))
            .arg("--data-dir")
            .arg(folder.path())
            .envs([("PAGERDUTY_ROUTING_KEY", "k"), ("SLACK_TOKEN", "t"), ("TWILIO_AUTH_TOKEN", "t"), ("SMTP_PASSWORD", "p")])
            .output()
            .unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{config}: {said}");
    }
}

#[test]
fn the_container_files_copy_what_exists() {
    let dockerfile = std::fs::read_to_string(deploy().join("container/Dockerfile")).unwrap();
    let sources = dockerfile.lines().filter_map(|line| line.strip_prefix("COPY deploy/"));
    let mut checked = 0;
    for line in sources {
        let source = line.split_whitespace().next().unwrap();
        assert!(deploy().join(source).exists(), "deploy/{source} does not exist");
        checked += 1;
    }
    assert!(checked >= 2);
    assert!(dockerfile.contains("USER 10001"), "the container must not run as root");
    assert!(dockerfile.contains(store::engine::fetch::VERSION), "the image must hold the engine version that the binary expects");
}
