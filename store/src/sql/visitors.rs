//! The guard of the engine's TCP listener: what SQL clients such as Grafana's ClickHouse plugin send becomes one checked SELECT, or one
//! sentence. Pure. A `FORMAT` at the end is taken off and named beside the statement; the few questions that clients ask before any
//! other (who are you, which tables, which columns) are answered with constants and with `DESCRIBE` of the tables that may be read.

use super::guard::{TABLES, check};
use super::refused::SqlRefused;
use super::tokens::{self, Token};
use crate::engine::access::{EngineUser, Permitted, SqlGuard};

/// Formats that an answer may have: each only writes rows. (Others read schemas and templates from files, or write them.)
const FORMATS: [&str; 48] = [
    "TabSeparated",
    "TSV",
    "TabSeparatedRaw",
    "TSVRaw",
    "TabSeparatedWithNames",
    "TSVWithNames",
    "TabSeparatedWithNamesAndTypes",
    "TSVWithNamesAndTypes",
    "CSV",
    "CSVWithNames",
    "CSVWithNamesAndTypes",
    "JSON",
    "JSONStrings",
    "JSONColumns",
    "JSONColumnsWithMetadata",
    "JSONCompact",
    "JSONCompactStrings",
    "JSONCompactColumns",
    "JSONEachRow",
    "JSONLines",
    "NDJSON",
    "JSONStringsEachRow",
    "JSONCompactEachRow",
    "JSONCompactEachRowWithNames",
    "JSONCompactEachRowWithNamesAndTypes",
    "JSONCompactStringsEachRow",
    "JSONCompactStringsEachRowWithNames",
    "JSONCompactStringsEachRowWithNamesAndTypes",
    "JSONEachRowWithProgress",
    "PrettyJSONEachRow",
    "Native",
    "RowBinary",
    "RowBinaryWithNames",
    "RowBinaryWithNamesAndTypes",
    "Arrow",
    "ArrowStream",
    "Parquet",
    "Pretty",
    "PrettyCompact",
    "PrettyCompactMonoBlock",
    "PrettySpace",
    "Vertical",
    "Markdown",
    "Values",
    "XML",
    "TSKV",
    "Raw",
    "Null",
];

/// Checks visitors' statements as [`check`] does, in the database of the user.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantGuard;

impl SqlGuard for TenantGuard {
    fn check(&self, user: &EngineUser, sql: &str, format: &str) -> Result<Permitted, String> {
        permit(sql, format, &user.database)
    }
}

/// What a visitor's statement becomes; `format` is the one that the request names beside it.
///
/// # Errors
/// One sentence.
pub fn permit(sql: &str, format: &str, database: &str) -> Result<Permitted, String> {
    let read = tokens::read(sql).map_err(|refused| refused.to_string())?;
    let (statement, named) = without_format(&read);
    let wanted = named.unwrap_or(format);
    let Some(format) = FORMATS.iter().find(|known| known.eq_ignore_ascii_case(wanted)) else {
        return Err(format!("the format `{wanted}` is not served here: use one of {}", FORMATS.join(", ")));
    };
    let sql = match catalog(statement, database).map_err(|refused| refused.to_string())? {
        Some(answer) => answer,
        None => check(statement, database).map_err(|refused| refused.to_string())?.statement().to_owned(),
    };
    Ok(Permitted { sql, format: (*format).to_owned() })
}

/// The statement without comments and without `FORMAT name` at its end, and that name.
fn without_format(read: &tokens::Read) -> (&str, Option<&str>) {
    let text = read.text.trim();
    let [.., Token::Word(clause), Token::Word(name)] = read.tokens.as_slice() else { return (text, None) };
    let dotted = read.tokens.len() > 2 && read.tokens[read.tokens.len() - 3] == Token::Sign('.');
    if dotted || !clause.eq_ignore_ascii_case("FORMAT") {
        return (text, None);
    }
    let stripped = text.strip_suffix(name.as_str()).map(str::trim_end);
    let stripped = stripped.and_then(|rest| rest.len().checked_sub(clause.len()).and_then(|at| rest.get(..at)));
    stripped.map_or((text, None), |statement| (statement.trim_end(), Some(name)))
}

/// How a client's question about its settings goes on; `'` stands for a number.
const SETTINGS: [&str; 3] = ["FROM SYSTEM . SETTINGS", "FROM SYSTEM . SETTINGS LIMIT '", "AS READONLY FROM SYSTEM . SETTINGS LIMIT '"];

/// The questions of clients about what is there. `None` where it is none of them.
fn catalog(statement: &str, database: &str) -> Result<Option<String>, SqlRefused> {
    let read = tokens::read(statement)?;
    let words: Vec<String> = read.tokens.iter().map(plain).collect();
    let upper: Vec<String> = words.iter().map(|word| word.to_ascii_uppercase()).collect();
    let upper: Vec<&str> = upper.iter().map(String::as_str).collect();
    let list = |names: &[&str]| {
        let quoted: Vec<String> = names.iter().map(|name| literal(name)).collect();
        format!("SELECT arrayJoin([{}]) AS name", quoted.join(", "))
    };
    Ok(match upper.as_slice() {
        // What the official Go client asks on every new connection.
        ["SELECT", "DISPLAYNAME", "(", ")", ",", "VERSION", "(", ")", ",", "REVISION", "(", ")", ",", "TIMEZONE", "(", ")"] => {
            Some("SELECT 'Watchfire' AS `displayName()`, version(), revision(), timezone()".to_owned())
        }
        // And the official Python client, which then knows that it cannot set them. They are the session's own.
        ["SELECT", "NAME", ",", "VALUE", ",", "READONLY", rest @ ..] if SETTINGS.contains(&rest.join(" ").as_str()) => Some(
            "SELECT name, value, readonly FROM system.settings WHERE name NOT IN ('additional_table_filters', 'log_comment')".to_owned(),
        ),
        ["SHOW", "DATABASES"] => Some(list(&[database])),
        ["SHOW", "TABLES"] => Some(list(&TABLES)),
        ["SHOW", "TABLES", "FROM" | "IN", _] if words[3] == database => Some(list(&TABLES)),
        ["SHOW", "TABLES", "FROM" | "IN", other] => return Err(SqlRefused::Name { name: (*other).to_owned() }),
        ["DESC" | "DESCRIBE", "TABLE", rest @ ..] if !rest.is_empty() => Some(describe(&words[2..], database)?),
        ["DESC" | "DESCRIBE", rest @ ..] if !rest.is_empty() => Some(describe(&words[1..], database)?),
        _ => None,
    })
}

