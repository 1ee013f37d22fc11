//! Makes texts from outside harmless in Markdown: labels, messages, stacks and notes come from anybody who can send telemetry.
//! In: any text. Out: text that shows itself and nothing else. Never fails.

/// The longest inline text, in characters.
const LONGEST_INLINE: usize = 2_000;
/// The longest fenced text, in characters.
const LONGEST_FENCED: usize = 8_000;

/// A text inside a paragraph, a list item or a table cell: one line, no formatting, no links, no HTML, no cell border.
pub fn inline(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text.chars();
    for c in rest.by_ref().take(LONGEST_INLINE) {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    if rest.next().is_some() {
        out.push_str(" ...");
    }
    out
}

/// A text as inline code: the fence is longer than any run of backticks in it.
pub fn code(text: &str) -> String {
    let clean: String = text.chars().take(LONGEST_INLINE).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if clean.trim().is_empty() {
        return "(empty)".to_owned();
    }
    let fence = "`".repeat(longest_run(&clean) + 1);
    let pad = if clean.starts_with('`') || clean.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", clean.replace('|', "\\|"))
}

/// A text of several lines as a code block.
pub fn fenced(text: &str) -> String {
    let clean: String = text.chars().take(LONGEST_FENCED).filter(|c| *c == '\n' || *c == '\t' || !c.is_control()).collect();
    let fence = "`".repeat((longest_run(&clean) + 1).max(3));
    let more = if text.chars().nth(LONGEST_FENCED).is_some() { "\n... (shortened)" } else { "" };
    format!("{fence}text\n{}{more}\n{fence}", clean.trim_end())
}

fn longest_run(text: &str) -> usize {
    let (longest, _) = text.chars().fold((0, 0), |(longest, run), c| {
        let run = if c == '`' { run + 1 } else { 0 };
        (usize::max(longest, run), run)
    });
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_formats_links_or_breaks_out() {
        assert_eq!(inline("a|b\n<script>"), "a\\|b &lt;script&gt;");
        assert_eq!(inline("[x](http://evil) *now* `rm`"), "\\[x\\](http://evil) \\*now\\* \\`rm\\`");
        assert_eq!(code("a ``b`` c"), "```a ``b`` c```");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(code("a|b"), "`a\\|b`");
        let block = fenced("one\n```\n# title\n");
        assert!(block.starts_with("````text\n") && block.ends_with("\n````"), "{block}");
        assert!(inline(&"x".repeat(5_000)).ends_with(" ..."));
    }
}
