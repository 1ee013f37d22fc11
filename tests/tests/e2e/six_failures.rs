//! The six failures of today's tools, each a scenario that Watchfire and Debian's Prometheus with Alertmanager go through in the same way. One
//! assertion looks at what became of it: Watchfire must meet it, and the peer must not, which shows that it can fail. The sixth is
//! Watchfire's alone.

#[path = "six_failures/hook.rs"]
mod hook;
#[path = "six_failures/stack.rs"]
mod stack;

use std::collections::BTreeSet;
use std::time::Duration;

use hook::Hook;
use serde_json::Value;
use stack::{Rule, Stack};
use tests::programs::have;
use tests::wait::wait_for;

/// What a scenario shows: nothing, or the failure in a sentence.
type Verdict = Result<(), String>;

const NO_RULES: &str = "groups: []\n";

/// Both go through the scenario side by side, each with a receiver of its own; the peer must fail with this sentence.
async fn both(interval: &str, rules: &str, scenario: impl AsyncFn(&mut Stack, &Hook) -> Verdict, failure: &str) {
    let peers = have(&["prometheus", "prometheus-alertmanager"]);
    let ours = async {
        let hook = Hook::start().await;
        let mut stack = Stack::watchfire(hook.address, interval, rules).await;
        scenario(&mut stack, &hook).await
    };
    let theirs = async {
        if !peers {
            return Err(failure.to_owned());
        }
        let hook = Hook::start().await;
        let mut stack = Stack::peer(hook.address, interval, rules).await;
        scenario(&mut stack, &hook).await
    };
    let (ours, theirs) = tokio::join!(ours, theirs);
    assert_eq!(ours, Ok(()), "Watchfire");
    assert_eq!(theirs, Err(failure.to_owned()), "Prometheus and Alertmanager no longer fail: this test shows nothing any more");
}

async fn told(hook: &Hook, name: &str, status: &str) {
    wait_for(&format!("{name} to be told {status}"), async || (hook.taken(name, status) > 0).then_some(())).await;
}

/// Another alert begins and ends. By the time that both are told, everything about earlier ones would have been told too: the groups of all
/// are looked at in the same interval, which began earlier for them.
async fn later_ones_were_told(stack: &Stack, hook: &Hook) {
    stack.send("Marker", false).await;
    told(hook, "Marker", "firing").await;
    stack.send("Marker", true).await;
    told(hook, "Marker", "resolved").await;
    stack.said_all().await;
}

/// Failure 1: what notifies is stopped half a second after an alert ended; the end is never told.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_is_told_though_the_notifier_is_stopped_right_after_it() {
    let scenario = async |stack: &mut Stack, hook: &Hook| {
        stack.send("Down", false).await;
        told(hook, "Down", "firing").await;
        stack.send("Down", true).await;
        // The moment of the fault is the failure's own.
        tokio::time::sleep(Duration::from_millis(500)).await;
        stack.stop_notifier().await;
        let early = hook.taken("Down", "resolved");
        assert_eq!(early, 0, "it was told before the stop: this machine is too slow for this interval");
        stack.start_notifier().await;
        later_ones_were_told(stack, hook).await;
        match hook.taken("Down", "resolved") {
            1 => Ok(()),
            times => Err(format!("the end was told {times} times")),
        }
    };
    both("6s", NO_RULES, scenario, "the end was told 0 times").await;
}

/// Failure 2: what notifies is killed after it has told of an alert; the sender goes on sending it, and it is told again.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_told_once_though_the_notifier_is_killed() {
    let scenario = async |stack: &mut Stack, hook: &Hook| {
        stack.send("Down", false).await;
        told(hook, "Down", "firing").await;
        stack.said_all().await;
        stack.kill_notifier();
        stack.start_notifier().await;
        stack.send("Down", false).await;
        later_ones_were_told(stack, hook).await;
        match hook.taken("Down", "firing") {
            1 => Ok(()),
            times => Err(format!("told {times} times")),
        }
    };
    both("2s", NO_RULES, scenario, "told 2 times").await;
}

/// Failure 3: the receiver asks for two seconds once, and the alert is over before the next try; it hears of nothing.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_busy_receiver_turned_away_is_told_though_it_is_over() {
    let scenario = async |stack: &mut Stack, hook: &Hook| {
        hook.be_busy_once();
        stack.send("Down", false).await;
        wait_for("the receiver to be busy", async || (!hook.about("Down").is_empty()).then_some(())).await;
        stack.send("Down", true).await;
        later_ones_were_told(stack, hook).await;
        let taken: Vec<String> = hook.about("Down").into_iter().filter(|notice| notice.taken).map(|notice| notice.status).collect();
        match taken.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["firing", "resolved"] => Ok(()),
            _ => Err(format!("told {taken:?}")),
        }
    };
    both("4s", NO_RULES, scenario, "told []").await;
}

/// Fires on a series; fails as soon as there is a second one to join with.
const FAILING: &str = r#"
groups:
- name: g
  interval: 1s
  rules:
  - { alert: Joined, expr: "signal * on () group_left () factor > 0", labels: { severity: warning } }
