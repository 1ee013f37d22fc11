//! Stack traces as text, in the forms that runtimes print. In: a trace of Python, Java, .NET, JavaScript, Go, Rust, Ruby or
//! PHP. Out: frames from the innermost call outwards. Fails: an unknown form gives no frames.

mod names;

use super::in_app::{Language, in_app};

/// Of longer stacks the innermost and the outermost half of this many frames are kept: deep recursion repeats itself.
const MAX_FRAMES: usize = 200;

/// One call on a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The function as the runtime names it, without arguments; of PHP and .NET as its author does.
    pub function: String,
    /// The file or path as the runtime names it; empty where unknown.
    pub file: String,
    /// The line, from 1; 0 where unknown.
    pub line: i32,
    /// Whether it belongs to the application rather than to a library.
    pub in_app: bool,
}

impl Frame {
    /// A frame; whether it is the application's is told by its path and function.
    pub(crate) fn new(language: Language, function: &str, file: &str, line: i32) -> Self {
        let (function, file) = (names::written(language, function.trim()), file.trim());
        Frame { in_app: in_app(language, &function, file), function: function.into_owned(), file: file.to_owned(), line }
    }
}

/// The frames of a stack trace, innermost first. Of a chain of causes the raised exception counts, or its root cause
/// where the raised one has no frame of the application.
pub fn parse(stack: &str) -> Vec<Frame> {
    let parsers: [fn(&str) -> Vec<Frame>; 7] = [python, go, rust, at_lines, ruby, php, gecko];
    let mut frames = parsers.iter().map(|parser| parser(stack)).find(|frames| !frames.is_empty()).unwrap_or_default();
    trim(&mut frames);
    frames
}

/// Leaves the middle of a very long stack out.
pub(crate) fn trim<T>(frames: &mut Vec<T>) {
    if frames.len() > MAX_FRAMES {
        frames.drain(MAX_FRAMES / 2..frames.len() - MAX_FRAMES / 2);
    }
}

/// The type of an exception, where an SDK sends an error code for it: Node's OpenTelemetry SDK sends `ECONNREFUSED` as the type of
/// an `Error`, and the stack still begins with the type itself.
pub fn raised_kind<'s>(stack: &'s str, kind: &'s str) -> &'s str {
    let is_code = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    let head = stack.lines().next().unwrap_or("");
    let name = head.split([':', ' ']).next().unwrap_or("");
    let is_name = name.bytes().any(|b| b.is_ascii_lowercase()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_$.".contains(&b));
    if is_code && is_name && stack.contains("\n    at ") { name } else { kind }
}

/// The message of a Python exception as a traceback prints it: syntax errors add their place only where they become text.
pub fn python_message<'m>(kind: &str, message: &'m str) -> &'m str {
    let adds_its_place = ["SyntaxError", "IndentationError", "TabError"].iter().any(|name| kind.ends_with(name));
    let place = message.rfind(" (").filter(|at| adds_its_place && message.ends_with(')') && message[*at..].contains("line "));
    place.map_or(message, |at| &message[..at])
}

/// The message as the runtime itself printed it at the end of a Python traceback (`KeyError: 'a'` gives `'a'`). SDKs differ in
/// what they send as the message (`'a'` from spans, `a` from logs); this is the same from both. `None` for other stacks.
pub fn raised_message<'s>(stack: &'s str, kind: &str) -> Option<&'s str> {
    let last = &stack[stack.rfind("Traceback (most recent call last)")?..];
    let name = kind.rsplit('.').next().unwrap_or(kind);
    let mut at = 0;
    for line in last.split_inclusive('\n') {
        let (head, message) = line.split_once(": ").unwrap_or((line.trim_end(), ""));
        if !name.is_empty() && !line.starts_with([' ', '\t']) && head.rsplit('.').next() == Some(name) {
            return Some(last[at + line.len() - message.len()..].trim_end());
        }
        at += line.len();
    }
    None
}

