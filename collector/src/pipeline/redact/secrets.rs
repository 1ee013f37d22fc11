//! What credentials and mail addresses look like: for each kind its anchors (texts of which one stands in every match, so that clean
//! text is told by looking for anchors alone), a regular expression, and what a match must pass beside it. What stands between the parts
//! of a secret may be written as URLs write it, any number of times: `%3D` and `%253D` are `=`. Pure.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::{Captures, Match};

use super::{Kind, names};

/// How a kind is found.
pub(super) struct Finder {
    /// The kind.
    pub(super) kind: Kind,
    /// One of these stands in every match, in this case of letters.
    pub(super) anchors: &'static [&'static str],
    /// The expression. Where it has groups, the first one that matched is the secret, else the whole match.
    pub(super) regex: &'static str,
    /// Whether a match is one.
    pub(super) accept: fn(&Captures<'_>, Match<'_>, &str) -> bool,
}

fn always(_: &Captures<'_>, _: Match<'_>, _: &str) -> bool {
    true
}

/// All of them. The anchor `@` is looked for by itself.
pub(super) const FINDERS: [Finder; 14] = [
    Finder { kind: Kind::Mail, anchors: &["@", "%40", "%25"], regex: MAIL, accept: mail },
    Finder { kind: Kind::UrlPassword, anchors: &["@", "%40", "%25"], regex: URL_PASSWORD, accept: not_marked },
    Finder { kind: Kind::Aws, anchors: &["AKIA", "ASIA", "ABIA", "ACCA"], regex: AWS, accept: always },
    Finder { kind: Kind::Github, anchors: &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "hub_pat_"], regex: GITHUB, accept: always },
    Finder { kind: Kind::Slack, anchors: &["xox", "xapp-", "hooks.slack"], regex: SLACK, accept: always },
    Finder { kind: Kind::Stripe, anchors: &["_live_", "_test_", "whsec_"], regex: STRIPE, accept: always },
    Finder { kind: Kind::Google, anchors: &["AIza", "ya29.", "GOCSPX-"], regex: GOOGLE, accept: always },
    Finder { kind: Kind::ApiKey, anchors: &["glpat-", "npm_", "SG.", "sk-", "hf_", "dop_v1_", "shpat_"], regex: API_KEY, accept: api_key },
    Finder { kind: Kind::Jwt, anchors: &["eyJ"], regex: JWT, accept: always },
    Finder { kind: Kind::PrivateKey, anchors: &["-----BEGIN "], regex: PRIVATE_KEY, accept: always },
    Finder { kind: Kind::Authorization, anchors: &["earer", "EARER"], regex: BEARER, accept: bearer },
    Finder { kind: Kind::Authorization, anchors: &["asic", "ASIC", "uthorization", "UTHORIZATION"], regex: AUTHORIZATION, accept: header },
    Finder {
        kind: Kind::Password,
        anchors: &[
            "assw", "ASSW", "assW", "assph", "ASSPH", "assPh", "pwd", "PWD", "Pwd", "ecret", "ECRET", "oken", "OKEN", "pi_k", "pi-k",
            "pik", "pi_K", "pi-K", "piK", "PI_K", "PI-K", "PIK",
        ],
        regex: PASSWORD,
        accept: password,
    },
    Finder {
        kind: Kind::Password,
        anchors: &["oken", "OKEN", "ookie", "OOKIE", "redential", "REDENTIAL", "ecret", "Pwd"],
        regex: FIELD,
        accept: field,
    },
];

/// A sign as URLs escape it, by its two digits; escapes that were escaped again have `25` for each time.
macro_rules! escape {
    ($digits:literal) => {
        concat!("%(?:25)*(?:", $digits, ")")
    };
}

/// What an escape stands for in a value that goes on behind it: no blank, quote, bracket or mark that ends one. A lone `%` is one that
/// no digits follow.
macro_rules! inner {
    () => {
        concat!(
            escape!("2[134aAbBdDeEfF]|3[0-9aAdDfF]|5[0-9aAeEfF]|7[0-9aAcCeEfF]|[4689a-fA-F][0-9a-fA-F]"),
            "|%(?:25)+[0-9a-fA-F]?[G-Zg-z._~-]"
        )
    };
}

/// `+`, `/` and `=`, which base64 has.
macro_rules! base64_signs {
    () => {
        escape!("2[bBfF]|3[dD]")
    };
}

/// Blanks.
macro_rules! blank {
    () => {
        concat!("(?:[ \t+]|", escape!("20|09"), ")")
    };
}

