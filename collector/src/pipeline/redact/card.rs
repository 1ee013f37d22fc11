//! Payment card numbers in text: digits, plain or in the groups that cards are printed with, of a length and prefix that a network
//! issues, with the right check digit (Luhn, ISO/IEC 7812-1), and not part of a longer number or word. Groups and what stands around may be
//! written as URLs do: `+` and `%20` between them, `%3D` before. Pure.

use std::ops::Range;

/// The shortest number that is looked for.
const LEAST: usize = 14;
/// The longest one.
const MOST: usize = 19;

/// The next card number at or after `from`.
pub(super) fn next(text: &[u8], from: usize) -> Option<Range<usize>> {
    let mut at = from;
    while at < text.len() {
        // Groups have at least four digits and separators are one byte, or `%` and digits, so of two neighbours in a number one is a
        // digit: looking at two bytes in eight finds every number that is long enough.
        if !(text[at].is_ascii_digit() || text.get(at + 1).is_some_and(u8::is_ascii_digit)) {
            at += 8;
            continue;
        }
        let run = run(text, at, from);
        if let Some(found) = check(text, run.clone()) {
            return Some(found);
        }
        at = run.end.max(at + 1) + 1;
    }
    None
}

/// How long the separator is that stands at `at`: 0 where there is none. An escaped blank may be escaped again: `%2520`.
fn separator(text: &[u8], at: usize) -> usize {
    match text.get(at) {
        Some(b' ' | b'-' | b'+') => 1,
        Some(b'%') => {
            let mut end = at + 1;
            while text[end..].starts_with(b"25") {
                end += 2;
            }
            if text[end..].starts_with(b"20") { end + 2 - at } else { 0 }
        }
        _ => 0,
    }
}

/// How far a run is looked at, back and forth: more than any number takes with its separators, and the rest of a long run is looked at next.
const BACK: usize = 64;
const FORTH: usize = 256;

/// The digits around `at`, with single separators between them.
fn run(text: &[u8], at: usize, from: usize) -> Range<usize> {
    let at = if text[at].is_ascii_digit() { at } else { at + 1 };
    let (mut start, mut end) = (at, at + 1);
    while start > from && at - start < BACK {
        let before = text[start - 1];
        if before.is_ascii_digit() {
            start -= 1;
        } else if start > from + 1 && text[start - 2].is_ascii_digit() && separator(text, start - 1) > 0 {
            start -= 2;
        } else {
            break;
        }
    }
    while end < text.len() && end - at < FORTH {
        if text[end].is_ascii_digit() {
            end += 1;
            continue;
        }
        let width = separator(text, end);
        if width == 0 || !text.get(end + width).is_some_and(u8::is_ascii_digit) {
            break;
        }
        end += width + 1;
    }
    start..end
}

/// The card number in a run of digits and separators: one stretch of digits, or neighbouring groups of a known shape.
fn check(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    if run.len() < LEAST {
        return None;
    }
    let mut groups: Vec<Range<usize>> = Vec::new();
    let (mut start, mut at) = (run.start, run.start);
    while at < run.end {
        let width = separator(text, at);
        if width > 0 {
            groups.push(start..at);
            start = at + width;
        }
        at += width.max(1);
    }
    groups.push(start..run.end);
    // Of a written-out `\u0008`, `%20`, `%C3` or `%2520` the digits are no digits of the number.
    let skips: &[usize] = match &text[..run.start] {
        [.., b'\\', b'u'] => &[4],
        [.., b'%'] => &[2, 4, 0],
        [.., b'%', _] => &[0, 1],
        _ => &[0],
    };
    let first = groups[0].clone();
    skips.iter().find_map(|skip| {
        groups[0].start = if first.len() > *skip { first.start + skip } else { first.start };
        let plain =
            groups.iter().find(|group| (LEAST..=MOST).contains(&group.len()) && alone(text, group) && plain(&text[(*group).clone()]));
        plain.cloned().or_else(|| grouped(text, &groups))
    })
}