/// `file:line:column` or `file:line`.
fn place(text: &str) -> Option<(&str, i32)> {
    let text = text.trim().trim_start_matches("file://");
    let number = |digits: &str| digits.parse::<i32>().ok().filter(|line| *line >= 0);
    let (head, last) = text.rsplit_once(':')?;
    let last = number(last)?;
    match head.rsplit_once(':').and_then(|(file, line)| number(line).map(|line| (file, line))) {
        Some(found) => Some(found),
        None => Some((head, last)),
    }
}

/// `  File "/app/x.py", line 3, in f`, outermost first; the last traceback is that of the raised exception.
fn python(stack: &str) -> Vec<Frame> {
    let last = stack.rfind("Traceback (most recent call last)").map_or(stack, |at| &stack[at..]);
    let frame = |line: &str| {
        let rest = line.trim_start_matches([' ', '\t', '|', '+', '-']).strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        // A syntax error prints its own place without a function: that is no call.
        let (line, function) = rest.split_once(", in ")?;
        Some(Frame::new(Language::Python, function, file, line.trim().parse().unwrap_or(0)))
    };
    let mut frames: Vec<Frame> = last.lines().filter_map(frame).collect();
    frames.reverse();
    frames
}

/// Pairs of lines: the function, then a tab and `file.go:12 +0x1d`. Only the first goroutine counts.
fn go(stack: &str) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut before = "";
    for line in stack.lines() {
        if line.trim().is_empty() && !frames.is_empty() {
            break;
        }
        if let Some((file, number)) = line.strip_prefix(['\t', ' ']).and_then(go_place) {
            frames.push(Frame::new(Language::Go, go_function(before), file, number));
        }
        before = line;
    }
    frames
}

fn go_place(line: &str) -> Option<(&str, i32)> {
    let place_text = line.trim().split(" +0x").next().unwrap_or("").trim();
    let (file, number) = place_text.rsplit_once(':')?;
    (file.ends_with(".go") || file.ends_with(".s")).then_some((file, number.parse().ok()?))
}

fn go_function(line: &str) -> &str {
    let line = line.trim().trim_start_matches("created by ");
    let line = line.split(" in goroutine ").next().unwrap_or(line);
    let Some(open) = line.strip_suffix(')').map(|_| arguments_start(line)) else {
        return line;
    };
    &line[..open]
}

/// Where the argument list that ends the line opens; receivers such as `(*T)` stand before it.
fn arguments_start(line: &str) -> usize {
    let mut depth = 0;
    for (at, c) in line.char_indices().rev() {
        match c {
            ')' => depth += 1,
            '(' if depth == 1 => return at,
            '(' => depth -= 1,
            _ => {}
        }
    }
    line.len()
}

/// `  12: crate::module::function`, then `at ./src/x.rs:3:5`.
fn rust(stack: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut pending: Option<&str> = None;
    for line in stack.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("at ").filter(|_| pending.is_some()) {
            let (file, number) = place(rest).unwrap_or((rest, 0));
            frames.push(Frame::new(Language::Rust, pending.take().unwrap_or(""), file, number));
            continue;
        }
        let function = line.split_once(": ").filter(|(index, _)| index.parse::<u32>().is_ok()).map(|(_, function)| function);
        let function =
            function.map(|name| name.split_once(" - ").filter(|(address, _)| address.starts_with("0x")).map_or(name, |(_, name)| name));
        if let Some(before) = pending.take() {
            frames.push(Frame::new(Language::Rust, before, "", 0));
        }
        pending = function;
    }
    frames.extend(pending.map(|last| Frame::new(Language::Rust, last, "", 0)));
    frames
}