/// Where a token may begin: at the edge of a word or of its part (`_`), behind an escape of JSON or of an URL (the `n` of a written-out
/// `\n` is no letter of a word), or behind a colour of a terminal.
macro_rules! begin {
    () => {
        r"(?:(?-u:\b)|_|\\[bfnrtv]|\\u[0-9a-fA-F]{4}|%(?:25)*[0-9a-fA-F]{2}|\[[0-9;]{0,12}m)"
    };
}

/// As it stands, or as URLs write it: then what is escaped before it is not its part.
const MAIL: &str = concat!(
    r#"[^\s@"'`<>()\[\]{}:;,/\\=|&?!#$*]{1,64}@(?:[^\s@"'`<>()\[\]{}:;,/\\=|&?!#$*%.]{1,63}\.){1,8}[A-Za-z\u{80}-\u{10FFFF}]{2,24}|"#,
    "(?:%(?:25)*[0-9a-fA-F]{2})?((?:[A-Za-z0-9._~+^-]|",
    escape!("2[bBdDeE]|5[fF]|[89a-fA-F][0-9a-fA-F]"),
    "){1,64}",
    escape!("40"),
    r"(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})"
);

/// `scheme://user:password@`, up to the last `@` of the authority. JSON may write `/` as `\/`, here and below.
const URL_PASSWORD: &str = concat!(
    r"[A-Za-z][A-Za-z0-9+.-]{0,30}:\\*/\\*/[^\s/?#:@]*:([^\s/?#]+)@|",
    "[A-Za-z][A-Za-z0-9+.-]{0,30}",
    escape!("3[aA]"),
    escape!("2[fF]"),
    escape!("2[fF]"),
    r#"(?:[^\s/?#&%"'<>\\:@]|"#,
    escape!("2[bBdDeE]|5[fF]|40"),
    ")*",
    escape!("3[aA]"),
    r#"((?:[^\s/?#&%"'<>\\@]|"#,
    escape!("2[147-9a-eA-E]|3[0-9a-eA-E]|[4-9a-fA-F][0-9a-fA-F]"),
    "|%(?:25)+[0-9a-fA-F]?[G-Zg-z._~-])+)",
    escape!("40")
);

const AWS: &str = concat!(begin!(), r"((?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16})(?:(?-u:\b)|_)");

/// Nothing else looks like these, whatever letters stand before.
const GITHUB: &str = "(gh[pousr]_[A-Za-z0-9]{36,255}|github_pat_[A-Za-z0-9_]{22,255})";

const SLACK: &str = concat!(
    begin!(),
    r"(xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,255}|xapp-[0-9]-[A-Za-z0-9-]{10,255})",
    r"|hooks\.slack\.com(?:\\*/|",
    escape!("2[fF]"),
    r")([A-Za-z]+(?:\\*/|",
    escape!("2[fF]"),
    r")(?:[A-Za-z0-9_-]|\\*/|",
    escape!("2[fF]"),
    "){10,255})"
);

const STRIPE: &str =
    concat!(begin!(), r"((?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,255}|whsec_(?:[A-Za-z0-9+=]|\\*/|", base64_signs!(), "){16,255})");

const GOOGLE: &str = concat!(begin!(), r"(AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_.-]{20,2048}|GOCSPX-[A-Za-z0-9_-]{28})");

/// GitLab, npm, SendGrid, OpenAI and Anthropic, Hugging Face, DigitalOcean, Shopify.
const API_KEY: &str = concat!(
    r"(glpat-[A-Za-z0-9_.-]{20,300}|npm_[A-Za-z0-9]{36}|dop_v1_[a-f0-9]{64}|shpat_[a-fA-F0-9]{32})|",
    begin!(),
    r"(SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}|sk-[A-Za-z0-9_-]{20,300}|hf_[A-Za-z0-9]{30,40})"
);

/// Three parts, five where it is encrypted; the last may be empty or cut off.
const JWT: &str = concat!(begin!(), r"(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*){0,3})");

/// A block that is cut off counts up to the end of the text. Ends of lines may be written as `\n`.
const PRIVATE_KEY: &str =
    r"(?s)-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|\z)";

const BEARER: &str = concat!(
    begin!(),
    "(?i-u:bearer)(?:",
    blank!(),
    r#"+|(?:["']|"#,
    escape!("2[27]"),
    r")?[ \t]*(?:[:=]|",
    escape!("3[aAdD]"),
    ")",
    blank!(),
    r#"*(?:["']|"#,
    escape!("2[27]"),
    r")?)((?:[A-Za-z0-9._~+=-]|\\*/|",
    base64_signs!(),
    "){8,})"
);

