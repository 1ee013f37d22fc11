//! Frames as Sentry's SDKs send them, made equal to those that stack traces of the same runtime give: innermost first, functions
//! with their class or package where the runtime prints it so, files as the runtime names them. In: stacks. Out: frames, and the
//! stack as text for people. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use super::event::{Exception, FramePart, Stack};
use crate::errors::{Frame, Language, javascript_function, trim};

/// A stack, innermost first.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Whether a frame is the application's is told here as for stack traces, so that both group alike.
    pub(super) frames: Vec<Frame>,
    /// What the SDK says about each frame.
    said: Vec<Option<bool>>,
}

impl Calls {
    /// Of a stack of a platform.
    pub(super) fn of(stack: Option<&Stack<'_>>, platform: &str) -> Self {
        let mut parts: Vec<&FramePart<'_>> = stack.map(|stack| stack.frames.0.iter().rev().collect()).unwrap_or_default();
        trim(&mut parts);
        let frames = parts.iter().map(|part| frame(part, platform)).collect();
        Calls { frames, said: parts.iter().map(|part| part.in_app.0).collect() }
    }
    /// Whether any frame is the application's.
    pub(super) fn any_in_app(&self) -> bool {
        self.frames.iter().any(|frame| frame.in_app)
    }
    /// The frames as they are shown: the SDK knows best what the application is.
    pub(super) fn shown(mut self) -> Vec<Frame> {
        for (frame, said) in self.frames.iter_mut().zip(self.said) {
            frame.in_app = said.unwrap_or(frame.in_app);
        }
        self.frames
    }
}

/// The language of a platform; of others the SDK alone says what the application is.
pub(super) fn language(platform: &str) -> Option<Language> {
    match platform {
        "python" => Some(Language::Python),
        "java" => Some(Language::Java),
        "csharp" => Some(Language::DotNet),
        "javascript" | "node" => Some(Language::JavaScript),
        "go" => Some(Language::Go),
        "rust" => Some(Language::Rust),
        "ruby" => Some(Language::Ruby),
        "php" => Some(Language::Php),
        _ => None,
    }
}

fn frame(part: &FramePart<'_>, platform: &str) -> Frame {
    let platform = if part.platform.is_empty() { platform } else { &part.platform };
    let language = language(platform);
    let function = function(part, language);
    let line = part.lineno.0.filter(|line| (0.0..=f64::from(i32::MAX)).contains(line)).unwrap_or(0.0) as i32;
    match language {
        Some(language) => Frame::new(language, &function, file(part), line),
        None => {
            let (function, file) = (function.into_owned(), file(part).to_owned());
            Frame { function, file, line, in_app: part.in_app.0.unwrap_or(true) }
        }
    }
}

/// The file as the runtime names it.
fn file<'f>(part: &'f FramePart<'_>) -> &'f str {
    // Python's SDK makes paths even of code without a file, such as `<string>`.
    let whole = if part.abs_path.is_empty() || part.filename.starts_with('<') { &part.filename } else { &part.abs_path };
    whole.strip_prefix("file://").unwrap_or(whole)
}

/// The function as the runtime prints it in a stack trace.
fn function<'f>(part: &'f FramePart<'_>, language: Option<Language>) -> Cow<'f, str> {
    let (module, function) = (&*part.module, &*part.function);
    let joined = |separator: &str| match module {
        "" => Cow::Borrowed(function),
        module => Cow::Owned(format!("{module}{separator}{function}")),
    };
    match language {
        Some(Language::JavaScript) => match javascript_function(function) {
            "?" | "" => Cow::Borrowed("<anonymous>"),
            name => name.strip_suffix(".?").map_or(Cow::Borrowed(name), |class| Cow::Owned(format!("{class}.<anonymous>"))),
        },
        Some(Language::Java | Language::Go) => joined("."),
        Some(Language::DotNet) => joined(".").split('(').next().map_or(Cow::Borrowed(function), |name| Cow::Owned(name.to_owned())),
        Some(Language::Ruby) => joined("#"),
        Some(Language::Python | Language::Rust | Language::Php) | None => Cow::Borrowed(function),
    }
}

