//! Statements as clients write them, and what is found in them.

use super::*;
use proptest::prelude::*;

fn data(text: &str) -> Option<(&str, String, &str)> {
    match shape(text.as_bytes(), true) {
        Shape::InsertData { statement_end, format, data_start } => Some((&text[..statement_end], format, &text[data_start..])),
        _ => None,
    }
}

#[test]
fn the_data_of_an_insert_is_found() {
    let cases = [
        ("INSERT INTO t FORMAT TSV\n1\n2\n", "INSERT INTO t ", "TSV", "1\n2\n"),
        ("insert into t (a, `select`) format JSONEachRow {\"a\":1}", "insert into t (a, `select`) ", "JSONEachRow", "{\"a\":1}"),
        ("INSERT INTO t FORMAT CSV;\r\n\n1", "INSERT INTO t ", "CSV", "\n1"),
        (
            "/* x */ INSERT INTO `format`.values (format, values) VALUES (1, 'FORMAT')",
            "/* x */ INSERT INTO `format`.values (format, values) ",
            "Values",
            " (1, 'FORMAT')",
        ),
        (
            "INSERT INTO TABLE FUNCTION file('a FORMAT b', TSV) FORMAT TSV\nx",
            "INSERT INTO TABLE FUNCTION file('a FORMAT b', TSV) ",
            "TSV",
            "x",
        ),
        (
            "INSERT INTO t SETTINGS async_insert = 0, x = 'VALUES' FORMAT Native\n\n",
            "INSERT INTO t SETTINGS async_insert = 0, x = 'VALUES' ",
            "Native",
            "\n",
        ),
        ("-- FORMAT no\nINSERT INTO t -- VALUES\n VALUES (1)", "-- FORMAT no\nINSERT INTO t -- VALUES\n ", "Values", " (1)"),
    ];
    for (text, statement, format, rest) in cases {
        assert_eq!(data(text), Some((statement, format.to_owned(), rest)), "{text}");
    }
}

#[test]
fn other_statements_have_no_data() {
    for (text, expected) in [
        ("SELECT 1 FORMAT TSV", Shape::Select),
        ("(SELECT 1)", Shape::Select),
        ("with 1 AS x select x", Shape::Select),
        ("INSERT INTO t SELECT 'VALUES' FROM x FORMAT TSV", Shape::Other),
        ("INSERT INTO t (a) (SELECT 1)", Shape::Other),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", Shape::Other),
        ("INSERT INTO t (a)", Shape::Other),
        ("CREATE TABLE t (a Int8) ENGINE = Memory", Shape::Other),
        ("CREATE TEMPORARY TABLE t (a Int8)", Shape::Session),
        ("SET a = 1", Shape::Session),
        (" -- nothing\n", Shape::Empty),
        ("", Shape::Empty),
    ] {
        assert_eq!(shape(text.as_bytes(), true), expected, "{text}");
    }
}

#[test]
fn half_a_statement_waits_for_the_rest() {
    let whole = b"INSERT INTO t (a) FORMAT JSONEachRow\n{\"a\":1}";
    let settled = shape(whole, true);
    for end in 1..whole.len() {
        let seen = shape(&whole[..end], false);
        assert!(seen == Shape::Unfinished || seen == settled, "{end}: {seen:?}");
    }
    assert_eq!(shape(b"INSERT INTO t FORMAT Native\n", false), Shape::Unfinished);
    assert_eq!(shape(b"INSERT INTO t VALUES ('unfinis", false), shape(b"INSERT INTO t VALUES ('unfinis", true));
    assert_eq!(shape(b"SELECT 'unfinis", false), Shape::Select);
}

#[test]
fn formats_words_and_statements() {
    assert_eq!(format_clause("SELECT 'FORMAT x' FORMAT JSON SETTINGS a = 1;"), Some("JSON"));
    assert_eq!(format_clause("SELECT * FROM (SELECT 1 FORMAT Null)"), None);
    assert_eq!(format_clause("SELECT format FROM t"), Some("FROM"), "harmless: such a name is in no list");
    assert!(has_word("SELECT 1 WITH TOTALS", &["totals"]));
    assert!(!has_word("SELECT 'totals' -- totals", &["totals"]));
    assert_eq!(split("SELECT ';' -- ;\n; /* ; */ SELECT `;` ;; "), ["SELECT ';' -- ;", "/* ; */ SELECT `;`"]);
    assert_eq!(split("SELECT 'it''s; \\'; x'; SELECT $a$ ; $a$"), ["SELECT 'it''s; \\'; x'", "SELECT $a$ ; $a$"]);
    assert_eq!(split(" ; -- only\n"), Vec::<&str>::new());
}

proptest! {
    #[test]
    fn no_input_panics_or_loops(bytes in proptest::collection::vec(any::<u8>(), 0..200), complete in any::<bool>()) {
        shape(&bytes, complete);
        let text = String::from_utf8_lossy(&bytes);
        format_clause(&text);
        split(&text);
    }

    #[test]
    fn quotes_hide_everything(inner in "[^'\\\\]{0,40}") {
        let text = format!("SELECT '{inner}' AS x");
        prop_assert_eq!(split(&text), vec![text.as_str()]);
    }
}