/// The header as it stands; as URLs write it, where what ends a value does so escaped, too; basic credentials by themselves.
const AUTHORIZATION: &str = concat!(
    begin!(),
    r#"(?i-u:authorization\b)\\*["']?\]?[ \t]*(?:=>|[:=,])[ \t]*\[?\\*["']?"#,
    r#"(?:(?i-u:basic|bearer|token|digest|apikey|negotiate|aws4-hmac-sha256)[ \t]+)?((?:[^\s"'\\,;\[\]{}]|\\+/)+)|"#,
    begin!(),
    r"(?i-u:authorization\b)(?:",
    escape!("5[cCdD]|2[27]"),
    "){0,9}",
    blank!(),
    "{0,3}",
    escape!("3[aAdD]|2[cC]"),
    "(?:",
    blank!(),
    "|",
    escape!("3[eE]|5[bBcC]|2[27]"),
    "){0,9}",
    "(?:(?i-u:basic|bearer|token|digest|apikey|negotiate|aws4-hmac-sha256)",
    blank!(),
    r#"+)?((?:[^\s"'\\,;\[\]{}%&]|"#,
    inner!(),
    ")+)|",
    begin!(),
    "(?i-u:basic)",
    blank!(),
    r"+((?:[A-Za-z0-9+_-]|\\*/|",
    escape!("2[bBfF]"),
    "){6,}(?:=|",
    escape!("3[dD]"),
    "){0,2})"
);

/// Quotes may be escaped several times: JSON within JSON within an attribute, or within an URL.
const PASSWORD: &str = concat!(
    "(?:(?i-u:pass(?:word|wd|phrase))|",
    begin!(),
    "(?i-u:pwd|secret)|(?i-u:client[_-]?secret|secret[_-]?(?:access[_-]?)?key|api[_-]?(?:key|token)",
    "|(?:access|refresh|id|auth|private|session|csrf|security|bot)[_-]?token)|(?:[?&]|",
    escape!("3[fF]|26"),
    ")token)(?:",
    r#"\\*["']?\]?[ \t]{0,3}(?:=>|:=|[:=])[ \t]{0,3}"#,
    r#"(?:\\+"(.*?)\\+"|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|((?:[^\s"'\\,;&(){}\[\]<>]|\\+/)+))|"#,
    "(?:",
    escape!("5[cCdD]|2[27]"),
    "){0,9}",
    blank!(),
    "{0,3}",
    escape!("3[aAdD]"),
    "(?:",
    blank!(),
    "|",
    escape!("3[eE]"),
    "){0,4}(?:(?:",
    escape!("5[cC]"),
    ")*",
    escape!("22"),
    "(.*?)(?:",
    escape!("5[cC]"),
    ")*",
    escape!("22"),
    r#"|((?:[^\s"'\\,;&(){}\[\]<>%]|"#,
    inner!(),
    ")+)))"
);

/// Fields of JSON (and of what programs print) whose names say little in a sentence: `"cookie":"..."`, also where it is a list of texts.
const FIELD: &str = concat!(
    "(?:",
    begin!(),
    "(?i-u:token|cookies?|credentials?)|[a-z0-9](?:Token|Cookies?|Credentials?|Secret|Pwd))",
    r#"\\*["'][ \t]{0,3}(?:=>|:)[ \t]{0,3}"#,
    r#"(?:\\+"(.*?)\\+"|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'"#,
    r#"|\[[ \t]*(?:\\+"(.*?)\\+"|"((?:[^"\\]|\\.)*(?:"[ \t]*,[ \t]*"(?:[^"\\]|\\.)*)*)")[ \t]*\])"#
);

/// What already stands for a secret is none.
pub(super) fn is_mark(text: &str) -> bool {
    // What stands behind a mark may be a secret yet.
    let ends = |rest: &str| rest.split_once(']').is_none_or(|(_, after)| after.chars().all(|c| matches!(c, '"' | '\'' | '\\' | ']' | ' ')));
    text.strip_prefix("[redacted").is_some_and(ends) || text.starts_with("redacted:")
}

fn not_marked(_: &Captures<'_>, secret: Match<'_>, _: &str) -> bool {
    !is_mark(secret.as_str())
}

/// How far before an address the beginning of its URL is looked for.
const FAR: usize = 300;

/// No user of an URL: `user:password@host` is the password's kind.
fn mail(all: &Captures<'_>, found: Match<'_>, text: &str) -> bool {
    let before = &text[text.floor_char_boundary(found.start().saturating_sub(FAR))..found.start()];
    if all.get(1).is_some() {
        // The two digits of an escape are nobody's name: `%2F%40someone.else`.
        let name = found.as_str().split('%').next().unwrap_or("");
        let digits = name.len() == 2 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        return !(digits && super::card::percent(before.as_bytes()));
    }
    !(before.ends_with(':') && (before.contains("://") || before.contains(":\\")))
}

