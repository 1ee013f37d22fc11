//! Messages without what varies: numbers, ids, quoted texts, addresses and paths become placeholders, so that
//! `KeyError('a')` and `KeyError('b')` are one kind of error. Pure. Stored fingerprints depend on it: frozen by tests.

/// A normalised message is at most this long, in bytes.
const MAX_BYTES: usize = 512;
/// Only this much of a message is looked at.
const MAX_INPUT: usize = 4_096;

/// The message with placeholders `<str>`, `<num>`, `<hex>`, `<uuid>`, `<id>`, `<email>`, `<url>`, `<ip>`, `<time>`, `<path>`;
/// white space is one blank, runs of the same placeholder are one.
pub fn normalize(message: &str) -> String {
    let message = &message[..message.floor_char_boundary(MAX_INPUT)];
    let mut out = String::with_capacity(message.len().min(MAX_BYTES));
    let mut rest = message.trim();
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let taken = if c.is_whitespace() {
            blank(&mut out);
            c.len_utf8()
        } else if let Some((length, placeholder)) = varying(rest, before) {
            put(&mut out, placeholder);
            length
        } else {
            let length = if is_word(c) { word(rest, &mut out) } else { plain(c, &mut out) };
            length.max(c.len_utf8())
        };
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    out.truncate(out.floor_char_boundary(MAX_BYTES));
    out.truncate(out.trim_end().len());
    out
}

fn blank(out: &mut String) {
    if !out.ends_with(' ') {
        out.push(' ');
    }
}

fn plain(c: char, out: &mut String) -> usize {
    out.push(c);
    c.len_utf8()
}

/// Appends a placeholder; `<num>, <num>` and `<num> <num>` become one.
fn put(out: &mut String, placeholder: &str) {
    let list = out.trim_end_matches([' ', ',']);
    if list.len() < out.len() && list.ends_with(placeholder) {
        out.truncate(list.len());
    } else {
        out.push_str(placeholder);
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Something at the start of `rest` that varies as a whole, with its length.
fn varying(rest: &str, before: char) -> Option<(usize, &'static str)> {
    if is_word(before) {
        return None;
    }
    quoted(rest)
        .map(|length| (length, "<str>"))
        .or_else(|| url(rest).map(|length| (length, "<url>")))
        .or_else(|| email(rest).map(|length| (length, "<email>")))
        .or_else(|| uuid(rest).map(|length| (length, "<uuid>")))
        .or_else(|| time(rest).map(|length| (length, "<time>")))
        .or_else(|| address(rest).map(|length| (length, "<ip>")))
        .or_else(|| path(rest).map(|length| (length, "<path>")))
        .or_else(|| number(rest))
}

/// A text in quotes that ends on the same line; an apostrophe inside a word never gets here.
fn quoted(rest: &str) -> Option<usize> {
    let open = rest.chars().next().filter(|c| matches!(c, '\'' | '"' | '`' | '\u{201c}' | '\u{2018}' | '\u{ab}'))?;
    let close = match open {
        '\u{201c}' => '\u{201d}',
        '\u{2018}' => '\u{2019}',
        '\u{ab}' => '\u{bb}',
        // Ruby and old GNU tools quote `like this'.
        '`' => return rest[1..].find(['`', '\'']).map(|at| at + 2),
        same => same,
    };
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '\n' => return None,
            '\\' if !escaped => escaped = true,
            c if c == close && !escaped => return Some(at + c.len_utf8()),
            _ => escaped = false,
        }
    }
    None
}

fn url(rest: &str) -> Option<usize> {
    let scheme = rest.find("://").filter(|at| (1..=20).contains(at))?;
    rest[..scheme].bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'.' | b'-')).then_some(())?;
    Some(until(rest, |c| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ')' | ']' | '}' | ',')))
}

fn email(rest: &str) -> Option<usize> {
    let local = until(rest, |c| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '%' | '+' | '-')));
    let domain = rest[local..].strip_prefix('@').filter(|_| local > 0)?;
    let length = until(domain, |c| !(c.is_alphanumeric() || matches!(c, '.' | '-')));
    let domain = domain[..length].trim_end_matches('.');
    domain.contains('.').then_some(local + 1 + domain.len())
}

/// Where the first character for which `stop` holds stands.
fn until(text: &str, stop: impl Fn(char) -> bool) -> usize {
    text.find(stop).unwrap_or(text.len())
}

