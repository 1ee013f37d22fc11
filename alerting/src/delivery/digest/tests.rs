//! Which notices are folded, what a digest says, and that the fold is one commit.

use model::ids::SequentialIds;
use proptest::prelude::*;

use super::*;
use crate::delivery::testing::{START, notice};

fn line(rows: usize, severity: Severity, service: &str) -> Candidate {
    Candidate { rows, severity, service: Some(service.to_owned()).filter(|name| !name.is_empty()) }
}

#[test]
fn few_go_out_by_themselves_and_of_many_the_first_of_each_service() {
    let few = vec![line(1, Severity::Info, "a"); 20];
    assert_eq!(choose(&few, 0, 0, 20), vec![false; 20]);
    let mut many = vec![line(1, Severity::Info, "a"); 21];
    assert_eq!(choose(&many, 21, 0, 20), vec![false; 21], "there are tokens for all");
    assert_eq!(choose(&many, 5, 0, 0), vec![false; 21], "turned off");
    many[7] = line(1, Severity::Critical, "b");
    many[9] = line(1, Severity::High, "");
    let fold = choose(&many, 3, 0, 20);
    assert_eq!((fold[0], fold[7], fold.iter().filter(|fold| !**fold).count()), (false, false, 2), "{fold:?}");
    let fold = choose(&many, 0, 0, 20);
    assert_eq!((fold[7], fold.iter().filter(|fold| !**fold).count()), (false, 1), "the worst, where there is one place");
}

proptest! {
    #[test]
    fn what_is_not_folded_fits_beside_the_digest(lines in prop::collection::vec((1usize..4, 0u8..4, 0u8..6), 0..80), tokens in 0usize..40, after in 1usize..30) {
        let levels = [Severity::Info, Severity::Warning, Severity::High, Severity::Critical];
        let lines: Vec<Candidate> = lines.into_iter().map(|(rows, level, service)| line(rows, levels[usize::from(level)], ["", "a", "b", "c", "d", "e"][usize::from(service)])).collect();
        let all: usize = lines.iter().map(|line| line.rows).sum();
        let kept: usize = lines.iter().zip(choose(&lines, tokens, 0, after)).filter(|(_, fold)| !fold).map(|(line, _)| line.rows).sum();
        if all > after && all > tokens {
            prop_assert!(kept < tokens.max(2));
        } else {
            prop_assert_eq!(kept, all);
        }
    }
}

fn about(number: u64, severity: &str, resolved: bool) -> Notice {
    let action = if resolved { PageAction::Resolve } else { PageAction::Trigger };
    let mut notice = notice(action, &format!("k{number}"));
    notice.severity = severity.parse().unwrap();
    notice.alerts[0].fingerprint = format!("{number:016x}");
    notice.alerts[0].labels.set("severity", severity);
    notice.group_labels = [("service_name", if number.is_multiple_of(3) { "shop" } else { "cart" })].into_iter().collect();
    notice.url = Some(format!("https://w.example/api/watchfire/v1/incidents/{number}"));
    notice
}

#[test]
fn a_digest_counts_names_the_worst_first_and_links() {
    let mut notices: Vec<Notice> = (0..250).map(|number| about(number, if number == 99 { "critical" } else { "warning" }, false)).collect();
    notices.extend((0..10).map(|number| about(number, "warning", true)));
    let all: Vec<&Notice> = notices.iter().collect();
    let id = NotificationId::new(START, &SequentialIds::default());
    let told = digest(id, "chat", &all);
    assert_eq!(told.title, "Digest of 260 notices: 240 alerts firing (1 critical, 239 warning), 10 resolved");
    assert_eq!((told.severity, told.action), (Severity::Critical, PageAction::Trigger));
    assert_eq!((told.alerts.len(), told.alerts[0].labels.get("severity")), (NAMED, Some("critical")));
    assert_eq!(told.url.as_deref(), Some("https://w.example/api/watchfire/v1/alerts"));
    assert!(told.reason.ends_with("services: cart (172), shop (88)"), "{}", told.reason);
    assert_eq!(told.details["notices"], "260");
    let over: Vec<Notice> = (0..3).map(|number| about(number, "high", true)).collect();
    let told = digest(id, "chat", &over.iter().collect::<Vec<_>>());
    assert_eq!((told.action, told.title.as_str()), (PageAction::Resolve, "Digest of 3 notices: 0 alerts firing, 3 resolved"));
}