/// `sk-` begins words too: a key has digits and letters of both cases, or names its maker.
fn api_key(_: &Captures<'_>, found: Match<'_>, _: &str) -> bool {
    let text = found.as_str();
    let Some(rest) = text.strip_prefix("sk-") else { return true };
    mixed(rest) || (["ant-", "proj-", "or-", "svcacct-"].iter().any(|maker| rest.starts_with(maker)) && rest.contains(digit))
}

fn digit(c: char) -> bool {
    c.is_ascii_digit()
}

/// Whether it looks made by a machine: letters and digits mixed.
fn mixed(text: &str) -> bool {
    text.contains(digit) && text.contains(|c: char| c.is_ascii_alphabetic())
}

/// `bearer authentication` is no token.
fn bearer(_: &Captures<'_>, secret: Match<'_>, _: &str) -> bool {
    let text = secret.as_str();
    text.contains(digit) || (text.len() >= 20 && !text.contains('-'))
}

/// A header that says how it authorizes, or whose value looks like a secret; `Basic` with what decodes to `user:password`.
fn header(all: &Captures<'_>, secret: Match<'_>, _: &str) -> bool {
    let text = secret.as_str();
    if is_mark(text) || SCHEMES.contains(&text.to_ascii_lowercase().as_str()) {
        return false;
    }
    let whole = all.get(0).map_or("", |whole| whole.as_str());
    if all.get(3).is_some() {
        let text = unescaped(text);
        let bare = text.trim_end_matches('=').replace('\\', "");
        let decoded = STANDARD_NO_PAD.decode(&bare).or_else(|_| URL_SAFE_NO_PAD.decode(&bare));
        return decoded.is_ok_and(|bytes| bytes.contains(&b':') && bytes.iter().all(|byte| !byte.is_ascii_control()));
    }
    let lead = unescaped(&whole[..whole.len() - text.len()]);
    let named = lead.trim_end_matches([' ', '\t', '+']);
    (named.len() < lead.len() && SCHEMES.iter().any(|scheme| named.to_ascii_lowercase().ends_with(scheme)))
        || text.contains(digit)
        || text.len() >= 20
}

/// With the signs that base64 has and blanks where URLs escape them, however often.
fn unescaped(text: &str) -> String {
    let mut once = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, mut after)) = rest.split_once('%') {
        while let Some(deeper) = after.strip_prefix("25") {
            after = deeper;
        }
        once.push_str(before);
        once.push('%');
        rest = after;
    }
    let mut text = once + rest;
    for (escape, sign) in [("%20", " "), ("%09", "\t"), ("%2B", "+"), ("%2b", "+"), ("%2F", "/"), ("%2f", "/"), ("%3D", "="), ("%3d", "=")]
    {
        text = text.replace(escape, sign);
    }
    text
}

const SCHEMES: [&str; 7] = ["basic", "bearer", "token", "digest", "apikey", "negotiate", "aws4-hmac-sha256"];

/// What is said about passwords, rather than one.
const WORDS: [&str; 46] = [
    "null",
    "nil",
    "none",
    "undefined",
    "true",
    "false",
    "empty",
    "missing",
    "required",
    "invalid",
    "incorrect",
    "wrong",
    "expired",
    "failed",
    "failure",
    "ok",
    "yes",
    "no",
    "not",
    "is",
    "was",
    "has",
    "must",
    "should",
    "cannot",
    "can",
    "too",
    "changed",
    "reset",
    "unset",
    "set",
    "unknown",
    "the",
    "for",
    "a",
    "an",
    "redacted",
    "filtered",
    "hidden",
    "masked",
    "secret",
    "error",
    "denied",
    "expected",
    "valid",
    "string",
];

fn password(all: &Captures<'_>, secret: Match<'_>, _: &str) -> bool {
    worth(secret.as_str(), all.get(4).or(all.get(6)).is_some())
}

/// A field that holds a secret by its name; a token may be one of a language or a place in a list.
fn field(all: &Captures<'_>, secret: Match<'_>, text: &str) -> bool {
    let start = all.get(0).map_or(0, |whole| whole.start());
    let token = text[start..secret.start()].to_ascii_lowercase().find("token").map(|at| start + at + "token".len());
    !token.is_some_and(|end| names::harmless(&text[..end])) && worth(secret.as_str(), false)
}

/// Whether it is what people keep secret; `bare` stands in no quotes, as the words of a sentence do.
fn worth(text: &str, bare: bool) -> bool {
    // What a template, a mask or a program's text has in its place.
    let placeholder = text.chars().all(|c| matches!(c, '*' | '.' | '-' | 'x' | 'X' | '•' | '?' | '%' | '_' | '=' | ':'));
    let lower = text.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
    let word = bare && WORDS.contains(&lower.as_str());
    !(is_mark(text) || placeholder || word)
}
