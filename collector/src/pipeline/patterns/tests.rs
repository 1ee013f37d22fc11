//! Templates of log records: what falls together, what does not, and that memory is bounded.

use proptest::prelude::*;

use super::*;

fn learn(lines: &[&str]) -> Vec<String> {
    let (mut tree, config) = (Tree::default(), PatternsConfig::default());
    lines.iter().map(|line| tree.learn(&config, line).text.to_string()).collect()
}

/// The template that lines of one kind end at.
#[test]
fn lines_of_real_programs_become_one_template_each() {
    for (lines, template) in [
        // sshd
        (
            &[
                "Failed password for root from 10.0.0.7 port 51234 ssh2",
                "Failed password for deploy from 192.168.1.20 port 40022 ssh2",
                "Failed password for alice from 2001:db8::1 port 9 ssh2",
            ][..],
            "Failed password for <*> from <*> port <*> ssh2",
        ),
        // nginx
        (
            &[
                r#"10.1.2.3 - - [01/Mar/2026:00:00:01 +0000] "GET /api/users/42 HTTP/1.1" 200 512 "-" "curl/8.5""#,
                r#"10.1.2.4 - - [01/Mar/2026:00:00:02 +0000] "POST /api/orders HTTP/1.1" 503 9 "-" "Mozilla/5.0 (X11)""#,
            ],
            r#"<*> - - [<*>/Mar/<*> <*>] "<*>" <*> "<*>" "<*>""#,
        ),
        // HDFS, of the data set that Drain was shown on
        (
            &[
                "081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block blk_38865049064139660 terminating",
                "081109 203807 222 INFO dfs.DataNode$PacketResponder: PacketResponder 0 for block blk_-6952295868487656571 terminating",
            ],
            "<*> INFO dfs.DataNode$PacketResponder: PacketResponder <*> for block <*> terminating",
        ),
        // PostgreSQL
        (
            &[
                "2026-03-01 12:00:01.123 UTC [4711] LOG:  duration: 1532.221 ms  statement: SELECT 1",
                "2026-03-01 12:00:09.998 UTC [4712] LOG:  duration: 17.0 ms  statement: COMMIT 2",
            ],
            "<*> UTC [<*>] LOG: duration: <*> ms statement: <*> <*>",
        ),
        // Kubernetes
        (
            &[
                r#"Successfully assigned shop/checkout-7d9f8b6c5-x2x9z to node-17"#,
                r#"Successfully assigned shop/payments-5f6d7c8b9-q8w7e to node-3"#,
            ],
            "Successfully assigned shop/<*> to <*>",
        ),
        // Key and value
        (
            &[
                r#"level=info msg="request done" path=/orders/17 status=200 took=12ms user="Ann B""#,
                r#"level=info msg="request done" path=/orders/18 status=404 took=3ms user="Bob""#,
            ],
            r#"level=info msg="<*>" path=/orders/<*> status=<*> took=<*> user="<*>""#,
        ),
        // JSON
        (
            &[r#"{"level":"info","message":"order 17 paid by alice","trace":"a"}"#, r#"{"time":1,"msg":"order 18 paid by bob"}"#],
            "order <*> paid by <*>",
        ),
        // A stack below the message
        (&["Task 17 failed after 3 tries\n  at a\n  at b", "Task 18 failed after 1 tries\n  at c"], "Task <*> failed after <*> tries"),
    ] {
        assert_eq!(learn(lines).last().unwrap(), template);
    }
}

#[test]
fn short_lines_and_other_lines_are_told_apart() {
    let templates = learn(&[
        "Job started",
        "Job finished",
        "Connection opened successfully",
        "Connection closed successfully",
        "s3 upload ok",
        "",
        "   ",
    ]);
    assert_eq!(
        templates,
        ["Job started", "Job finished", "Connection opened successfully", "Connection closed successfully", "s3 upload ok", "", ""]
    );
    let templates =
        learn(&["cannot open file a.txt for reading", "cache miss for key a in region", "retry budget of upstream is exhausted"]);
    assert_eq!(templates.iter().collect::<std::collections::HashSet<_>>().len(), 3, "{templates:?}");
}

#[test]
fn the_id_is_the_text_s_so_that_restarts_and_collectors_agree() {
    let (mut one, mut other, config) = (Tree::default(), Tree::default(), PatternsConfig::default());
    one.learn(&config, "User alice logged in from web");
    let a = one.learn(&config, "User bob logged in from web");
    other.learn(&config, "User carol logged in from web");
    let b = other.learn(&config, "User dave logged in from web");
    assert_eq!((a.id, &*a.text), (b.id, "User <*> logged in from web"));
    assert_eq!(one.learn(&config, "User eve logged in from web"), a, "it stays");
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let (mut tree, config) = (Tree::default(), PatternsConfig { max_per_service: 10, ..PatternsConfig::default() });
    let name = |at: u32| -> String { at.to_string().bytes().map(|digit| (digit + 49) as char).collect() };
    for at in 0..5_000u32 {
        tree.learn(&config, "the one that comes again and again");
        tree.learn(&config, &format!("{} {} {}", name(at), name(at * 7), name(at * 13)));
        assert!(tree.clusters.len() <= 10);
    }
    assert!(tree.clusters.iter().any(|cluster| cluster.template.text.starts_with("the one")));
    assert_eq!(tree.branches.values().map(Vec::len).sum::<usize>(), tree.clusters.len());
    assert_eq!(tree.widths.values().sum::<usize>(), tree.branches.len());
    let miner = Miner::default();
    let config = PatternsConfig { max_services: 2, ..config };
    let service = |name: &str, at| miner.service(&config, &TenantId::default(), name, Timestamp::from_secs(at));
    let first = service("a", 1);
    service("b", 2);
    assert!(Arc::ptr_eq(&first, &service("a", 3)));
    service("c", 4);
    assert!(Arc::ptr_eq(&first, &service("a", 5)), "b was not seen for the longest");
    assert_eq!(miner.0.lock().unwrap().len(), 2);
}

proptest! {
    #[test]
    fn any_text_has_a_template_of_bounded_size(lines in proptest::collection::vec(".{0,200}", 1..40)) {
        let (mut tree, config) = (Tree::default(), PatternsConfig { max_per_service: 5, ..PatternsConfig::default() });
        for line in &lines {
            let template = tree.learn(&config, line);
            prop_assert!(template.text.len() <= 41 * 300);
            prop_assert_eq!(tree.branches.values().map(Vec::len).sum::<usize>(), tree.clusters.len());
        }
    }

    #[test]
    fn the_same_line_has_the_same_template_at_once(line in "[a-z0-9 =:\"/]{0,60}") {
        let (mut tree, config) = (Tree::default(), PatternsConfig::default());
        let first = tree.learn(&config, &line);
        prop_assert_eq!(tree.learn(&config, &line), first);
    }
}