/// The length of a text that starts with this shape: `x` a hex digit, `d` a digit, anything else itself.
fn shape(text: &str, shape: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..shape.len())?;
    let fits = bytes.iter().zip(shape.bytes()).all(|(byte, wanted)| match wanted {
        b'x' => byte.is_ascii_hexdigit(),
        b'd' => byte.is_ascii_digit(),
        other => *byte == other,
    });
    fits.then_some(shape.len())
}

/// Whether a token ends at `at`.
fn ends(text: &str, at: usize) -> bool {
    text.get(at..).is_some_and(|tail| !tail.starts_with(is_word))
}

fn uuid(rest: &str) -> Option<usize> {
    shape(rest, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx").filter(|length| ends(rest, *length))
}

/// `2026-03-01`, `2026-03-01T09:30:00.123Z`, `09:30:00,123`.
fn time(rest: &str) -> Option<usize> {
    let date = shape(rest, "dddd-dd-dd").or_else(|| shape(rest, "dddd/dd/dd"));
    let clock_at = match date {
        Some(length) if rest[length..].starts_with(['T', ' ']) => length + 1,
        Some(length) => return ends(rest, length).then_some(length),
        None => 0,
    };
    let Some(clock) = rest.get(clock_at..).and_then(|tail| shape(tail, "dd:dd:dd").or_else(|| shape(tail, "dd:dd"))) else {
        return date;
    };
    if date.is_none() && clock == 5 {
        return None;
    }
    let mut at = clock_at + clock;
    if rest[at..].starts_with(['.', ',']) {
        let digits = until(&rest[at + 1..], |c| !c.is_ascii_digit());
        at += if digits > 0 { digits + 1 } else { 0 };
    }
    let zone = &rest[at..];
    at += match zone.chars().next() {
        Some('Z') => 1,
        Some('+' | '-') => shape(&zone[1..], "dd:dd").or_else(|| shape(&zone[1..], "dddd")).map_or(0, |length| length + 1),
        _ => 0,
    };
    Some(at)
}

/// An IPv4 address or an IPv6 address in brackets or with `::`, with a port if there is one.
fn address(rest: &str) -> Option<usize> {
    let length = match rest.strip_prefix('[') {
        Some(inner) => inner.find(']').filter(|end| inner[..*end].parse::<std::net::Ipv6Addr>().is_ok())? + 2,
        None => {
            let token = until(rest, |c| !(c.is_ascii_hexdigit() || c == '.' || c == ':'));
            let four = until(rest, |c| !(c.is_ascii_digit() || c == '.'));
            let four = rest[..four].trim_end_matches('.').len();
            if rest[..four].parse::<std::net::Ipv4Addr>().is_ok() {
                four
            } else {
                let six = rest[..token].trim_end_matches([':', '.']).len();
                rest[..six].parse::<std::net::Ipv6Addr>().ok()?;
                return ends(rest, six).then_some(six);
            }
        }
    };
    let port = rest[length..].strip_prefix(':').map_or(0, |tail| until(tail, |c| !c.is_ascii_digit()));
    Some(if port > 0 { length + 1 + port } else { length })
}

/// `/srv/x/y`, `./x/y`, `C:\x\y`: at least two parts.
fn path(rest: &str) -> Option<usize> {
    let end = until(rest, |c| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '='));
    let windows = rest.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) && rest[1..].starts_with(":\\");
    if windows {
        let tail = &rest[2..];
        let end = until(tail, |c| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | ',' | ';' | ':'));
        return Some(2 + tail[..end].trim_end_matches('.').len());
    }
    let text = rest[..end].trim_end_matches('.');
    let rooted = text.starts_with('/') || text.starts_with("./") || text.starts_with("../") || text.starts_with("~/");
    (rooted && text.matches('/').count() >= 2).then_some(text.len())
}

/// A number by itself: `-12.5e3`, `0x1f`, `42%`. Digits inside words are left to [`word`].
fn number(rest: &str) -> Option<(usize, &'static str)> {
    if rest.starts_with("0x") || rest.starts_with("0X") {
        let digits = until(&rest[2..], |c| !c.is_ascii_hexdigit());
        return (digits > 0 && ends(rest, digits + 2)).then_some((digits + 2, "<hex>"));
    }
    let sign = usize::from(rest.starts_with(['-', '+']));
    let body = &rest[sign..];
    let mut length = until(body, |c| !c.is_ascii_digit());
    if length == 0 {
        return None;
    }
    while let Some(tail) = body[length..].strip_prefix(['.', ',']).filter(|tail| tail.starts_with(|c: char| c.is_ascii_digit())) {
        length += 1 + until(tail, |c| !c.is_ascii_digit());
    }
    if let Some(tail) = body[length..].strip_prefix(['e', 'E']) {
        let signed = usize::from(tail.starts_with(['-', '+']));
        let digits = until(&tail[signed..], |c| !c.is_ascii_digit());
        length += if digits > 0 { 1 + signed + digits } else { 0 };
    }
    ends(body, length).then_some((sign + length, "<num>"))
}

