//! Alertmanager's matchers: `match`, `match_re`, `matchers`. In: YAML. Out: matchers. What cannot be read is told.

use model::labels::{MatchOp, Matcher};

use super::tree::{Node, Notes};

/// All matchers under `<prefix>match`, `<prefix>match_re`, `<prefix>matchers`. `None` where one cannot be read, which is told.
pub(super) fn read(node: &Node, prefix: &str, notes: &mut Notes) -> Option<Vec<Matcher>> {
    let (mut found, mut good) = (Vec::new(), true);
    for (key, op) in [("match", MatchOp::Equal), ("match_re", MatchOp::Regex)] {
        for (name, line, value) in node.get(&format!("{prefix}{key}")).into_iter().flat_map(Node::pairs) {
            match Matcher::new(name, op, value.as_text().unwrap_or("")) {
                Ok(matcher) => found.push(matcher),
                Err(error) => {
                    notes.say(line, format!("the matcher of `{name}` cannot be read: {error}"));
                    good = false;
                }
            }
        }
    }
    for node in node.list(&format!("{prefix}matchers")) {
        match alerting::matchers::read(node.as_text().unwrap_or("")) {
            Ok(matchers) => found.extend(matchers),
            Err(error) => {
                notes.say(node.line, error.to_string());
                good = false;
            }
        }
    }
    good.then_some(found)
}

#[cfg(test)]
mod tests {
    use alerting::matchers::MatcherText;

    use super::*;

    #[test]
    fn all_forms_are_read() {
        let tree =
            super::super::tree::parse("match: { a: b }\nmatch_re: { c: d|e }\nmatchers: [ 'f!=\"g,h\"', '{i=~\"j,k\", l=m}', n = o ]\n")
                .unwrap();
        let mut notes = Notes::new("x");
        let texts: Vec<String> = read(&tree, "", &mut notes).unwrap().into_iter().map(|matcher| MatcherText(matcher).to_string()).collect();
        assert_eq!(texts, ["a=\"b\"", "c=~\"d|e\"", "f!=\"g,h\"", "i=~\"j,k\"", "l=\"m\"", "n=\"o\""]);
        assert!(notes.into_notes().is_empty());
        let mut notes = Notes::new("x");
        assert!(read(&super::super::tree::parse("matchers: [nonsense]\n").unwrap(), "", &mut notes).is_none());
        assert_eq!(notes.into_notes().len(), 1);
    }
}
