//! The web console in a real Chromium, over a real Watchfire: the demo's story as somebody on call sees it, then every screen, wide and
//! small, light and dark, without a key and with one. The programs are the console's own (`dashboards/console/scripts/`).

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tests::process::Watchfire;
use tests::python::skip;
use tests::wait::wait_for;

const NEEDS: &str =
    "Node.js with npm, the packages of dashboards/console/package-lock.json, and Chromium (apt install nodejs npm chromium)";

/// Chromium and the compiler side by side would make each other slow.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The demo at work. Its story is told by itself; it stays until this is dropped.
struct Demo {
    child: Child,
    url: String,
    folder: PathBuf,
}

impl Demo {
    /// Starts it and waits until it says where it listens.
    fn start() -> Self {
        let mut child =
            Command::new(crate::WATCHFIRE).args(["demo", "--stay", "--healthy-for", "30s"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        let mut after = |mark: &str, end: &str| loop {
            let line = lines.next().unwrap_or_else(|| panic!("the demo ended without `{mark}`:\n{said}")).unwrap();
            said.push_str(&format!("{line}\n"));
            if let Some((_, rest)) = line.split_once(mark) {
                return rest.split(end).next().unwrap_or(rest).to_owned();
            }
        };
        let folder = PathBuf::from(after("ClickHouse of its own in ", " "));
        let url = format!("http://{}", after("While it runs: http://", "/"));
        // Its screen must be read to the end, or it would stand still.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| eprintln!("demo: {line}")));
        Demo { child, url, folder }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Asked to end it stops its engine, too.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn script(console: &Path, name: &str, url: &str, chromium: &Path, more: &[(&str, &str)]) {
    let shots = console.join("shots").join(name.trim_end_matches(".mjs"));
    let mut node = Command::new("node");
    node.arg(console.join("scripts").join(name)).current_dir(console).env("WATCHFIRE_URL", url).env("CHROMIUM", chromium);
    node.env("SHOTS", &shots).envs(more.iter().copied());
    let status = node.status().unwrap();
    assert!(status.success(), "{name} failed; what it found is above, screenshots are in {}", shots.display());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_story_and_every_screen_in_a_browser() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let (Some(console), Some(chromium)) = (tests::node::console(), tests::node::chromium()) else { return skip(NEEDS) };
    let demo = Demo::start();
    script(&console, "story.mjs", &demo.url, &chromium, &[]);
    // By hand all four looks are walked; these two have both widths and both schemes.
    script(&console, "e2e.mjs", &demo.url, &chromium, &[("LOOKS", "wide-light,small-dark")]);

    script(&console, "speed.mjs", &demo.url, &chromium, &[("REPORT", "1")]);

    // With keys there is a door.
    let config = demo.folder.join("watchfire.yaml");
    let key = |name: &str, more: &[&str]| {
        let mut command = Command::new(crate::WATCHFIRE);
        command.args(["keys", "create", name, "--json", "--config"]).arg(&config).arg("--data-dir").arg(&demo.folder).args(more);
        let made = command.output().unwrap();
        let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
        made["key"].as_str().unwrap().to_owned()
    };
    let (admin, reader) = (key("console", &["--permission", "admin"]), key("reader", &["--permission", "read"]));
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    wait_for("the server to ask for a key", async || {
        let answer = client.get(format!("{}/api/watchfire/v1/status", demo.url)).send().await.ok()?;
        (answer.status().as_u16() == 401).then_some(())
    })
    .await;
    script(&console, "e2e.mjs", &demo.url, &chromium, &[("WATCHFIRE_KEY", &admin), ("LOOKS", "wide-dark"), ("ONLY", "home,hands")]);
    contract(&demo, &reader);
}

/// Every reading operation of the document, asked by schemathesis as its reader may: no server error, no status, no content type and no shape that the
/// document does not have, and nothing without a key. What is asked for is the demo's own data.
fn contract(demo: &Demo, key: &str) {
    let Some(python) = tests::python::environment("requirements-contract.txt", "test-contract") else {
        return skip("Python 3 with venv and the packages of tests/python/requirements-contract.txt");
    };
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth";
    let output = Command::new(python.with_file_name("st"))
        .args(["run", &format!("{}/api/openapi.json", demo.url), "--header", &format!("X-Api-Key: {key}"), "--checks", checks])
        .args(["--include-method", "GET", "--exclude-path", "/api/watchfire/v1/events", "--max-examples", "12"])
        .args(["--generation-deterministic", "--no-shrink", "--no-color", "--continue-on-failure"])
        .current_dir(&demo.folder)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).replace(key, "<key>");
    assert!(output.status.success(), "{said}");
    eprintln!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
}

/// Rule files are saved from the browser. Then every operation by every method, asked with a key that may do everything, of a server that is there for nothing else: no server error, nothing
/// undocumented, and the server lives.
#[tokio::test(flavor = "multi_thread")]
async fn rules_are_saved_and_every_operation_answers_as_the_document_says() {
    let Some(python) = tests::python::environment("requirements-contract.txt", "test-contract") else {
        return skip("Python 3 with venv and the packages of tests/python/requirements-contract.txt");
    };
    let _alone = ONE_AT_A_TIME.lock().await;
    let config = "alerting:\n  rules: rules\n  escalations:\n  - { name: all, steps: [{ after: 0s, notify: [catcher] }] }\ndashboards: { edit_rules: true }\nreceivers:\n- { name: catcher, type: webhook, url: \"http://127.0.0.1:9/\" }\n";
    let rules =
        "groups:\n- name: shop\n  rules:\n  - { alert: Always, expr: vector(1), labels: { severity: critical }, escalation: all }\n";
    let mut server = Watchfire::prepare(crate::WATCHFIRE, config, &[("shop.yml", rules)]);
    server.start().await;
    server.make_key().await;
    let made = server.command(&["keys", "create", "contract", "--permission", "admin", "--json"]).output().unwrap();
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
    let key = made["key"].as_str().unwrap().to_owned();
    // Something to find: an incident, its alert.
    let incident =
        wait_for("an incident", async || server.get("/api/watchfire/v1/incidents").await["incidents"][0]["number"].as_u64()).await;
    assert_eq!(incident, 1);
    if let (Some(console), Some(chromium)) = (tests::node::console(), tests::node::chromium()) {
        let url = format!("http://{}", server.http);
        script(&console, "e2e.mjs", &url, &chromium, &[("WATCHFIRE_KEY", &key), ("ONLY", "save")]);
    } else {
        skip(NEEDS);
    }
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth";
    let output = Command::new(python.with_file_name("st"))
        .args(["run", &format!("http://{}/api/openapi.json", server.http), "--header", &format!("X-Api-Key: {key}"), "--checks", checks])
        .args([
            "--exclude-path-regex",
            "^/api/watchfire/v1/(events|logs/tail)$",
            "--max-examples",
            "15",
            "--phases",
            "examples,coverage,fuzzing",
        ])
        .args(["--generation-deterministic", "--no-shrink", "--no-color", "--continue-on-failure"])
        .current_dir(server.folder())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)).replace(&key, "<key>");
    assert!(output.status.success(), "{said}");
    eprintln!("{}", said.lines().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n"));
    server.ready().await;
    assert!(!server.log().contains("panicked"), "{}", server.log());
}

#[tokio::test]
async fn the_sources_of_the_console_pass_their_own_checks() {
    let _alone = ONE_AT_A_TIME.lock().await;
    let Some(console) = tests::node::console() else { return skip(NEEDS) };
    // The types that the sources are checked against follow from the server's own document.
    std::fs::write(console.join("openapi.json"), dashboards::openapi::document().unwrap()).unwrap();
    let runs: [&[&str]; 5] = [&["types", "--", "openapi.json"], &["check"], &["test"], &["build"], &["size"]];
    for run in runs {
        let arguments = [["run", "--silent"].as_slice(), run].concat();
        let output = Command::new("npm").args(&arguments).current_dir(&console).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "npm {}:\n{said}", arguments.join(" "));
    }
}
