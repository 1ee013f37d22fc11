//! What the YAML reader says, in words for whoever wrote the file: no names of Rust's types and functions, no place that is told already.

/// What the reader says, and what is said instead; `{}` is what stands where the first part of the reader's sentence ends.
const WORDS: [(&str, &str); 8] = [
    ("duplicate mapping key: ", "`{}` stands twice: keep one of them"),
    ("multiple YAML documents detected", "the file has more than one YAML document: put what follows `---` into a file of its own"),
    ("cannot deserialize null into string", "nothing stands here, and a text is expected"),
    ("expected sequence start", "a list is expected here: begin each entry with `- `"),
    ("expected mapping start", "pairs are expected here, written `key: value`"),
    ("expected string scalar", "a text is expected here"),
    ("invalid u64", "a whole number of 0 or more is expected here"),
    ("invalid i64", "a whole number is expected here"),
];

/// One sentence about a file that is no YAML, or not the YAML that is expected.
pub fn yaml_mistake(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim();
    // The place is told in front of the sentence.
    let sentence = line.rfind(" at line ").map_or(line, |at| &line[..at]);
    if sentence.is_empty() {
        return "the file is not YAML".to_owned();
    }
    let known = WORDS.iter().find_map(|(said, instead)| {
        let rest = sentence.strip_prefix(said)?;
        Some(instead.replace("{}", rest.split(',').next().unwrap_or_default()))
    });
    known.unwrap_or_else(|| sentence.to_owned())
}

#[cfg(test)]
mod tests {
    use super::yaml_mistake;

    #[test]
    fn sentences_name_neither_types_nor_the_place_twice() {
        for (said, instead) in [
            (
                "duplicate mapping key: expr, set DuplicateKeyPolicy in Options if acceptable at line 6, column 5",
                "`expr` stands twice: keep one of them",
            ),
            ("invalid u64 at line 3, column 10", "a whole number of 0 or more is expected here"),
            ("unknown field `foo`, expected one of a, b at line 1, column 1", "unknown field `foo`, expected one of a, b"),
            ("", "the file is not YAML"),
        ] {
            assert_eq!(yaml_mistake(said), instead);
        }
    }
}