/// Lines that begin with `at `: Java, .NET and JavaScript, told apart line by line, and PHP as OpenTelemetry's SDK writes it.
fn at_lines(stack: &str) -> Vec<Frame> {
    let php = stack.lines().map(str::trim).any(is_dotted_php);
    let (mut blocks, mut skipping, mut causes_first) = (vec![Vec::new()], false, false);
    for line in stack.lines().map(str::trim) {
        if line.starts_with("Caused by:") || line.starts_with("[cause]:") {
            blocks.push(Vec::new());
            skipping = false;
        } else if !skipping && line.starts_with("--- End of inner exception stack trace ---") {
            blocks.push(Vec::new());
            causes_first = true;
        } else if line.starts_with("Suppressed:") || line.starts_with("---> (Inner Exception #") {
            skipping = true;
        } else if let Some(frame) = line.strip_prefix("at ").filter(|_| !skipping).and_then(|rest| at_line(rest, php))
            && let Some(block) = blocks.last_mut()
        {
            block.push(frame);
        }
        // So ends what .NET adds of an exception with several causes.
        skipping &= !line.ends_with("<---");
    }
    if causes_first {
        blocks.reverse();
    }
    raised_or_root(blocks)
}

/// The frames of the raised exception, or of its root cause where those have none of the application. In: the chain, the raised one first.
fn raised_or_root(mut blocks: Vec<Vec<Frame>>) -> Vec<Frame> {
    let root = blocks.pop().unwrap_or_default();
    match blocks.into_iter().next() {
        Some(raised) if raised.iter().any(|frame| frame.in_app) || root.is_empty() => raised,
        Some(_) | None => root,
    }
}

/// `at Shop.Cart.price(Cart.php:31)`; a page's own script is `at pay (https://shop.example/cart.php:3:14)`.
fn is_dotted_php(line: &str) -> bool {
    line.strip_prefix("at ").is_some_and(|rest| rest.ends_with(')') && rest.contains(".php:") && !rest.contains(" ("))
}

fn at_line(rest: &str, php: bool) -> Option<Frame> {
    if let Some((call, source)) = rest.rsplit_once(" in ")
        && let Some((file, line)) = source.rsplit_once(":line ")
    {
        let function = call.split('(').next().unwrap_or(call);
        return Some(Frame::new(Language::DotNet, function, file, line.trim().parse().unwrap_or(0)));
    }
    // Log frameworks append the jar: `at a.B.c(B.java:1) ~[shop.jar:1.0]`; Node opens a brace before the error's own fields.
    let rest = [") ~[", ") [", ") {"].iter().fold(rest, |rest, end| rest.split(end).next().unwrap_or(rest));
    let open = rest.rfind('(').filter(|at| *at > 0);
    match open.map(|at| (&rest[..at], rest[at + 1..].trim_end_matches(')'))) {
        Some((head, inner)) if head.ends_with(' ') => {
            let (file, line) = place(inner).unwrap_or((inner, 0));
            Some(Frame::new(Language::JavaScript, javascript_function(head), file, line))
        }
        Some((head, inner)) => java_place(inner).map_or_else(
            || Some(Frame::new(Language::DotNet, rest.split('(').next().unwrap_or(head), "", 0)),
            |(file, line)| {
                Some(if php {
                    Frame::new(Language::Php, &names::php_dotted(head), file, line)
                } else {
                    Frame::new(Language::Java, head.rsplit('/').next().unwrap_or(head), file, line)
                })
            },
        ),
        None => place(rest.trim_end_matches(" {").trim_start_matches("async "))
            .map(|(file, line)| Frame::new(Language::JavaScript, "<anonymous>", file, line)),
    }
}

/// The function without `async` and without the alias that it was called by.
pub(crate) fn javascript_function(head: &str) -> &str {
    let head = head.trim().trim_start_matches("async ");
    head.split(" [as ").next().unwrap_or(head)
}

