//! A configuration that changes under a running Watchfire: taken up on a signal and by itself, refused with a mistake, and honest
//! about what needs a restart.

use std::process::Command;

use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::wait::wait_for;

fn rule(name: &str, expr: &str, more: &str) -> String {
    format!(
        "groups:\n- name: g\n  interval: 1s\n  rules:\n  - alert: {name}\n    expr: {expr}\n    labels: {{ severity: warning }}\n{more}"
    )
}

async fn names(world: &Watchfire) -> String {
    world.get("/api/v1/rules").await["data"]["groups"][0]["rules"][0]["name"].as_str().unwrap_or_default().to_owned()
}

async fn successful(world: &Watchfire) -> String {
    let metrics = world.text("/metrics").await;
    let line = metrics.lines().find(|line| line.starts_with("watchfire_config_last_reload_successful ")).unwrap();
    line.rsplit(' ').next().unwrap().to_owned()
}

/// A file that appears as a whole, as editors and ConfigMaps write it.
fn write(world: &Watchfire, name: &str, text: &str) {
    let (path, fresh) = (world.folder().join(name), world.folder().join(".fresh"));
    std::fs::write(&fresh, text).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_configuration_is_taken_up_and_a_bad_one_is_not() {
    let catchers = Catchers::start().await;
    let at = catchers.address;
    let base = format!("- {{ name: base, type: slack_webhook, url: \"http://{at}/any/base/x\" }}\n");
    let config = format!("receivers:\n{base}alerting:\n  rules: rules\n  default_receivers: [base]\n");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[("a.yaml", &rule("First", "vector(0) > 1", ""))]);
    world.start().await;
    assert_eq!((names(&world).await.as_str(), successful(&world).await.as_str()), ("First", "1"));

    // By itself, without a signal.
    write(&world, "rules/a.yaml", &rule("Second", "vector(0) > 1", ""));
    wait_for("the second rule", async || (names(&world).await == "Second").then_some(())).await;

    // A mistake changes nothing, is told with its place, and is counted.
    write(&world, "rules/a.yaml", &rule("Third", "sum by (", ""));
    wait_for("the refusal", async || (successful(&world).await == "0").then_some(())).await;
    assert_eq!(names(&world).await, "Second");
    let log = world.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("NOT taken up")).collect();
    assert!(said.len() == 1 && said[0].contains("a.yaml") && said[0].contains("Third"), "one sentence: {said:?}");

    // A ladder, a receiver and a remediation that did not exist at the start, and a setting that needs a restart; on a signal.
    let file = std::fs::read_to_string(world.folder().join("watchfire.yaml")).unwrap();
    let more = format!(
        "  evaluation_interval: 7s\n  escalations:\n  - {{ name: fresh, steps: [{{ after: 0s, notify: [hook] }}] }}\n\
         remediation:\n  remediations:\n  - name: repair\n    rungs:\n    - {{ name: restart, settle: 1s, verify_timeout: 2s, check_every: 1s, \
         action: {{ type: http, method: POST, url: \"http://{at}/any/repair/x\" }} }}\n"
    );
    write(&world, "rules/a.yaml", &rule("Fourth", "vector(3) > 1", "    escalation: fresh\n    remediation: repair\n"));
    let hook = format!("{base}- {{ name: hook, type: slack_webhook, url: \"http://{at}/any/hook/hunter22\" }}\n");
    write(&world, "watchfire.yaml", &format!("{}{more}", file.replace(&base, &hook)));
    assert!(Command::new("kill").args(["-HUP", &world.pid().to_string()]).status().unwrap().success());
    wait_for("the notice through the new ladder to the new receiver", async || catchers.to("hook").first().cloned()).await;
    wait_for("the new remediation", async || catchers.to("repair").first().cloned()).await;
    assert_eq!((names(&world).await.as_str(), successful(&world).await.as_str()), ("Fourth", "1"));
    wait_for("what needs a restart is named", async || {
        world.log().lines().any(|line| line.contains("need a restart") && line.contains("alerting.evaluation_interval")).then_some(())
    })
    .await;
    assert!(!world.log().contains("hunter22"), "no secret in the log");

    // A receiver cannot go while a setting that stays until a restart names it.
    let without = file.replace(&format!("receivers:\n{base}"), "").replace("  default_receivers: [base]\n", "");
    write(&world, "rules/a.yaml", &rule("Fifth", "vector(0) > 1", ""));
    write(&world, "watchfire.yaml", &without);
    wait_for("the refusal", async || (successful(&world).await == "0").then_some(())).await;
    assert_eq!(names(&world).await, "Fourth");
    assert!(world.log().contains("restart to take up everything"), "{}", world.log());
}
