//! What an HTTP request asks of ClickHouse: pure. In: query parameters and the decoded body. Out: a statement with its settings,
//! or one sentence.

use std::collections::BTreeMap;

/// A request, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// The statement.
    pub sql: String,
    /// For an INSERT with data in the body: the format's name and the data.
    pub data: Option<(String, Vec<u8>)>,
    /// The format where the statement names none.
    pub format: String,
    /// `database`, if one is named.
    pub database: Option<String>,
    /// `query_id`, if one is named.
    pub query_id: Option<String>,
    /// Settings, and query parameters under their names with `param_`.
    pub settings: BTreeMap<String, String>,
}

/// A request that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AskError {
    /// No statement at all.
    #[error("there is no statement: send it as the parameter `query` or as the body")]
    Empty,
    /// A setting's name is none.
    #[error("`{0}` is not a setting's name")]
    SettingName(String),
    /// The statement is not text.
    #[error("the statement is not UTF-8 text")]
    NotText,
}

/// Parameters that are not settings.
const NOT_SETTINGS: [&str; 12] = [
    "query",
    "database",
    "default_format",
    "query_id",
    "session_id",
    "session_timeout",
    "session_check",
    "compress",
    "decompress",
    "user",
    "password",
    "wait_end_of_query",
];

/// Understands a request.
pub fn understand(parameters: &[(String, String)], body: Vec<u8>) -> Result<Ask, AskError> {
    let get = |name: &str| parameters.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone()).filter(|value| !value.is_empty());
    let mut settings = BTreeMap::new();
    for (name, value) in parameters.iter().filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str())) {
        let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            return Err(AskError::SettingName(name.clone()));
        }
        settings.insert(name.clone(), value.clone());
    }
    let (sql, data) = statement(get("query"), body)?;
    Ok(Ask {
        sql,
        data,
        format: get("default_format").unwrap_or_else(|| "TabSeparated".to_owned()),
        database: get("database"),
        query_id: get("query_id"),
        settings,
    })
}

type Data = Option<(String, Vec<u8>)>;

fn statement(query: Option<String>, body: Vec<u8>) -> Result<(String, Data), AskError> {
    if let Some(query) = &query
        && let Some((sql, format)) = insert_format(query)
    {
        return Ok((sql.to_owned(), Some((format, body))));
    }
    // An INSERT whose statement and data share the body: the data begins after the line (or the one blank) that ends the statement.
    let head = String::from_utf8_lossy(&body[..body.len().min(4096)]).into_owned();
    if query.is_none()
        && let Some(line) = head.find('\n')
        && let Some((sql, format)) = insert_format(&head[..line])
    {
        return Ok((sql.to_owned(), Some((format, body[line + 1..].to_vec()))));
    }
    let body = String::from_utf8(body).map_err(|_| AskError::NotText)?;
    let sql = match query {
        Some(query) if body.trim().is_empty() => query,
        Some(query) => format!("{query}\n{body}"),
        None => body,
    };
    if sql.trim().is_empty() { Err(AskError::Empty) } else { Ok((sql, None)) }
}

fn is_insert(sql: &str) -> bool {
    sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("insert"))
}

/// The statement before the clause, and the format, of `INSERT ... FORMAT X` at the end of a text. (An insert stream takes the
/// format apart; a clause in its text would be read as data.)
fn insert_format(sql: &str) -> Option<(&str, String)> {
    if !is_insert(sql) {
        return None;
    }
    let trimmed = sql.trim_end().trim_end_matches(';').trim_end();
    let (rest, format) = trimmed.rsplit_once(char::is_whitespace)?;
    let rest = rest.trim_end();
    let (statement, keyword) = rest.split_at(rest.rfind(|c: char| c.is_whitespace() || c == ')')? + 1);
    let fits = keyword.eq_ignore_ascii_case("format") && format.bytes().all(|b| b.is_ascii_alphanumeric());
    fits.then(|| (statement.trim_end(), format.to_owned()))
}

/// A setting's value as a literal.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The number in `Code: 60. DB::Exception: ...`.
pub fn error_code(message: &str) -> Option<u32> {
    let rest = &message[message.find("Code: ")? + 6..];
    rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())].parse().ok()
}

/// ClickHouse's HTTP status for an error code.
pub fn status(code: u32) -> u16 {
    match code {
        // UNKNOWN_TABLE, UNKNOWN_DATABASE, UNKNOWN_FUNCTION, UNKNOWN_TYPE
        60 | 81 | 46 | 50 => 404,
        // SYNTAX_ERROR, UNKNOWN_IDENTIFIER, bad arguments, types and data
        62 | 47 | 36 | 42 | 43 | 53 | 27 | 72 | 6 | 16 | 20 | 115 | 117 => 400,
        // QUOTA, TOO_MANY_SIMULTANEOUS_QUERIES
        201 | 202 => 503,
        // READONLY, ACCESS_DENIED
        164 | 497 => 403,
        159 => 408,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn statement_settings_and_data_are_told_apart() {
        let ask = understand(
            &pairs(&[("query", "INSERT INTO t (a) FORMAT Native"), ("insert_deduplication_token", "x/1"), ("database", "d")]),
            vec![1, 0xFF],
        )
        .unwrap();
        assert_eq!((ask.sql.as_str(), ask.data), ("INSERT INTO t (a)", Some(("Native".to_owned(), vec![1, 0xFF]))));
        assert_eq!(ask.settings.get("insert_deduplication_token").map(String::as_str), Some("x/1"));
        assert_eq!(ask.database.as_deref(), Some("d"));
        let ask = understand(&pairs(&[("default_format", "JSON")]), b"SELECT 1".to_vec()).unwrap();
        assert_eq!((ask.sql.as_str(), ask.data, ask.format.as_str()), ("SELECT 1", None, "JSON"));
        let ask = understand(&[], b"INSERT INTO t FORMAT TSV\n1\n2\n".to_vec()).unwrap();
        assert_eq!(ask.data, Some(("TSV".to_owned(), b"1\n2\n".to_vec())));
        let ask = understand(&[], b"INSERT INTO t SELECT 'format'\nFROM x".to_vec()).unwrap();
        assert_eq!(ask.data, None);
        assert_eq!(understand(&[], Vec::new()), Err(AskError::Empty));
        assert_eq!(understand(&pairs(&[("a;b", "1")]), b"SELECT 1".to_vec()), Err(AskError::SettingName("a;b".to_owned())));
    }

    #[test]
    fn codes_are_read_from_messages() {
        assert_eq!(error_code("Code: 60. DB::Exception: Unknown table"), Some(60));
        assert_eq!(error_code("all is well"), None);
        assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
    }
}
