//! What the check lets through and what it refuses, as tables of statements.

use proptest::prelude::*;

use super::*;

fn refusal(statement: &str) -> Option<SqlRefused> {
    check(statement, "watchfire").err()
}

#[test]
fn ordinary_questions_pass() {
    let statements = [
        "SELECT count() FROM spans",
        "select service, quantile(0.95)(duration) from watchfire.spans where ts > now() - interval 1 hour group by service order by 2 desc limit 10;",
        "SELECT * FROM `otel_traces` WHERE TraceId = 'ab' -- a comment\n LIMIT 5",
        "WITH slow AS (SELECT trace_id FROM spans WHERE duration > 1e9) SELECT l.body FROM logs AS l WHERE l.trace_id IN (SELECT trace_id FROM slow)",
        "WITH 5 AS n, (SELECT max(ts) FROM logs) AS newest SELECT n, newest",
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT * FROM a, b UNION ALL SELECT * FROM b, a",
        "SELECT a.service FROM spans AS a LEFT JOIN logs AS b ON a.trace_id = b.trace_id AND b.ts BETWEEN a.ts AND a.ts + toIntervalSecond(5) WHERE a.name != ''",
        "SELECT e FROM spans ARRAY JOIN event_name AS e, event_ts AS t WHERE e = 'exception'",
        "SELECT e FROM spans LEFT ARRAY JOIN event_name AS e JOIN logs USING (service)",
        "SELECT * EXCEPT (tenant) REPLACE (lower(body) AS body) FROM logs",
        "SELECT arrayMap(x -> x * 2, [1, 2, 3])[1], map('a', 1)['a'], tuple(1, 2).1, '{}', '?', ts::Date, CAST(ts AS Nullable(DateTime64(3))) FROM points",
        "SELECT count() FROM (SELECT 1 FROM logs) AS t, (SELECT 2 FROM spans) AS u",
        "SELECT * FROM ((SELECT 1 FROM logs) UNION ALL (SELECT 2 FROM spans))",
        "SELECT service IN ('a', 'b'), severity_number NOT IN (1, 2), (1, 2) IN ((1, 2), (3, 4)), service IN spans FROM logs",
        "SELECT format('{} {}', service, body), sum(if(status = 'ERROR', 1, 0)), row_number() OVER (PARTITION BY service ORDER BY ts) FROM spans",
        "SELECT sum(x) OVER w FROM (SELECT 1 AS x FROM logs) AS t WINDOW w AS (ORDER BY x ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT number FROM numbers(10) UNION DISTINCT SELECT number FROM numbers(5)",
        "SELECT body FROM logs FINAL WHERE attributes['settings'] = 'x' HAVING 1 QUALIFY 1 LIMIT 1 BY service LIMIT 3 OFFSET 2",
        "SELECT 'it''s', 'a\\'b', \"service\", /* why not */ `system` FROM logs WHERE body LIKE '%; DROP TABLE logs%' AND name IN (NULL)",
        "SELECT CASE WHEN status = 'OK' THEN 1 ELSE 2 END, EXISTS (SELECT 1 FROM logs), NOT (1 = 2), -(3), 0xFF, .5, 1., 2.5e-3 FROM spans",
    ];
    for statement in statements {
        assert_eq!(refusal(statement), None, "{statement}");
    }
    assert_eq!(check("SELECT 1 /* a */ + 1 -- b\n ; ", "x").unwrap().statement(), "SELECT 1   + 1");
}