/// The type as the runtime prints it: Python's and Java's SDKs send the package apart.
pub(super) fn kind<'e>(exception: &'e Exception<'_>, platform: &str) -> Cow<'e, str> {
    let (module, name) = (&*exception.module, &*exception.r#type);
    match language(platform) {
        _ if name.is_empty() => Cow::Borrowed("Error"),
        Some(Language::Python | Language::Java) if !matches!(module, "" | "builtins" | "__builtin__" | "exceptions") => {
            Cow::Owned(format!("{module}.{name}"))
        }
        _ => Cow::Borrowed(name),
    }
}

/// A chain of exceptions as text, the raised one first, at most about `limit` bytes.
pub(super) fn text(chain: &[Exception<'_>], platform: &str, limit: usize) -> String {
    let mut out = String::new();
    for (at, exception) in chain.iter().rev().enumerate() {
        if at > 0 {
            out.push_str("Caused by: ");
        }
        out.push_str(&kind(exception, platform));
        if !exception.value.is_empty() {
            let _ = write!(out, ": {}", &*exception.value);
        }
        out.push('\n');
        let mut parts: Vec<&FramePart<'_>> =
            exception.stacktrace.0.as_ref().map(|stack| stack.frames.0.iter().rev().collect()).unwrap_or_default();
        trim(&mut parts);
        for part in parts {
            if out.len() > limit {
                return out;
            }
            let frame = frame(part, platform);
            let _ = write!(out, "    at {} ({}", frame.function, frame.file);
            let _ = if frame.line > 0 { writeln!(out, ":{})", frame.line) } else { writeln!(out, ")") };
            let code = part.context_line.trim();
            if !code.is_empty() {
                let _ = writeln!(out, "        {code}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::parse;

    fn calls(json: &str, platform: &str) -> Vec<Frame> {
        Calls::of(Some(&serde_json::from_str(json).unwrap()), platform).frames
    }

    #[test]
    fn frames_are_those_of_the_stack_trace() {
        let python = r#"{"frames":[
            {"filename":"runpy.py","abs_path":"/usr/lib/python3.11/runpy.py","function":"_run_code","module":"runpy","lineno":86,"in_app":true},
            {"filename":"<string>","abs_path":"/srv/<string>","function":"<module>","module":"__main__","lineno":1},
            {"filename":"shop/app.py","abs_path":"/srv/shop/app.py","function":"pay","module":"shop.app","lineno":3,"vars":{"a":[{}]}}]}"#;
        let trace = "Traceback (most recent call last):\n  File \"/usr/lib/python3.11/runpy.py\", line 86, in _run_code\n    exec(code)\n  File \"<string>\", line 1, in <module>\n  File \"/srv/shop/app.py\", line 3, in pay\n    raise\nKeyError: 'a'\n";
        assert_eq!(calls(python, "python"), parse(trace));
        let node = r#"{"frames":[
            {"filename":"node:internal/process/task_queues","module":"task_queues","function":"process.processTicksAndRejections","lineno":95,"colno":5,"in_app":false},
            {"filename":"index 0","function":"Promise.all","in_app":false},
            {"filename":"/app/node_modules/express/lib/router/layer.js","function":"Layer.handle [as handle_request]","lineno":95,"in_app":false},
            {"filename":"/app/src/server.js","module":"server","function":"?","lineno":9,"in_app":true},
            {"filename":"/app/src/server.js","function":"Object.?","lineno":8,"in_app":true},
            {"filename":"/app/src/cart.mjs","function":"new Cart","lineno":3,"in_app":true},
            {"filename":"/app/src/order.js","function":"Order.total","lineno":14,"colno":23,"in_app":true}]}"#;
        let trace = "TypeError: x\n    at Order.total (/app/src/order.js:14:23)\n    at new Cart (file:///app/src/cart.mjs:3:9)\n    at Object.<anonymous> (/app/src/server.js:8:1)\n    at /app/src/server.js:9:1\n    at Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)\n    at async Promise.all (index 0)\n    at process.processTicksAndRejections (node:internal/process/task_queues:95:5)";
        assert_eq!(calls(node, "node"), parse(trace));
        let java = r#"{"frames":[
            {"filename":"FutureTask.java","module":"java.util.concurrent.FutureTask","function":"run","lineno":264},
            {"filename":"Checkout.java","module":"com.acme.shop.Checkout","function":"pay","lineno":57,"in_app":true}]}"#;
        let trace = "a.B: x\n\tat com.acme.shop.Checkout.pay(Checkout.java:57)\n\tat java.base/java.util.concurrent.FutureTask.run(FutureTask.java:264)\n";
        assert_eq!(calls(java, "java"), parse(trace));
        let go = r#"{"frames":[{"filename":"pay.go","abs_path":"/src/shop/pay.go","module":"main","function":"(*Shop).Pay","lineno":42}]}"#;
        let trace = "goroutine 1 [running]:\nmain.(*Shop).Pay(0xc000012345)\n\t/src/shop/pay.go:42 +0x1d\n";
        assert_eq!(calls(go, "go"), parse(trace));
        let dotnet = r#"{"frames":[{"abs_path":"/src/Cart.cs","module":"Acme.Cart","function":"Parse(string)","lineno":12}]}"#;
        assert_eq!(calls(dotnet, "csharp"), parse("System.X: y\n   at Acme.Cart.Parse(String text) in /src/Cart.cs:line 12\n"));
        let ruby = r#"{"frames":[{"filename":"orders.rb","abs_path":"/app/orders.rb","module":"Order","function":"create","lineno":30}]}"#;
        assert_eq!(calls(ruby, "ruby"), parse("/app/orders.rb:30:in 'Order#create'\n"));
    }

    #[test]
    fn what_the_sdk_says_is_shown_and_does_not_group() {
        let stack = r#"{"frames":[{"function":"f","abs_path":"/usr/lib/python3.11/x.py","in_app":true},{"function":"g","abs_path":"/srv/a.py","in_app":false}]}"#;
        let calls = Calls::of(Some(&serde_json::from_str(stack).unwrap()), "python");
        assert_eq!(calls.frames.iter().map(|frame| frame.in_app).collect::<Vec<_>>(), [true, false]);
        assert_eq!(calls.shown().iter().map(|frame| frame.in_app).collect::<Vec<_>>(), [false, true]);
        let other = r#"{"frames":[{"function":"f","in_app":false},{"function":"g","lineno":-1},{"function":"h","lineno":1e99}]}"#;
        let calls = Calls::of(Some(&serde_json::from_str(other).unwrap()), "cocoa");
        assert_eq!(calls.frames.iter().map(|frame| frame.in_app).collect::<Vec<_>>(), [true, true, false]);
        assert!(calls.frames.iter().all(|frame| frame.line == 0));
    }

    #[test]
    fn types_have_their_package_where_the_runtime_prints_it() {
        for (json, platform, expected) in [
            (r#"{"type":"PayError","module":"shop.errors"}"#, "python", "shop.errors.PayError"),
            (r#"{"type":"KeyError","module":"builtins"}"#, "python", "KeyError"),
            (r#"{"type":"KeyError","module":null}"#, "python", "KeyError"),
            (r#"{"type":"CheckoutException","module":"com.acme"}"#, "java", "com.acme.CheckoutException"),
            (r#"{"type":"System.FormatException","module":"System.Private.CoreLib"}"#, "csharp", "System.FormatException"),
            (r#"{"value":"x"}"#, "node", "Error"),
        ] {
            assert_eq!(kind(&serde_json::from_str(json).unwrap(), platform), expected, "{json}");
        }
    }

    #[test]
    fn a_chain_reads_from_the_raised_exception_to_its_cause() {
        let chain: Vec<Exception<'_>> = serde_json::from_str(
            r#"[{"type":"KeyError","value":"'a'","stacktrace":{"frames":[{"function":"load","filename":"cache.py","lineno":8}]}},
                {"type":"PayError","module":"shop","value":"no","stacktrace":{"frames":[{"function":"main","filename":"m.py"},{"function":"pay","filename":"app.py","lineno":3,"context_line":"    raise PayError()"}]}}]"#,
        )
        .unwrap();
        assert_eq!(
            text(&chain, "python", 1_000),
            "shop.PayError: no\n    at pay (app.py:3)\n        raise PayError()\n    at main (m.py)\nCaused by: KeyError: 'a'\n    at load (cache.py:8)\n"
        );
        assert!(text(&chain, "python", 0).lines().count() == 1);
    }
}