/// How cards are printed: lengths of the groups.
const SHAPES: [&[usize]; 4] = [&[4, 4, 4, 4, 3], &[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

fn grouped(text: &[u8], groups: &[Range<usize>]) -> Option<Range<usize>> {
    for first in 0..groups.len() {
        for shape in SHAPES {
            let Some(taken) = groups.get(first..first + shape.len()) else { continue };
            let whole = taken[0].start..taken[shape.len() - 1].end;
            let fits = taken.iter().zip(shape).all(|(group, length)| group.len() == *length);
            let same = || taken.windows(2).all(|pair| text[pair[0].end] == text[taken[0].end]);
            if !fits || !same() || !alone(text, &whole) {
                continue;
            }
            let digits: Vec<u8> = taken.iter().flat_map(|group| &text[group.clone()]).copied().collect();
            // A long number is printed in groups only where it is a card's.
            if issued(&digits, true) && luhn(&digits) {
                return Some(whole);
            }
        }
    }
    None
}

fn plain(digits: &[u8]) -> bool {
    issued(digits, false) && luhn(digits)
}

/// Whether no letter, digit or decimal point makes it part of something longer; `card_` before it does not.
fn alone(text: &[u8], range: &Range<usize>) -> bool {
    let word = |at: Option<usize>| at.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let point = |at: Option<usize>, beyond: Option<usize>| {
        at.and_then(|at| text.get(at)) == Some(&b'.') && beyond.and_then(|at| text.get(at)).is_some_and(u8::is_ascii_digit)
    };
    let (before, after) = (range.start.checked_sub(1), Some(range.end));
    (!word(before) || escaped(&text[..range.start]))
        && !word(after)
        && !point(before, range.start.checked_sub(2))
        && !point(after, Some(range.end + 1))
}

/// Whether the text ends with an escape of JSON or of an URL, or with a colour of a terminal, whose letters are no letters of a word.
fn escaped(before: &[u8]) -> bool {
    let hex = |digits: &[u8]| digits.iter().all(u8::is_ascii_hexdigit);
    match before {
        [.., b'\\', b'b' | b'f' | b'n' | b'r' | b't' | b'v'] => true,
        [.., b'\\', b'u', a, b, c, d] if hex(&[*a, *b, *c, *d]) => true,
        [chain @ .., a, b] if hex(&[*a, *b]) && percent(chain) => true,
        [colour @ .., b'm'] => {
            let digits = colour.iter().rev().take(12).take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
            colour[..colour.len() - digits].ends_with(b"[")
        }
        _ => false,
    }
}

/// Whether it ends with `%`, or with one that was escaped itself: `%25`.
pub(super) fn percent(mut chain: &[u8]) -> bool {
    while let [before @ .., b'2', b'5'] = chain {
        chain = before;
    }
    chain.ends_with(b"%")
}

/// Whether a network issues numbers of this length with this prefix. Visa's 19 digits and UnionPay's 17 to 19 count only where they
/// are grouped: ids and nanoseconds have as many.
fn issued(digits: &[u8], grouped: bool) -> bool {
    let prefix = |length: usize| digits[..length].iter().fold(0u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    match digits.len() {
        14 => matches!(prefix(3), 300..=305 | 360..=369 | 380..=399),
        15 => matches!(prefix(2), 34 | 37),
        16 => {
            digits[0] == b'4'
                || matches!(prefix(2), 51..=55 | 62 | 65)
                || matches!(prefix(4), 2221..=2720 | 3528..=3589 | 6011 | 6440..=6499)
        }
        19 => grouped && (digits[0] == b'4' || prefix(2) == 62),
        _ => false,
    }
}

/// Whether the last digit is the check digit of those before it.
pub(super) fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(digit.wrapping_sub(b'0'));
            match (at % 2, digit * 2) {
                (0, _) => digit,
                (_, twice) if twice > 9 => twice - 9,
                (_, twice) => twice,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let (mut all, mut from) = (Vec::new(), 0);
        while let Some(range) = next(text.as_bytes(), from) {
            from = range.end;
            all.push(&text[range]);
        }
        all
    }

    /// The numbers that the networks publish for tests.
    #[test]
    fn the_numbers_of_the_networks_are_found_wherever_they_stand() {
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "3782 822463 10005",
            "6011111111111117",
            "30569309025904",
            "3056 930902 5904",
            "3566002020360505",
            "6200000000000005",
            "4000 0000 0000 0000 006",
        ] {
            for text in [
                number.to_owned(),
                format!("card={number}, amount=5"),
                format!("{{\"pan\":\"{number}\"}}"),
                format!("7 {number}"),
                format!("2026-03-01 {number} ok"),
                format!("order 12 - {number}."),
                format!("é{}{number}", " ".repeat(9)),
                format!("card_{number}_x"),
                format!("https://x.org/?a=b%26pan%3D{number}%26c=1"),
                format!("%22{number}%22"),
                format!("%7B%2522{number}%2522%7D"),
                format!("pan:%20{number}"),
                format!("pan%253A%2520{number}"),
                format!("Andr%C3%A9{number}"),
                format!("7%20{number}%20EUR"),
                format!("7+{number}+EUR"),
            ] {
                assert_eq!(found(&text), [number], "{text}");
            }
        }
        for between in [" ", "+", "-", "%20", "%2520", "_", "%2C", "%3D"] {
            let two = format!("4111111111111111{between}5555555555554444");
            assert_eq!(found(&two), ["4111111111111111", "5555555555554444"], "{two}");
        }
    }

    #[test]
    fn many_in_a_row_are_all_found() {
        let many = "4111111111111111 ".repeat(20_000);
        assert_eq!(found(&many).len(), 20_000);
        assert_eq!(found("LIKE '%4111111111111111%'"), ["4111111111111111"]);
        assert!(found(&"1".repeat(100_000)).is_empty() && found(&"1234 ".repeat(20_000)).is_empty());
    }

    #[test]
    fn groups_may_be_parted_as_urls_write_blanks() {
        for number in ["4111 1111 1111 1111", "3782 822463 10005", "4000 0000 0000 0000 006"] {
            for between in ["+", "%20", "%2520"] {
                let number = number.replace(' ', between);
                for text in [
                    number.clone(),
                    format!("pan={number}&x=1"),
                    format!("pan%3D{number}%26x%3D1"),
                    format!("%20{number}%20"),
                    format!("%2520{number}%2520"),
                    format!("card_{number}_x"),
                    format!("7{between}{number}{between}EUR"),
                ] {
                    assert_eq!(found(&text), [number.as_str()], "{text}");
                }
                let wrong = number.replacen('4', "5", 1).replacen("37", "36", 1);
                assert!(found(&wrong).is_empty(), "{wrong}");
            }
        }
    }

    #[test]
    fn other_numbers_stay() {
        for text in [
            "4111111111111112",
            "1772323200000000000",
            "1772323200000",
            "0.4111111111111111",
            "4111111111111111.5",
            "id_4111111111111112",
            "a4111111111111111",
            "%3D4111111111111112",
            "%204111111111111112",
            "4111%201111%201111%201112",
            "4111+1111+1111+1112",
            "4111%201111+1111%201111",
            "4111%2011111111%201111",
            "%201772323200000000000%20",
            "1772323200000+1772323260000",
            "from=1772323200000&to=1772323260000",
            "2026-03-01T12%3A00%3A00%2B00%3A00",
            "550e8400-e29b-41d4-a716-446655440000",
            "41111111111111110000",
            "4111-1111 1111-1111",
            "4111  1111  1111  1111",
            "411111-1111111111",
            "00000000-0000-4000-8000-411111111111",
            "2026-03-01 12:00:00",
            "+49 30 901820",
            "",
            "-",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