#[test]
fn everything_else_is_refused() {
    let statements = [
        // not one SELECT
        "",
        "  -- nothing\n",
        "INSERT INTO logs VALUES (1)",
        "DROP TABLE logs",
        "(SELECT 1)",
        "SELECT 1; SELECT 2",
        "EXPLAIN SELECT 1",
        "FROM logs SELECT 1",
        "WITH x AS (SELECT 1) INSERT INTO logs SELECT * FROM x",
        "SELECT 1 PARALLEL WITH SELECT 2",
        "SELECT 1)",
        "SELECT (1",
        "SHOW TABLES",
        // clauses
        "SELECT 1 INTO OUTFILE 'x'",
        "SELECT 1 FORMAT JSON",
        "SELECT 1 SETTINGS readonly = 0",
        "SELECT 1 FROM (SELECT 1 SETTINGS max_result_rows = 0)",
        "SELECT 1 FROM logs PREWHERE throwIf(1)",
        "SELECT * APPLY(file) FROM logs",
        "SELECT * FROM (EXPLAIN SELECT 1)",
        "SELECT (EXPLAIN SELECT 1)",
        // tables
        "SELECT * FROM system.tables",
        "SELECT * FROM SYSTEM . tables",
        "SELECT * FROM `system`.`tables`",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM default.spans",
        "SELECT * FROM other",
        "SELECT * FROM spans, other",
        "SELECT * FROM spans JOIN other USING (x)",
        "SELECT * FROM watchfire.other",
        "SELECT * FROM spans AS a, LATERAL",
        "SELECT * FROM schema_migrations",
        "SELECT * FROM trace_index_mv",
        "SELECT * FROM `.inner_id.1`",
        "SELECT * FROM 'x'",
        "SELECT * FROM (spans)",
        "SELECT * FROM (spans JOIN other ON 1)",
        "SELECT * FROM ((spans))",
        "SELECT * FROM watchfire.spans.x",
        "SELECT * FROM Spans",
        "SELECT * FROM spans WHERE service IN other.users",
        "SELECT * FROM spans WHERE service IN (other.users)",
        "SELECT * FROM spans WHERE x IN ((other.users))",
        "SELECT * FROM spans WHERE service IN other",
        "SELECT 1 IN system.one",
        "SELECT * FROM spans WHERE (SELECT count() FROM other) > 1",
        // table functions
        "SELECT * FROM merge('watchfire', '.*')",
        "SELECT * FROM url('http://x', CSV)",
        "SELECT * FROM file('/etc/passwd')",
        "SELECT * FROM remote('h', watchfire.spans)",
        "SELECT * FROM s3('x')",
        "SELECT * FROM view(SELECT 1)",
        "SELECT * FROM values('x Int8', 1)",
        "SELECT * FROM numbers",
        "SELECT numbers(1)",
        "SELECT 1 IN url('x')",
        "SELECT * FROM cluster('c', spans)",
        "SELECT * FROM mergeTreeIndex('watchfire', 'spans')",
        "SELECT * FROM `numbers`(3)",
        "SELECT * FROM spans, url('x')",
        "SELECT * FROM a.numbers(3)",
        // functions
        "SELECT file('/etc/passwd')",
        "SELECT FILE('x')",
        "SELECT `file`('x')",
        "SELECT dictGet('a', 'b', 1)",
        "SELECT joinGet('a', 'b', 1)",
        "SELECT sleep(3)",
        "SELECT hostName()",
        "SELECT getSetting('x')",
        "SELECT in(1, spans)",
        "SELECT DISTINCT in(1, other.users)",
        "SELECT NOT in(1, other.users)",
        "SELECT 1 + in(1, other.users)",
        "SELECT 1 WHERE in(1, other.users)",
        "SELECT f AND NOT GLOBAL in(1, other.users)",
        "SELECT globalIn(1, other.users)",
        "SELECT throwIf(1)",
        "SELECT aiGenerate('x')",
        "SELECT a.file('x')",
        "SELECT arrayMap(x -> file(x), ['a'])",
        // where this reader and ClickHouse's could part ways
        "SELECT 1 AS `where` FROM logs JOIN spans ON where = 1, other",
        "SELECT 1 FROM logs AS where, other",
        "SELECT 1 FROM logs where, other",
        "SELECT 1 FROM logs AS array JOIN other ON 1",
        "SELECT 1 FROM logs \"array\" JOIN other ON 1",
        "SELECT 1 FROM logs limit, other",
        "SELECT 1 FROM logs qualify FINAL, other",
        "SELECT 1 FROM logs window, other",
        "SELECT 1 FROM logs SAMPLE 1 OFFSET 0, other",
        "SELECT 1 FROM logs order, other",
        "SELECT 1 FROM logs limit LEFT JOIN other ON 1",
        "SELECT 1 FROM logs JOIN spans ON NOT where, other",
        "SELECT 1 FROM logs JOIN spans ON having -1, other",
        "SELECT 1 FROM logs JOIN spans ON a.where, other",
        "SELECT 1 FROM logs JOIN spans ON 1 = limit -1, other",
        "SELECT 1 FROM logs ON array JOIN x, other",
        "SELECT 1 /* /* */ FROM other */",
        "SELECT 1 FROM/**/other",
        "SELECT 'a\\\\' FROM other -- '",
        "SELECT x'27' FROM logs",
        "SELECT $a$ FROM other $a$",
        "SELECT 1 # x",
        "SELECT \u{201c}x\u{201d}",
        "SELECT 1\u{2212}1",
        "SELECT\u{a0}1",
        "SELECT {x:Identifier}",
        "SELECT @@version",
        "SELECT 1.FROM other",
        "SELECT 1e FROM other",
        "SELECT 'a",
        "SELECT `a",
        "SELECT 1 /* x",
        "SELECT 'a\0b'",
        "SELECT \\N",
        // names of WITH queries end where their parentheses end, and begin after them
        "SELECT * FROM (WITH other AS (SELECT 1) SELECT * FROM other) AS a, other",
        "WITH other AS (SELECT * FROM other) SELECT * FROM other",
        "WITH a AS (SELECT * FROM b), b AS (SELECT 1) SELECT 1",
        "WITH RECURSIVE other AS (SELECT * FROM other) SELECT 1",
        "WITH 1 AS other SELECT * FROM other",
        "SELECT (SELECT 1) AS other FROM other",
        "SELECT x AS (SELECT 1), y FROM x.y",
    ];
    let through: Vec<&str> = statements.into_iter().filter(|statement| refusal(statement).is_none()).collect();
    assert!(through.is_empty(), "let through: {through:#?}");
    for statement in statements {
        let said = refusal(statement).map(|refused| refused.to_string()).unwrap_or_default();
        assert!(!said.contains('\n') && said.len() > 10, "{statement}: {said}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let said = |statement| refusal(statement).unwrap().to_string();
    assert_eq!(said("SELECT 1 FORMAT CSV"), "FORMAT is not allowed here: the format of the answer is named beside the statement");
    assert_eq!(said("SELECT file('x')"), "the function `file` cannot be called here");
    assert!(said("SELECT 1 FROM sapns").starts_with("`sapns` is not a table that can be read here: use one of spans, logs, "));
    assert_eq!(said("DELETE FROM logs"), "a statement must begin with SELECT or WITH: nothing else is run here");
}

/// Fragments that meet in odd ways, and anything else.
fn statements() -> impl Strategy<Value = String> {
    let fragments = [
        "SELECT",
        "FROM",
        "spans",
        "other",
        "JOIN",
        "ARRAY",
        "WITH",
        "AS",
        "(",
        ")",
        ",",
        ".",
        "IN",
        "WHERE",
        "LIMIT",
        "1",
        "1e",
        "0x",
        "'",
        "`",
        "\"",
        "\\",
        "/*",
        "*/",
        "--",
        "\n",
        " ",
        "x",
        "\u{2212}",
        "\u{1F525}",
        "count",
        "[",
        "]",
        ";",
        "\0",
        "file",
        "UNION",
        "'a'",
        "?",
    ];
    let mixed = proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..40);
    prop_oneof![4 => mixed.prop_map(|words| format!("SELECT {}", words.join(" "))), 1 => any::<String>(), 2 => proptest::collection::vec(proptest::sample::select(fragments.to_vec()), 0..40).prop_map(|words| words.concat())]
}

proptest! {
    /// No text makes the check panic, and what is let through is let through as it is sent.
    #[test]
    fn any_text_is_read_and_what_is_sent_reads_the_same(statement in statements()) {
        if let Ok(checked) = check(&statement, "watchfire") {
            prop_assert_eq!(check(checked.statement(), "watchfire"), Ok(checked.clone()));
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = format!("SELECT 1 FROM {}SELECT 1{}", "(".repeat(60_000), ")".repeat(60_000));
    assert_eq!(refusal(&deep), None);
    assert_eq!(refusal(&format!("SELECT 1 IN {}", "(".repeat(200_000))), Some(SqlRefused::Parentheses));
    assert_eq!(refusal(&format!("SELECT '{}'", "x".repeat(LONGEST))), Some(SqlRefused::Long));
}
