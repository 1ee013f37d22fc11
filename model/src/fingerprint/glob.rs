//! Globs: `*` for anything, `?` for one character, all else for itself. In: a pattern and a text. Out: whether all of the text fits.
//! Pure; a pattern of many stars over a long text costs at most their product.

/// Whether the pattern covers the whole text. Upper and lower case differ.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // Where to go on when the rest does not fit: after the last star, one character further.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut ahead = pattern.clone();
        match (ahead.next(), text.clone().next()) {
            (Some('*'), _) => {
                pattern = ahead;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                pattern = ahead;
                text.next();
            }
            (None, None) => return true,
            (Some(_) | None, Some(_)) | (Some(_), None) => {
                let Some((after_star, mut from)) = retry.take() else { return false };
                if from.next().is_none() {
                    return false;
                }
                (pattern, text) = (after_star.clone(), from.clone());
                retry = Some((after_star, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything\nat all", true),
            ("a*c", "abbbc", true),
            ("a*c", "abcb", false),
            ("*b*b*", "abab", true),
            ("?", "é", true),
            ("?", "", false),
            ("a?c*", "abcdef", true),
            ("Key*", "keyError", false),
            ("[a]", "a", false),
            ("**a", "bba", true),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
        assert!(!glob(&format!("{}b", "a*".repeat(30)), &"a".repeat(5_000)), "no explosion");
    }

    proptest! {
        #[test]
        fn it_is_the_regular_expression_that_it_looks_like(pattern in "[ab*?]{0,8}", text in "[abc]{0,10}") {
            let expression: String = pattern.chars().map(|c| match c { '*' => ".*".into(), '?' => ".".into(), c => c.to_string() }).collect();
            let expected = regex::Regex::new(&format!("^(?s:{expression})$")).unwrap().is_match(&text);
            prop_assert_eq!(glob(&pattern, &text), expected);
        }
    }
}
