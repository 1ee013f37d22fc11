//! What an HTTP request asks of ClickHouse: pure. In: method, URL parameters (and form fields) and headers. Out: an [`Ask`], or one
//! sentence. The statement's text may go on in the body; [`super::work`] puts the two together.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

use super::encoding::Encoding;

/// A request, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The statement as far as parameters hold it; the body follows it.
    pub query: String,
    /// The format where the statement names none.
    pub format: String,
    /// `database`, if one is named.
    pub database: Option<String>,
    /// The client's name for the statement, if it gave one.
    pub query_id: Option<String>,
    /// Settings, and query parameters under their names with `param_`.
    pub settings: BTreeMap<String, String>,
    /// `session_id` was given.
    pub session: bool,
    /// `wait_end_of_query=1`: nothing is sent before the statement has succeeded.
    pub wait_for_end: bool,
    /// `decompress=1`: the body comes in ClickHouse's compressed blocks.
    pub blocks_in: bool,
    /// How the answer is encoded.
    pub encoding: Encoding,
    /// The method was GET, which never writes.
    pub get: bool,
}

/// A request that makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AskError {
    /// A setting's name is none.
    #[error("`{0}` is not a setting's name: letters, digits and `_` only")]
    SettingName(String),
    /// Something of ClickHouse's interface that is not served.
    #[error("the parameter `{0}` is not served by the embedded engine: leave it out")]
    NotServed(&'static str),
}

/// Parameters that are not settings.
const NOT_SETTINGS: [&str; 17] = [
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
    "buffer_size",
    "quota_key",
    "stacktrace",
    "enable_http_compression",
    "client_protocol_version",
];

/// Understands a request. Of a parameter that is given twice the last one counts, except that `query` is put together.
///
/// # Errors
/// [`AskError`], one sentence for the client.
pub fn understand(get: bool, parameters: &[(String, String)], headers: &HeaderMap) -> Result<Ask, AskError> {
    let last = |name: &str| parameters.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let given = |name: &str, fallback: &str| last(name).or_else(|| header(fallback)).filter(|value| !value.is_empty()).map(str::to_owned);
    let on = |name: &str| last(name).is_some_and(|value| value == "1" || value.eq_ignore_ascii_case("true"));
    if last("role").is_some() {
        return Err(AskError::NotServed("role"));
    }
    let mut settings = BTreeMap::new();
    for (name, value) in parameters.iter().filter(|(name, _)| !NOT_SETTINGS.contains(&name.as_str())) {
        let fits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !fits {
            return Err(AskError::SettingName(name.clone()));
        }
        settings.insert(name.clone(), value.clone());
    }
    let accepted = if last("enable_http_compression") == Some("0") { None } else { headers.get(ACCEPT_ENCODING) };
    let encoding = if on("compress") {
        Encoding::Blocks
    } else {
        accepted.and_then(|value| value.to_str().ok()).map_or(Encoding::Identity, Encoding::chosen)
    };
    Ok(Ask {
        query: parameters.iter().filter(|(name, _)| name == "query").map(|(_, value)| value.as_str()).collect(),
        format: given("default_format", "X-ClickHouse-Format").unwrap_or_else(|| "TabSeparated".to_owned()),
        database: given("database", "X-ClickHouse-Database"),
        query_id: last("query_id").filter(|value| !value.is_empty()).map(str::to_owned),
        settings,
        session: last("session_id").is_some_and(|value| !value.is_empty()),
        wait_for_end: on("wait_end_of_query"),
        blocks_in: on("decompress"),
        encoding,
        get,
    })
}