fn describe(name: &[String], database: &str) -> Result<String, SqlRefused> {
    let table = match name {
        [table] => table,
        [known, dot, table] if known == database && dot == "." => table,
        _ => return Err(SqlRefused::Table { table: name.concat() }),
    };
    let known = TABLES.iter().find(|known| *known == table).ok_or_else(|| SqlRefused::Table { table: table.clone() })?;
    Ok(format!("DESCRIBE TABLE {}.`{known}`", crate::engine::request::identifier(database)))
}

fn literal(text: &str) -> String {
    crate::engine::request::literal(text)
}

fn plain(token: &Token) -> String {
    match token {
        Token::Word(word) | Token::Quoted(word) => word.clone(),
        // Texts and numbers stand in none of the questions.
        Token::Text | Token::Number => "'".to_owned(),
        Token::Sign(sign) => sign.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permitted(sql: &str) -> Result<(String, String), String> {
        permit(sql, "TSV", "watchfire").map(|permitted| (permitted.sql, permitted.format))
    }

    #[test]
    fn a_format_is_taken_off_the_end_and_must_be_known() {
        for (sql, statement, format) in [
            ("SELECT 1", "SELECT 1", "TSV"),
            ("SELECT 1 FORMAT JSON", "SELECT 1", "JSON"),
            ("SELECT count() FROM logs\nformat  jsoneachrow -- the end\n ;", "SELECT count() FROM logs", "JSONEachRow"),
            ("SELECT format('{}', body) FROM logs FORMAT CSV", "SELECT format('{}', body) FROM logs", "CSV"),
        ] {
            assert_eq!(permitted(sql), Ok((statement.to_owned(), format.to_owned())), "{sql}");
        }
        for format in ["Template", "CapnProto", "Protobuf", "SQLInsert", "MySQLWire", "x"] {
            assert!(permitted(&format!("SELECT 1 FORMAT {format}")).unwrap_err().contains("is not served"), "{format}");
            assert!(permit("SELECT 1", format, "watchfire").unwrap_err().contains("is not served"), "{format}");
        }
        for sql in
            ["SELECT 1 FORMAT JSON FORMAT CSV", "SELECT 1 FORMAT JSON SETTINGS readonly = 0", "FORMAT JSON", "SELECT 1 FORMAT 'JSON'"]
        {
            assert!(permitted(sql).is_err(), "{sql}");
        }
        assert_eq!(permitted("SELECT l.FORMAT JSON").unwrap(), ("SELECT l.FORMAT JSON".to_owned(), "TSV".to_owned()));
    }

    #[test]
    fn what_clients_ask_first_is_answered_without_the_systems_tables() {
        let hello = permitted("SELECT displayName(), version(), revision(), timezone()").unwrap().0;
        assert!(hello.starts_with("SELECT 'Watchfire'"), "{hello}");
        let settings = permitted("SELECT name, value, readonly FROM system.settings LIMIT 10000 FORMAT Native").unwrap();
        assert!(settings.0.contains("NOT IN ('additional_table_filters'") && settings.1 == "Native", "{settings:?}");
        assert_eq!(permitted("SHOW DATABASES").unwrap().0, "SELECT arrayJoin(['watchfire']) AS name");
        for sql in ["SHOW TABLES", "show tables from watchfire", "SHOW TABLES FROM \"watchfire\" FORMAT JSON"] {
            assert!(permitted(sql).unwrap().0.contains("'otel_traces'"), "{sql}");
        }
        for sql in ["DESC TABLE \"watchfire\".\"logs\"", "DESCRIBE logs", "describe table watchfire.logs"] {
            assert_eq!(permitted(sql).unwrap().0, "DESCRIBE TABLE `watchfire`.`logs`", "{sql}");
        }
    }

    #[test]
    fn everything_else_is_for_the_check() {
        for sql in [
            "SHOW TABLES FROM system",
            "SHOW CREATE TABLE logs",
            "SHOW USERS",
            "DESCRIBE TABLE system.users",
            "DESCRIBE schema_migrations",
            "DESCRIBE file('/etc/passwd')",
            "DESC (SELECT 1)",
            "INSERT INTO logs SELECT * FROM logs",
            "SELECT * FROM system.settings",
            "SELECT name, value, readonly FROM system.settings WHERE 1",
            "SELECT name, value, readonly FROM system.users",
            "SELECT 1; SELECT 2",
            "SELECT {x:Identifier}",
            "SELECT revision()",
            "",
        ] {
            assert!(permitted(sql).is_err(), "{sql}");
        }
    }
}