/// What stands in the parentheses of a Java frame.
fn java_place(inner: &str) -> Option<(&str, i32)> {
    match inner {
        "Native Method" | "Unknown Source" | "<generated>" | "Unknown" => Some(("", 0)),
        _ => match inner.rsplit_once(':') {
            Some((file, line)) if !file.contains([' ', ',']) => line.parse().ok().map(|line| (file, line)),
            Some(_) => None,
            None => [".java", ".kt", ".scala", ".groovy", ".clj"].iter().any(|end| inner.ends_with(end)).then_some((inner, 0)),
        },
    }
}

/// `app/x.rb:12:in 'Order#create'`, with a backtick before Ruby 3.4, after `from ` in full messages.
fn ruby(stack: &str) -> Vec<Frame> {
    let frame = |line: &str| {
        let (left, right) = line.trim().trim_start_matches("from ").split_once(":in ")?;
        let (file, number) = left.rsplit_once(':')?;
        let name = right.strip_prefix(['`', '\''])?;
        Some(Frame::new(Language::Ruby, name.split('\'').next().unwrap_or(name), file, number.parse().ok()?))
    };
    stack.lines().filter_map(frame).collect()
}

/// `#0 /app/x.php(12): Shop\Cart->add()` after `Shop\Full: no in /app/Cart.php:7`: a line names a function and where it was called, so
/// the line before it tells in which file the function is, and before the first one the message does. Of a chain the raised exception
/// stands last.
fn php(stack: &str) -> Vec<Frame> {
    let (mut blocks, mut header, mut within) = (Vec::new(), "", ("", 0));
    for line in stack.lines().map(str::trim) {
        let numbered = line.strip_prefix('#').and_then(|rest| rest.split_once(' '));
        let called = numbered.and_then(|(index, rest)| Some((index.parse::<u32>().ok()?, php_call(rest)?)));
        let Some((index, (function, place))) = called else {
            header = if line == "Stack trace:" { header } else { line };
            continue;
        };
        if index == 0 || blocks.is_empty() {
            within = php_header(header);
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push(Frame::new(Language::Php, function, within.0, within.1));
        }
        within = place;
    }
    blocks.reverse();
    raised_or_root(blocks)
}

/// A function, and where it was called.
fn php_call(rest: &str) -> Option<(&str, (&str, i32))> {
    if rest == "{main}" {
        return Some((rest, ("", 0)));
    }
    let (place, call) = match rest.strip_prefix("[internal function]: ") {
        Some(call) => (("", 0), call),
        None => {
            let (place, call) = rest.split_once("): ")?;
            let (file, line) = place.rsplit_once('(')?;
            (php_place(file, line.parse().ok()?), call)
        }
    };
    Some((call.split('(').next().unwrap_or(call), place))
}

/// Where an exception was made, from the line with its message.
fn php_header(line: &str) -> (&str, i32) {
    let found = line.rsplit_once(" in ").and_then(|(_, at)| place(at));
    found.map_or(("", 0), |(file, line)| php_place(file, line))
}

/// A place; that of a text that was run as code is where it was run: `/app/x.php(3) : eval()'d code` is line 3 of `/app/x.php`.
fn php_place(file: &str, line: i32) -> (&str, i32) {
    let run = [") : eval()'d code", ") : runtime-created function"].into_iter().find_map(|end| file.strip_suffix(end));
    let run = run.and_then(|run| run.rsplit_once('(')).and_then(|(file, line)| Some((file, line.parse().ok()?)));
    run.unwrap_or((file, line))
}

/// `pay@https://shop.example/app.js:3:14`, as Firefox and Safari write it.
fn gecko(stack: &str) -> Vec<Frame> {
    let frame = |line: &str| {
        let (function, rest) = line.trim().split_once('@')?;
        let (file, number) = place(rest).filter(|(file, _)| file.contains('/'))?;
        let function = if function.is_empty() { "<anonymous>" } else { function };
        Some(Frame::new(Language::JavaScript, function, file, number))
    };
    stack.lines().filter_map(frame).collect()
}

#[cfg(test)]
mod tests;