"#;

/// Failure 4: the query of a firing alert fails; somebody hears that it is over, while the rule says that it fires.
#[tokio::test(flavor = "multi_thread")]
async fn an_alert_whose_query_fails_is_not_over() {
    let scenario = async |stack: &mut Stack, hook: &Hook| {
        stack.write("factor", "1", Some(1.0)).await;
        stack.write("signal", "1", Some(1.0)).await;
        told(hook, "Joined", "firing").await;
        stack.write("factor", "2", Some(1.0)).await;
        let failing = wait_for("the rule to fail", async || stack.rule("Joined").await.filter(|rule| !rule.healthy)).await;
        // Alertmanager waits four seconds for an alert that is not sent any more, then up to an interval.
        let last = wait_for("an end, or ten seconds of failures", async || {
            let rule = stack.rule("Joined").await.filter(|rule| !rule.healthy)?;
            let long = rule.evaluated.since(failing.evaluated) >= Duration::from_secs(10);
            (long || hook.taken("Joined", "resolved") > 0).then_some(rule)
        })
        .await;
        if hook.taken("Joined", "resolved") > 0 {
            return Err(format!("it is told to be over while the rule says {}", last.state));
        }
        // It heals, and now it is over: once.
        stack.write("factor", "2", None).await;
        wait_for("the rule to be well", async || stack.rule("Joined").await.filter(|rule| rule.healthy)).await;
        stack.write("signal", "1", Some(0.0)).await;
        told(hook, "Joined", "resolved").await;
        Ok(())
    };
    both("1s", FAILING, scenario, "it is told to be over while the rule says firing").await;
}

const KEPT: &str = r#"
groups:
- name: g
  interval: 1s
  rules:
  - { alert: Held, expr: held > 0, for: 4s, labels: { severity: warning } }
  - { alert: Kept, expr: kept > 0, keep_firing_for: 10m, labels: { severity: warning } }
"#;

/// Failure 5: what evaluates restarts; a firing alert with a short `for` is pending again, and one that is kept firing is forgotten.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_for_nor_keep_firing_for() {
    let scenario = async |stack: &mut Stack, hook: &Hook| {
        stack.write("held", "1", Some(1.0)).await;
        stack.write("kept", "1", Some(1.0)).await;
        told(hook, "Held", "firing").await;
        told(hook, "Kept", "firing").await;
        stack.write("kept", "1", Some(0.0)).await;
        let written = wait_for("an evaluation", async || stack.rule("Kept").await).await.evaluated;
        let since = |rule: Rule| (rule.evaluated.since(written) >= Duration::from_secs(3)).then_some(rule);
        let kept = wait_for("the end of its series to be seen", async || stack.rule("Kept").await.and_then(since)).await;
        assert_eq!(kept.state, "firing", "both keep it before the restart");
        let restarted = stack.restart_rules().await;
        let mut seen = [BTreeSet::new(), BTreeSet::new()];
        wait_for("three seconds of evaluations", async || {
            let mut long = true;
            for (name, seen) in ["Held", "Kept"].into_iter().zip(&mut seen) {
                let rule = stack.rule(name).await.filter(|rule| rule.evaluated > restarted)?;
                long &= rule.evaluated.since(restarted) >= Duration::from_secs(3);
                seen.insert(rule.state);
            }
            long.then_some(())
        })
        .await;
        let words = |seen: &BTreeSet<String>| seen.iter().cloned().collect::<Vec<_>>().join(", ");
        let (held, kept) = (words(&seen[0]), words(&seen[1]));
        match (held.as_str(), kept.as_str()) {
            ("firing", "firing") => Ok(()),
            _ => Err(format!("after the restart the one is {}, the other {kept}", held.replace("firing, ", ""))),
        }
    };
    both("1s", KEPT, scenario, "after the restart the one is pending, the other inactive").await;
}

/// Failure 6: the process is killed while the receiver has the message and has not answered yet; the message is given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_crash_caught_in_the_act_is_sent_again() {
    let hook = Hook::start().await;
    let mut stack = Stack::watchfire(hook.address, "2s", NO_RULES).await;
    hook.hold(true);
    stack.send("Down", false).await;
    wait_for("the message to be on its way", async || (!hook.about("Down").is_empty()).then_some(())).await;
    stack.kill_notifier();
    hook.hold(false);
    stack.start_notifier().await;
    wait_for("the message to come again", async || (hook.about("Down").len() > 1).then_some(())).await;
    stack.said_all().await;
    let notices = hook.about("Down");
    let marks: Vec<bool> = notices.iter().map(|notice| notice.resend).collect();
    assert_eq!(marks, [false, true], "the second says that it may be one");
    assert!(notices[0].key.is_some() && notices[0].key == notices[1].key, "and carries the key of the first");
    let Stack::Watchfire(world) = &stack else { unreachable!("it is Watchfire") };
    let deliveries = world.get("/api/watchfire/v1/deliveries").await;
    let states: Vec<&Value> = deliveries["deliveries"].as_array().unwrap().iter().map(|row| &row["state"]).collect();
    assert_eq!(states, ["done"]);
}
