//! Which of two releases is newer, and whether an event of one shows that a fix in the other did not hold. Pure.
//!
//! An issue that is resolved in release X comes back with an event
//! - of X itself,
//! - of a newer release, where both names hold a version (`1.4.0`, `v2`, `shop@1.4.0-rc.1`): compared as semantic versions, after
//!   the same package's name,
//! - of a release that cannot be compared, unless this issue was seen in it before it was resolved,
//! - without a release.
//!
//! It does not come back with an event of an older release: that one never had the fix.

use std::cmp::Ordering;

/// Whether an event of `release` (empty: none named) shows that the fix in `fixed_in` did not hold. `known` says whether the issue was
/// seen in that release before it was resolved.
pub fn shows_regression(release: &str, fixed_in: &str, known: bool) -> bool {
    if release.is_empty() || release == fixed_in {
        return true;
    }
    match compare(release, fixed_in) {
        Some(Ordering::Less) => false,
        Some(Ordering::Equal | Ordering::Greater) => true,
        None => !known,
    }
}

/// The order of two releases; `None` where their names do not tell.
pub fn compare(left: &str, right: &str) -> Option<Ordering> {
    let (left, right) = (Version::parse(left)?, Version::parse(right)?);
    if left.package.is_some() && right.package.is_some() && left.package != right.package {
        return None;
    }
    Some(left.numbers.cmp(&right.numbers).then_with(|| pre_order(left.pre, right.pre)))
}

struct Version<'a> {
    package: Option<&'a str>,
    /// Always four, so that `1.2` is `1.2.0`.
    numbers: [u64; 4],
    pre: Option<&'a str>,
}

impl<'a> Version<'a> {
    fn parse(release: &'a str) -> Option<Self> {
        let (package, text) = release.rsplit_once('@').map_or((None, release), |(package, text)| (Some(package), text));
        let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(text, _)| text);
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut numbers = [0; 4];
        for (at, part) in core.split('.').enumerate() {
            let digits = !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
            *numbers.get_mut(at)? = part.parse().ok().filter(|_| digits)?;
        }
        Some(Version { package, numbers, pre })
    }
}

/// As Semantic Versioning orders what follows the `-`: nothing is newest; numbers before words; fewer parts before more.
fn pre_order(left: Option<&str>, right: Option<&str>) -> Ordering {
    let (left, right) = match (left, right) {
        (None, None) => return Ordering::Equal,
        (None, Some(_)) => return Ordering::Greater,
        (Some(_), None) => return Ordering::Less,
        (Some(left), Some(right)) => (left, right),
    };
    let part = |left: &str, right: &str| match (left.parse::<u64>(), right.parse::<u64>()) {
        (Ok(left), Ok(right)) => left.cmp(&right),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => left.cmp(right),
    };
    let (mut left, mut right) = (left.split('.'), right.split('.'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(one), Some(other)) => match part(one, other) {
                Ordering::Equal => {}
                different @ (Ordering::Less | Ordering::Greater) => return different,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_other_names_are_not() {
        for (left, right, expected) in [
            ("1.9.0", "1.10.0", Some(Ordering::Less)),
            ("v2", "1.9.9", Some(Ordering::Greater)),
            ("1.2", "1.2.0", Some(Ordering::Equal)),
            ("shop@1.3.0", "shop@1.2.9", Some(Ordering::Greater)),
            ("shop@1.3.0", "1.3.0", Some(Ordering::Equal)),
            ("shop@1.3.0", "mail@1.2.0", None),
            ("@scope/shop@1.0.0", "@scope/shop@1.0.1", Some(Ordering::Less)),
            ("1.0.0-rc.1", "1.0.0", Some(Ordering::Less)),
            ("1.0.0-rc.2", "1.0.0-rc.10", Some(Ordering::Less)),
            ("1.0.0-alpha", "1.0.0-alpha.1", Some(Ordering::Less)),
            ("1.0.0-1", "1.0.0-beta", Some(Ordering::Less)),
            ("1.0.0+build7", "1.0.0", Some(Ordering::Equal)),
            ("2024.05.01", "2024.11.01", Some(Ordering::Less)),
            ("41", "42", Some(Ordering::Less)),
            ("3f2a91c", "1.0.0", None),
            ("main", "main", None),
            ("1..2", "1.0", None),
            ("1.2.3.4.5", "1.0", None),
            ("99999999999999999999999", "1", None),
            ("", "1", None),
        ] {
            assert_eq!(compare(left, right), expected, "{left} {right}");
            assert_eq!(compare(right, left), expected.map(Ordering::reverse), "{right} {left}");
        }
    }

    #[test]
    fn an_older_release_never_had_the_fix() {
        for (release, fixed_in, known, regression) in [
            ("1.4.0", "1.4.0", true, true),
            ("1.4.1", "1.4.0", false, true),
            ("1.3.9", "1.4.0", false, false),
            ("1.3.9", "1.4.0", true, false),
            ("", "1.4.0", true, true),
            ("abc123", "1.4.0", false, true),
            ("abc123", "1.4.0", true, false),
            ("def456", "abc123", false, true),
            ("def456", "abc123", true, false),
            ("abc123", "abc123", true, true),
        ] {
            assert_eq!(shows_regression(release, fixed_in, known), regression, "{release} {fixed_in} {known}");
        }
    }
}
