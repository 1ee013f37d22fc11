//! `${NAME}` and `${file:PATH}` in configuration files: the value of an environment variable, the trimmed content of a file.
//! A placeholder that is a whole scalar is quoted, so that any secret is safe there; `$${` stands for `${`. `${1}` stays: it is a
//! group of a relabelling rule, and no variable has such a name.

/// Fills in every placeholder. The error names the line and the fix, never a value.
pub fn expand(
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.split_inclusive('\n').enumerate() {
        if line.trim_start().starts_with('#') || !line.contains("${") {
            out.push_str(line);
            continue;
        }
        expand_line(line, at + 1, environment, read_file, &mut out)?;
    }
    Ok(out)
}

fn expand_line(
    line: &str,
    number: usize,
    environment: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&str) -> Result<String, String>,
    out: &mut String,
) -> Result<(), String> {
    let mut rest = line;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or_else(|| format!("line {number}: `${{` has no closing `}}`"))? + at;
        let name = &rest[at + 2..end];
        if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push_str(&rest[at..=end]);
            rest = &rest[end + 1..];
            continue;
        }
        let value = match name.strip_prefix("file:") {
            Some(path) => read_file(path)
                .map(|content| content.trim().to_owned())
                .map_err(|why| format!("line {number}: the file of ${{{name}}} cannot be read: {why}"))?,
            None => environment(name)
                .ok_or_else(|| format!("line {number}: the environment variable {name} is not set: set it, or use ${{file:PATH}}"))?,
        };
        rest = &rest[end + 1..];
        let whole = out.ends_with(": ") || out.ends_with("- ");
        if whole && rest.trim().is_empty() {
            out.push_str(&serde_json::Value::String(value).to_string());
        } else {
            out.push_str(&value);
        }
    }
    out.push_str(rest);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Result<String, String> {
        let environment = |name: &str| (name == "TOKEN").then(|| "a: \"b\" #c".to_owned());
        let files = |path: &str| if path == "/k" { Ok("secret\n".to_owned()) } else { Err("not found".to_owned()) };
        expand(text, &environment, &files)
    }

    #[test]
    fn whole_scalars_are_quoted_and_parts_are_not() {
        assert_eq!(run("token: ${TOKEN}\n").unwrap(), "token: \"a: \\\"b\\\" #c\"\n");
        assert_eq!(run("url: http://x/${file:/k}/y\n").unwrap(), "url: http://x/secret/y\n");
        assert_eq!(run("replacement: '${1}:${23}'\n").unwrap(), "replacement: '${1}:${23}'\n");
        assert_eq!(run("# ${MISSING}\na: $${TOKEN}\n").unwrap(), "# ${MISSING}\na: ${TOKEN}\n");
    }

    #[test]
    fn what_is_missing_is_named_with_its_line() {
        assert!(run("a: 1\nb: ${NOPE}\n").unwrap_err().starts_with("line 2: the environment variable NOPE is not set"));
        assert!(run("a: ${file:/nope}").unwrap_err().contains("line 1"));
        assert!(run("a: ${TOKEN").unwrap_err().contains("closing"));
    }
}
