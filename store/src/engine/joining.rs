//! Which formats may be streamed. The engine formats every piece of a streamed result by itself, so pieces make one answer only in
//! formats that are rows after rows, or a header and rows: the header of every piece but the first is taken off. All other formats
//! (JSON, Parquet, Arrow, ...) are formatted once, whole. Pure.

/// How the pieces of a format are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// One after the other.
    Rows,
    /// Each begins with this many lines of header.
    Lines(usize),
    /// The same, with quotes that may hide line ends.
    QuotedLines(usize),
    /// Each begins with names, and perhaps types, in binary: a count and this many times as many texts.
    Names(usize),
}

/// How pieces of this format are joined; `None` if they cannot be.
pub fn joining(format: &str) -> Option<Joining> {
    const ROWS: [&str; 17] = [
        "TabSeparated",
        "TSV",
        "TabSeparatedRaw",
        "TSVRaw",
        "Raw",
        "CSV",
        "TSKV",
        "JSONEachRow",
        "JSONLines",
        "NDJSON",
        "PrettyJSONEachRow",
        "JSONStringsEachRow",
        "JSONCompactEachRow",
        "JSONCompactStringsEachRow",
        "RowBinary",
        "Native",
        "RawBLOB",
    ];
    const LINES: [&str; 4] = ["TabSeparated", "TSV", "JSONCompactEachRow", "JSONCompactStringsEachRow"];
    let is_one_of = |names: &[&str], wanted: &str| names.iter().any(|name| name.eq_ignore_ascii_case(wanted));
    let without = |suffix: &str| {
        let at = format.len().checked_sub(suffix.len())?;
        format.is_char_boundary(at).then(|| format.split_at(at)).filter(|(_, end)| end.eq_ignore_ascii_case(suffix)).map(|(start, _)| start)
    };
    let (base, headers) = match (without("WithNamesAndTypes"), without("WithNames")) {
        (Some(base), _) => (base, 2),
        (None, Some(base)) => (base, 1),
        (None, None) => return is_one_of(&ROWS, format).then_some(Joining::Rows),
    };
    if base.eq_ignore_ascii_case("RowBinary") {
        return Some(Joining::Names(headers));
    }
    if base.eq_ignore_ascii_case("CSV") {
        return Some(Joining::QuotedLines(headers));
    }
    is_one_of(&LINES, base).then_some(Joining::Lines(headers))
}

impl Joining {
    /// How many bytes of a piece are header; `None` when it does not hold a whole one.
    pub fn header_length(self, piece: &[u8]) -> Option<usize> {
        match self {
            Joining::Rows => Some(0),
            Joining::Lines(lines) => lines_end(piece, lines, false),
            Joining::QuotedLines(lines) => lines_end(piece, lines, true),
            Joining::Names(times) => {
                let (columns, mut at) = variable_length(piece, 0)?;
                for _ in 0..columns.checked_mul(times as u64)? {
                    let (length, start) = variable_length(piece, at)?;
                    at = start.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= piece.len())?;
                }
                Some(at)
            }
        }
    }
}

/// Where the first `lines` lines end.
fn lines_end(piece: &[u8], lines: usize, quotes: bool) -> Option<usize> {
    let (mut quoted, mut left) = (false, lines);
    for (at, byte) in piece.iter().enumerate() {
        match byte {
            b'"' if quotes => quoted = !quoted,
            b'\n' if !quoted => left = left.saturating_sub(1),
            _ => {}
        }
        if left == 0 {
            return Some(at + 1);
        }
    }
    None
}

/// A LEB128 number and where it ends.
fn variable_length(bytes: &[u8], start: usize) -> Option<(u64, usize)> {
    let mut value = 0u64;
    for (index, byte) in bytes.get(start..)?.iter().take(9).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, start + index + 1));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        for (format, expected) in [
            ("Native", Some(Joining::Rows)),
            ("tsv", Some(Joining::Rows)),
            ("TSVWithNames", Some(Joining::Lines(1))),
            ("CSVWithNamesAndTypes", Some(Joining::QuotedLines(2))),
            ("RowBinaryWithNamesAndTypes", Some(Joining::Names(2))),
            ("TSVRawWithNames", None),
            ("JSON", None),
            ("JSONCompact", None),
            ("Parquet", None),
            ("Values", None),
            ("", None),
            ("äöWithNames", None),
        ] {
            assert_eq!(joining(format), expected, "{format}");
        }
    }

    #[test]
    fn headers_are_measured() {
        assert_eq!(Joining::Lines(1).header_length(b"a\tb\n1\t2\n"), Some(4));
        assert_eq!(Joining::QuotedLines(2).header_length(b"\"a\n\"\"b\"\n\"UInt8\"\n1\n"), Some(16));
        assert_eq!(Joining::Lines(1).header_length(b"a\"b\n1\n"), Some(4));
        assert_eq!(Joining::Lines(1).header_length(b"no end"), None);
        assert_eq!(Joining::Names(2).header_length(b"\x01\x01a\x06UInt64rows"), Some(10));
        assert_eq!(Joining::Names(1).header_length(b"\x02\x01a"), None);
        assert_eq!(Joining::Names(1).header_length(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(Joining::Rows.header_length(b""), Some(0));
    }
}