/// The `SET` and `USE` statements of a request, in order: the engine's own defaults, the request's settings, and last `readonly`, which
/// forbids everything after it. `mark` becomes the beginning of `log_comment`, by which the statement is found to be ended.
pub fn preparations(defaults: &[(&str, String)], ask: &Ask, readonly: Option<u8>, mark: &str) -> Vec<String> {
    let comment = ask.settings.get("log_comment").map_or_else(|| mark.to_owned(), |own| format!("{mark} {own}"));
    let own = ask.settings.iter().filter(|(name, _)| !matches!(name.as_str(), "log_comment" | "readonly"));
    let pairs = defaults
        .iter()
        .filter(|(name, _)| !ask.settings.contains_key(*name))
        .map(|(name, value)| (*name, value.as_str()))
        .chain(own.map(|(name, value)| (name.as_str(), value.as_str())))
        .chain([("log_comment", comment.as_str())]);
    let list = pairs.map(|(name, value)| format!("{name} = {}", literal(value))).collect::<Vec<_>>().join(", ");
    let mut statements = Vec::new();
    if let Some(database) = &ask.database {
        statements.push(format!("USE {}", identifier(database)));
    }
    statements.push(format!("SET {list}"));
    let asked = ask.settings.get("readonly").map(String::as_str).filter(|value| *value != "0");
    let lock = match (readonly, asked) {
        (Some(level), _) => Some(level.to_string()),
        (None, Some(asked)) => Some(asked.to_owned()),
        (None, None) => None,
    };
    statements.extend(lock.map(|level| format!("SET readonly = {}", literal(&level))));
    statements
}

/// A text as a literal of SQL.
pub fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A name as an identifier of SQL.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn ask(parameters: &[(&str, &str)]) -> Ask {
        understand(false, &pairs(parameters), &HeaderMap::new()).unwrap()
    }

    #[test]
    fn statement_names_and_settings_are_told_apart() {
        let ask = ask(&[
            ("query", "SELECT "),
            ("insert_deduplication_token", "x/1"),
            ("database", "d"),
            ("query", "1"),
            ("param_a", "1"),
            ("wait_end_of_query", "1"),
        ]);
        assert_eq!((ask.query.as_str(), ask.database.as_deref(), ask.wait_for_end), ("SELECT 1", Some("d"), true));
        assert_eq!(ask.settings.keys().collect::<Vec<_>>(), ["insert_deduplication_token", "param_a"]);
        let refused = understand(false, &pairs(&[("a;b", "1")]), &HeaderMap::new());
        assert_eq!(refused, Err(AskError::SettingName("a;b".to_owned())));
        assert_eq!(understand(false, &pairs(&[("role", "x")]), &HeaderMap::new()), Err(AskError::NotServed("role")));
    }

    #[test]
    fn headers_stand_in_for_parameters() {
        let mut headers = HeaderMap::new();
        headers.insert("X-ClickHouse-Database", "d".parse().unwrap());
        headers.insert("X-ClickHouse-Format", "JSON".parse().unwrap());
        headers.insert(ACCEPT_ENCODING, "gzip".parse().unwrap());
        let read = |parameters: &[(&str, &str)]| understand(true, &pairs(parameters), &headers).unwrap();
        let plain = read(&[]);
        assert_eq!((plain.database.as_deref(), plain.format.as_str(), plain.encoding), (Some("d"), "JSON", Encoding::Gzip));
        assert_eq!(read(&[("default_format", "CSV")]).format, "CSV");
        assert_eq!(read(&[("enable_http_compression", "0")]).encoding, Encoding::Identity);
        assert_eq!(read(&[("compress", "1")]).encoding, Encoding::Blocks);
    }

    #[test]
    fn preparations_end_with_the_lock_and_keep_the_mark() {
        let defaults = [("async_insert", "0".to_owned()), ("max_threads", "2".to_owned())];
        let request = ask(&[("max_threads", "7"), ("log_comment", "it's"), ("readonly", "2"), ("database", "a`b")]);
        assert_eq!(
            preparations(&defaults, &request, None, "m1"),
            ["USE `a\\`b`", "SET async_insert = '0', max_threads = '7', log_comment = 'm1 it\\'s'", "SET readonly = '2'"]
        );
        assert_eq!(preparations(&[], &request, Some(1), "m1").last().map(String::as_str), Some("SET readonly = '1'"));
        assert_eq!(preparations(&[], &ask(&[("readonly", "0")]), None, "m"), ["SET log_comment = 'm'"]);
        assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
    }
}
