//! Go's `print` and `printf` for the values that templates have, its `%!d(string=x)` complaints included.

use super::number::{format_e, format_f, format_g};
use super::value::Val;

/// The widest field and the greatest precision; Go has such a limit too.
const WIDEST: usize = 1_000;

/// Go's `fmt.Sprint`: a space between operands when neither is a string.
pub(super) fn print(values: &[Val]) -> String {
    let mut out = String::new();
    let mut last_text = true;
    for value in values {
        let text = matches!(value, Val::Str(_));
        if !text && !last_text {
            out.push(' ');
        }
        out.push_str(&value.print());
        last_text = text;
    }
    out
}

#[derive(Default)]
struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

/// Go's `fmt.Sprintf`.
pub(super) fn printf(format: &str, values: &[Val]) -> String {
    let mut out = String::new();
    // The next value, and whether the format names values by their place: then it need not use all of them.
    let (mut next, mut named) = (0, false);
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.peek() {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                '#' => flags.sharp = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => break,
            }
            chars.next();
        }
        let star = chars.next_if_eq(&'*').and_then(|_| width(values, &mut next, &mut flags));
        flags.width = star.or_else(|| digits(&mut chars)).unwrap_or(0);
        if chars.peek() == Some(&'.') {
            chars.next();
            flags.precision = Some(digits(&mut chars).unwrap_or(0));
        }
        let mut bad = false;
        if chars.next_if_eq(&'[').is_some() {
            let place = digits(&mut chars).filter(|place| (1..=values.len()).contains(place));
            bad = chars.next_if_eq(&']').is_none() || place.is_none();
            next = place.map_or(next, |place| place - 1);
            named = true;
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) if bad => out.push_str(&format!("%!{verb}(BADINDEX)")),
            Some(verb) => {
                match values.get(next) {
                    None => out.push_str(&format!("%!{verb}(MISSING)")),
                    Some(value) => out.push_str(&pad(&verb_text(verb, value, &flags), verb, value, &flags)),
                }
                next += 1;
            }
        }
    }
    let rest: &[Val] = if named { &[] } else { values.get(next..).unwrap_or_default() };
    let extra: Vec<String> = rest.iter().map(|value| format!("{}={}", value.type_name(), value.print())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

/// The width that `*` takes from the values; a negative one is padded on the right.
fn width(values: &[Val], next: &mut usize, flags: &mut Flags) -> Option<usize> {
    let Some(Val::Int(width)) = values.get(*next) else { return None };
    *next += 1;
    flags.minus |= *width < 0;
    Some(usize::try_from(width.unsigned_abs()).unwrap_or(WIDEST).min(WIDEST))
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<usize> {
    let mut number = None;
    while let Some(digit) = chars.peek().and_then(|c| c.to_digit(10)) {
        number = Some((number.unwrap_or(0) * 10 + digit as usize).min(WIDEST));
        chars.next();
    }
    number
}

fn verb_text(verb: char, value: &Val, flags: &Flags) -> String {
    let signed = |text: String| match (text.starts_with(['-', '+']) || text == "NaN", flags.plus, flags.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    };
    let finite = |text: String| if !flags.plus && text == "+Inf" { text } else { signed(text) };
    match (verb, value) {
        ('v', Val::Float(number)) => finite(format_g(*number, flags.precision)),
        ('v', Val::Int(number)) => signed(number.to_string()),
        ('v', Val::Str(text)) if flags.sharp => quote(text),
        ('v', _) => value.print(),
        ('s', Val::Str(_) | Val::Time(_) | Val::List(_) | Val::Map(_) | Val::Struct(_) | Val::Sample(_)) => {
            let text = value.print();
            flags.precision.map_or(text.clone(), |most| text.chars().take(most).collect())
        }
        ('q', Val::Str(text)) => quote(text),
        ('x', Val::Str(text)) => text.bytes().map(|byte| format!("{byte:02x}")).collect(),
        ('X', Val::Str(text)) => text.bytes().map(|byte| format!("{byte:02X}")).collect(),
        ('d', Val::Int(number)) => signed(number.to_string()),
        ('x', Val::Int(number)) if flags.sharp => format!("{number:#x}"),
        ('x', Val::Int(number)) => format!("{number:x}"),
        ('X', Val::Int(number)) => format!("{number:X}"),
        ('U', Val::Int(number)) => format!("U+{number:04X}"),
        ('T', _) => value.type_name().to_owned(),
        ('o', Val::Int(number)) => format!("{number:o}"),
        ('b', Val::Int(number)) => format!("{number:b}"),
        ('c', Val::Int(number)) => u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string(),
        ('f' | 'F', Val::Float(number)) => finite(format_f(*number, flags.precision.unwrap_or(6))),
        ('e', Val::Float(number)) => finite(format_e(*number, flags.precision.unwrap_or(6))),
        ('E', Val::Float(number)) => finite(format_e(*number, flags.precision.unwrap_or(6))).to_uppercase(),
        ('g', Val::Float(number)) => finite(format_g(*number, flags.precision)),
        ('G', Val::Float(number)) => finite(format_g(*number, flags.precision)).to_uppercase(),
        ('t', Val::Bool(yes)) => yes.to_string(),
        (_, Val::Nil) => format!("%!{verb}(<nil>)"),
        _ => format!("%!{verb}({}={})", value.type_name(), value.print()),
    }
}

fn pad(text: &str, verb: char, value: &Val, flags: &Flags) -> String {
    let missing = flags.width.saturating_sub(text.chars().count());
    let numeric = matches!(value, Val::Int(_) | Val::Float(_)) && verb != 'q';
    if missing == 0 {
        text.to_owned()
    } else if flags.minus {
        format!("{text}{}", " ".repeat(missing))
    } else if flags.zero && numeric && !text.ends_with("Inf") && !text.ends_with("NaN") {
        let (sign, digits) = if text.starts_with(['-', '+', ' ']) { text.split_at(1) } else { ("", text) };
        format!("{sign}{}{digits}", "0".repeat(missing))
    } else {
        format!("{}{text}", " ".repeat(missing))
    }
}

/// Go's `strconv.Quote`.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() && (c as u32) < 0x80 => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