/// A word: an id where letters and digits are mixed, else itself with its digits replaced.
fn word(rest: &str, out: &mut String) -> usize {
    let length = until(rest, |c| !is_word(c));
    let text = &rest[..length];
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 {
        out.push_str(text);
        return length;
    }
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
    let runs = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).count();
    match () {
        () if hex && text.len() >= 7 => put(out, "<hex>"),
        () if text.len() >= 8 && runs >= 4 => put(out, "<id>"),
        () => digits_out(text, out),
    }
    length
}

fn digits_out(text: &str, out: &mut String) {
    let mut in_number = false;
    for c in text.chars() {
        match (c.is_ascii_digit(), in_number) {
            (true, false) => out.push_str("<num>"),
            (true, true) => {}
            (false, _) => out.push(c),
        }
        in_number = c.is_ascii_digit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_varies_becomes_a_placeholder() {
        for (message, expected) in [
            ("'a'", "<str>"),
            ("'it\\'s'", "<str>"),
            ("division by zero", "division by zero"),
            ("can't open user's file", "can't open user's file"),
            ("list index 17 out of range", "list index <num> out of range"),
            ("took -1.5e3 ms, limit 1,000", "took <num> ms, limit <num>"),
            ("user 6f1c9a52-0c7e-4e31-9a37-0242ac120002 not found", "user <uuid> not found"),
            ("object at 0x7f3a2c10", "object at <hex>"),
            ("commit deadbeef12 broke", "commit <hex> broke"),
            ("request req_8f7a6b5c4d3e2f1a failed", "request <id> failed"),
            ("order-1234 for user77", "order-<num> for user<num>"),
            ("mail to jane.doe+x@example.co.uk bounced.", "mail to <email> bounced."),
            ("GET https://api.example.com/v1/orders/17?x=1 returned 503", "GET <url> returned <num>"),
            ("connect 10.0.0.12:5432: refused", "connect <ip>: refused"),
            ("connect [::1]:80 and fe80::1", "connect <ip> and <ip>"),
            ("open /var/lib/shop/data.db: denied", "open <path>: denied"),
            ("cannot read C:\\data\\orders.csv now", "cannot read <path> now"),
            ("at 2026-03-01T09:30:00.123Z it broke", "at <time> it broke"),
            ("2026-03-01 09:30:00,123 ERROR x", "<time> ERROR x"),
            ("ids [1, 2, 3] and ('a', 'b')", "ids [<num>] and (<str>)"),
            ("either and/or", "either and/or"),
            ("line\n\n  two\ttabs", "line two tabs"),
            ("undefined method `price' for nil", "undefined method <str> for nil"),
            ("ratio 3/4 at 12:30", "ratio <num>/<num> at <num>:<num>"),
            ("HTTP2 sha256 utf8", "HTTP<num> sha<num> utf<num>"),
            ("日本語 \u{201c}x\u{201d} 5", "日本語 <str> <num>"),
            ("unclosed 'quote", "unclosed 'quote"),
            ("", ""),
        ] {
            assert_eq!(normalize(message), expected, "{message}");
        }
    }

    #[test]
    fn messages_of_one_kind_fall_together() {
        for (one, other) in [
            ("KeyError('a')", "KeyError('b')"),
            ("Connection to db-1.internal:5432 timed out after 30.01s", "Connection to db-2.internal:5432 timed out after 9.5s"),
            ("duplicate key value (id)=(42) already exists", "duplicate key value (id)=(7) already exists"),
            ("invalid literal for int() with base 10: 'x7'", "invalid literal for int() with base 10: ''"),
            ("params: [1, 2]", "params: [3, 4, 5, 6]"),
        ] {
            assert_eq!(normalize(one), normalize(other));
        }
        assert_ne!(normalize("no such user 'a'"), normalize("no such order 'a'"));
    }

    #[test]
    fn the_result_is_bounded() {
        assert!(normalize(&"ab ".repeat(10_000)).len() <= MAX_BYTES);
        assert!(normalize(&"日".repeat(10_000)).len() <= MAX_BYTES);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(?s)(['\"`/:\\\\@.,<>\\[\\]-]|[0-9a-f]{1,4}|0x|://|\\PC| ){0,80}") {
            normalize(&text);
        }
    }
}
