//! The command line as people and scripts use it: words, exit codes, JSON.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output};

use tests::process::Watchfire;

fn watchfire(arguments: &[&str]) -> Output {
    Command::new(crate::WATCHFIRE).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn help_names_every_command_and_completions_are_printed() {
    let help = said(&watchfire(&["--help"]));
    for command in [
        "serve",
        "demo",
        "check",
        "status",
        "incidents",
        "incident",
        "alerts",
        "silence",
        "postmortem",
        "query",
        "sql",
        "deployments",
        "keys",
    ] {
        assert!(help.contains(command), "{command} is missing in:\n{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let output = watchfire(&["completions", shell]);
        assert!(output.status.success() && output.stdout.len() > 1_000, "{shell}");
    }
}

#[test]
fn a_server_that_is_not_there_is_exit_code_4() {
    let output = watchfire(&["--server", &format!("http://127.0.0.1:{}", tests::process::free_port()), "status"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("no server answers"), "{}", said(&output));
}

#[test]
fn bad_configuration_and_bad_rules_name_file_line_field_and_fix() {
    let world = Watchfire::prepare(crate::WATCHFIRE, "alerting:\n  rules: rules\n", &[]);
    let check = |config: &str, rules: &str| {
        std::fs::write(world.folder().join("watchfire.yaml"), config).unwrap();
        std::fs::write(world.folder().join("rules/a.yaml"), rules).unwrap();
        let output = world.command(&["check"]).output().unwrap();
        (output.status.code(), said(&output))
    };
    let good_rule = "groups:\n- name: g\n  rules:\n  - alert: Up\n    expr: up == 0\n";
    let (code, text) = check("alerting:\n  rules: rules\n", good_rule);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = check("server:\n  lisen: 127.0.0.1:1\n", good_rule);
    assert!(code == Some(1) && text.contains("watchfire.yaml") && text.contains("lisen") && text.contains("line 2"), "{text}");
    let (code, text) = check("alerting:\n  rules: rules\n", "groups:\n- name: g\n  rules:\n  - alert: Up\n    expr: sum by (\n");
    assert!(code == Some(1) && text.contains("a.yaml") && text.contains("Up"), "{text}");
    let (code, text) = check("alerting:\n  rules: rules\n", "groups:\n- name: g\n  rules:\n  - alert: Up\n    exprr: up\n");
    assert!(code == Some(1) && text.contains("exprr"), "{text}");
    let (code, text) = check("alerting:\n  rules: rules\n", &format!("{good_rule}    escalation: nobody\n"));
    assert!(code == Some(1) && text.contains("nobody"), "{text}");
    let (code, text) = check("receivers:\n- name: a\n  type: pagerduty\n  routing_key: ${WATCHFIRE_NO_SUCH}\n", good_rule);
    assert!(code == Some(1) && text.contains("WATCHFIRE_NO_SUCH") && text.contains("line 4"), "{text}");
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    // Shut down and not only closed: a process that another test begins at this moment may hold a copy of this end.
    let (reader, writer) = UnixStream::pair().unwrap();
    reader.shutdown(Shutdown::Both).unwrap();
    let child = Command::new(crate::WATCHFIRE)
        .args(["check", "--print-defaults"])
        .stdout(OwnedFd::from(writer))
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(141), ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_close_the_door_and_open_it() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    assert_eq!(world.get("/api/watchfire/v1/status").await["ready"], true);
    let created = world.command(&["keys", "create", "ci", "--json"]).output().unwrap();
    let key: serde_json::Value = serde_json::from_slice(&created.stdout).unwrap_or_else(|_| panic!("{}", said(&created)));
    let text = key["key"].as_str().unwrap().to_owned();
    let url = format!("http://{}/api/watchfire/v1/status", world.http);
    let client = reqwest::Client::new();
    let status = async |key: Option<&str>| {
        let mut request = client.get(&url);
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        request.send().await.unwrap().status().as_u16()
    };
    tests::wait::wait_for("the door to close", async || (status(None).await == 401).then_some(())).await;
    assert_eq!(status(Some(&text)).await, 200);
    assert_eq!(status(Some("wf_wrong")).await, 401);
    let asked = world.command(&["status", "--json", "--key", &text]).output().unwrap();
    assert!(asked.status.success(), "{}", said(&asked));
    let revoked = world.command(&["keys", "revoke", key["id"].as_str().unwrap()]).output().unwrap();
    assert!(revoked.status.success(), "{}", said(&revoked));
    tests::wait::wait_for("the key to be refused", async || (status(Some(&text)).await == 401).then_some(())).await;
    assert_eq!(status(None).await, 401, "revoking the last key must not open the door");
    assert!(!world.log().contains(&text), "the log must not hold a key");
}
