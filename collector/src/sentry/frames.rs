//! Frames as Sentry's SDKs send them, made equal to those that stack traces of the same runtime give: innermost first, functions
//! with their class or package where the runtime prints it so, files as the runtime names them. In: stacks. Out: frames, and the
//! stack as text for people. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use super::event::{Exception, FramePart, Stack};
use crate::errors::{Frame, Language, javascript_function, trim};

/// Classes in classes are looked into this deep.
const MAX_NESTED: usize = 16;

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
        let spoken = language_of(&parts, platform);
        let frames = parts.iter().map(|part| frame(part, spoken)).collect();
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

/// The language of a stack. Rust's SDK says `native`, as those of C and C++ do: told by the files, or, as where there is no debug
/// information, by paths of modules without the parameters that C++ writes.
fn language_of(parts: &[&FramePart<'_>], platform: &str) -> Option<Language> {
    let is_rust = |part: &&FramePart<'_>| match file(part) {
        "" => part.function.contains("::") && !part.function.contains('('),
        file => file.ends_with(".rs"),
    };
    language(platform).or_else(|| (platform == "native" && parts.iter().any(is_rust)).then_some(Language::Rust))
}

/// A frame in a stack of a language.
fn frame(part: &FramePart<'_>, spoken: Option<Language>) -> Frame {
    let language = match &*part.platform {
        "" => spoken,
        "native" => spoken.filter(|language| *language == Language::Rust),
        platform => language(platform),
    };
    let function = function(part, language);
    let line = part.lineno.0.filter(|line| (0.0..=f64::from(i32::MAX)).contains(line)).unwrap_or(0.0) as i32;
    match language {
        // Without a namespace only the SDK, which knew it, can tell a library.
        Some(Language::DotNet) if part.module.is_empty() => {
            let frame = Frame::new(Language::DotNet, &function, file(part), line);
            Frame { in_app: frame.in_app && part.in_app.0.unwrap_or(!frame.file.is_empty()), ..frame }
        }
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
    match &**whole {
        // PHP's SDK writes so of what the runtime itself called.
        "[internal]" => "",
        whole => whole.strip_prefix("file://").unwrap_or(whole),
    }
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
        Some(Language::DotNet) => Cow::Owned(dotnet(module, function)),
        Some(Language::Ruby) => joined("#"),
        Some(Language::Python | Language::Rust | Language::Php) | None => Cow::Borrowed(function),
    }
}

/// `Acme.Shop.Cart.Add` of a class and what .NET's SDK says of a method: its name, or its signature with the class once more
/// (`async Task<int> Cart.Add(string id)`, `new Cart()`, `void Cart.Add()+Check(int n)` of a function in it, `void Cart.Add()+() => { }`
/// of a lambda), then mostly without the class apart.
fn dotnet(module: &str, function: &str) -> String {
    let class = module.replace('+', ".");
    let function = function.strip_suffix(" { <lambda> }").unwrap_or(function);
    let (method, local) = match signature(function) {
        Some((before, name, after)) => {
            let is_class = |name: &str| class.strip_suffix(name).is_some_and(|head| head.is_empty() || head.ends_with('.'));
            let local = after.split_once(")+").map_or("", |(_, local)| local.split('(').next().unwrap_or(local));
            (dotnet_method(before, name, is_class), local)
        }
        None => (Cow::Borrowed(function), ""),
    };
    let dot = if class.is_empty() { "" } else { "." };
    // What yields values has a state machine.
    let (plus, local) = if matches!(local, "" | "MoveNext") { ("", "") } else { ("+", local) };
    format!("{class}{dot}{method}{plus}{local}")
}

/// What stands before the name in a signature, the name, and the rest from the parameters on; `None` where there are no parameters.
fn signature(text: &str) -> Option<(&str, &str, &str)> {
    let (mut start, mut depth) = (0, 0_i32);
    for (at, c) in text.char_indices() {
        match c {
            '(' if depth == 0 && at > start => return Some((&text[..start], &text[start..at], &text[at..])),
            '<' | '[' | '(' => depth += 1,
            '>' | ']' | ')' => depth -= 1,
            ' ' if depth == 0 => start = at + 1,
            _ => {}
        }
    }
    None
}

/// The method of a signature without its class; constructors as the runtime names them.
fn dotnet_method<'s>(before: &str, name: &'s str, is_class: impl Fn(&str) -> bool) -> Cow<'s, str> {
    let constructor = if before.ends_with("static ") { ".cctor" } else { ".ctor" };
    if is_class(name) {
        return Cow::Borrowed(constructor);
    }
    // Without a class apart the one in the name is all there is.
    if before.ends_with("new ") || before.ends_with("static ") {
        return Cow::Owned(format!("{name}.{constructor}"));
    }
    let class = name.match_indices('.').take(MAX_NESTED).find(|(at, _)| is_class(&name[..*at]));
    Cow::Borrowed(class.map_or(name, |(at, _)| &name[at + 1..]))
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
        let spoken = language_of(&parts, platform);
        for part in parts {
            if out.len() > limit {
                return out;
            }
            let frame = frame(part, spoken);
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
    use crate::errors::{fingerprint, parse};

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

    /// What groups of all frames, not only of the innermost.
    fn print(frames: &[Frame]) -> u64 {
        fingerprint("Error", "x", frames, 10)
    }

    #[test]
    fn php_frames_are_those_of_both_texts() {
        let php = r#"{"frames":[
            {"filename":"/public/index.php","abs_path":"/app/public/index.php","lineno":5,"in_app":true},
            {"filename":"/vendor/symfony/Kernel.php","abs_path":"/app/vendor/symfony/Kernel.php","function":"Symfony\\Kernel::handle","lineno":9,"in_app":false},
            {"filename":"/src/Cart.php","abs_path":"/app/src/Cart.php","function":"Shop\\Cart::total","lineno":22,"in_app":true},
            {"filename":"[internal]","function":"array_map","lineno":0,"in_app":false},
            {"filename":"/src/Cart.php","abs_path":"/app/src/Cart.php","function":"Shop\\Cart::Shop\\{closure}","lineno":20,"in_app":true},
            {"filename":"/src/Cart.php","abs_path":"/app/src/Cart.php","function":"Shop\\Cart::price","lineno":31,"in_app":true}]}"#;
        let text = "Shop\\Full: no in /app/src/Cart.php:31\nStack trace:\n#0 /app/src/Cart.php(20): Shop\\Cart->price(Array)\n#1 [internal function]: Shop\\Cart->Shop\\{closure}(1)\n#2 /app/src/Cart.php(22): array_map(Object(Closure), Array)\n#3 /app/vendor/symfony/Kernel.php(9): Shop\\Cart->total()\n#4 /app/public/index.php(5): Symfony\\Kernel->handle()\n#5 {main}";
        assert_eq!(calls(php, "php"), parse(text));
        // OpenTelemetry's SDK writes it like Java.
        let dotted = "Shop.Full: no\n\tat Shop.Cart.price(Cart.php:31)\n\tat Shop.Cart.Shop.{closure}(Cart.php:20)\n\tat array_map(Unknown Source)\n\tat Shop.Cart.total(Cart.php:22)\n\tat Symfony.Kernel.handle(Kernel.php:9)\n\tat {main}(index.php:5)";
        assert_eq!(print(&calls(php, "php")), print(&parse(dotted)));
        assert_ne!(print(&calls(php, "php")), print(&parse(&dotted.replace("total", "sum"))));
    }

    #[test]
    fn dotnet_frames_are_those_of_the_text() {
        let text = "System.InvalidOperationException: no
   at Acme.Shop.Cart.<>c__DisplayClass4_0.<Add>b__0(String id) in /src/Shop/Cart.cs:line 12
   at System.Linq.Enumerable.ToList[TSource](IEnumerable`1 source)
   at Acme.Shop.Cart.Add(String id) in /src/Shop/Cart.cs:line 20
   at Acme.Shop.Repo`1.GetAsync[T](T id) in /src/Shop/Repo.cs:line 7
   at Program.<Main>$(String[] args) in /src/Shop/Program.cs:line 3
";
        let enhanced = r#"{"frames":[
            {"filename":"/src/Shop/Program.cs","module":"Program","function":"Task Program.<Main>$(string[] args)","lineno":3,"in_app":true},
            {"filename":"/src/Shop/Repo.cs","module":"Acme.Shop.Repo<T>","function":"async Task<T> Repo<T>.GetAsync<T>(T id)","lineno":7,"in_app":true},
            {"filename":"/src/Shop/Cart.cs","module":"Acme.Shop.Cart","function":"void Cart.Add(string id)","lineno":20,"in_app":true},
            {"module":"System.Linq.Enumerable","function":"List<TSource> Enumerable.ToList<TSource>(IEnumerable<TSource> source)","in_app":false},
            {"filename":"/src/Shop/Cart.cs","module":"Acme.Shop.Cart","function":"void Cart.Add(string id)+(string x) => { }","lineno":12,"in_app":true}]}"#;
        assert_eq!(calls(enhanced, "csharp"), parse(text));
        let original = r#"{"frames":[
            {"filename":"/src/Shop/Program.cs","module":"Program","function":"<Main>$","lineno":3,"in_app":true},
            {"filename":"/src/Shop/Repo.cs","module":"Acme.Shop.Repo`1","function":"GetAsync","lineno":7,"in_app":true},
            {"filename":"/src/Shop/Cart.cs","module":"Acme.Shop.Cart","function":"Add","lineno":20,"in_app":true},
            {"module":"System.Linq.Enumerable","function":"ToList","in_app":false},
            {"filename":"/src/Shop/Cart.cs","module":"Acme.Shop.Cart+<>c__DisplayClass4_0","function":"Add { <lambda> }","lineno":12,"in_app":true}]}"#;
        assert_eq!(calls(original, "csharp"), parse(text));
        // The SDK itself takes the module away from what it has enhanced.
        let mut bare = enhanced.to_owned();
        for module in ["Program", "Acme.Shop.Repo<T>", "Acme.Shop.Cart", "System.Linq.Enumerable"] {
            bare = bare.replace(&format!(r#""module":"{module}","#), "");
        }
        assert_eq!(print(&calls(&bare, "csharp")), print(&parse(text)));
        let no_files = text.lines().map(|line| line.split(" in ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n");
        let bare =
            ["Program", "Repo", "Cart"].iter().fold(bare, |bare, file| bare.replace(&format!(r#""filename":"/src/Shop/{file}.cs","#), ""));
        assert_eq!(print(&calls(&bare, "csharp")), print(&parse(&no_files)));
    }

    #[test]
    fn dotnet_signatures_become_the_names_of_stack_traces() {
        for (module, function, expected) in [
            ("Acme.Shop.Cart", "void Cart.Add(string id)", "Acme.Shop.Cart.Add"),
            ("Acme.Cart", "(int a, string b) Cart.Pair(int n)", "Acme.Cart.Pair"),
            ("Acme.Cart", "Dictionary<string, int> Cart.Sums(Func<int, (int, int)> of)", "Acme.Cart.Sums"),
            ("Acme.Cart", "new Cart(string id)", "Acme.Cart..ctor"),
            ("Acme.Cart", "static Cart()", "Acme.Cart..cctor"),
            ("", "new Cart(string id)", "Cart..ctor"),
            ("", "async Task Cart.AddAsync(string id)", "Cart.AddAsync"),
            ("Acme.Cart", "void Cart.Add(string id)+Check(int n)", "Acme.Cart.Add+Check"),
            ("Acme.Cart", "<Add>g__Check|3_0", "Acme.Cart.Add+Check"),
            ("Acme.Cart", "IEnumerable<int> Cart.Items()+MoveNext()", "Acme.Cart.Items"),
            ("Acme.Outer+Inner", "bool Inner.Get(out int n)", "Acme.Outer.Inner.Get"),
            ("Acme.Cart", "void Cart.Acme.ICart.Add()", "Acme.Cart.Acme.ICart.Add"),
            ("Acme.Cart+<AddAsync>d__3", "MoveNext", "Acme.Cart.AddAsync"),
            ("Acme.Cart", "(", "Acme.Cart.("),
        ] {
            let json = format!(r#"{{"frames":[{{"module":"{module}","function":"{function}"}}]}}"#);
            assert_eq!(calls(&json, "csharp")[0].function, expected, "{module} {function}");
        }
    }

    #[test]
    fn rust_is_told_from_other_native_code() {
        let native = r#"{"frames":[
            {"function":"__libc_start_main","package":"/lib/libc.so.6","in_app":true},
            {"function":"std::rt::lang_start","abs_path":"/rustc/90b35a6/library/std/src/rt.rs","lineno":165,"in_app":true},
            {"function":"shop::main","filename":"main.rs","abs_path":"/build/shop/src/main.rs","lineno":3,"in_app":true},
            {"function":"acme::block_on","abs_path":"/root/.cargo/registry/src/x/acme-1.0.0/src/lib.rs","lineno":8,"in_app":true},
            {"function":"shop::cart::add","filename":"cart.rs","abs_path":"/build/shop/src/cart.rs","lineno":17,"in_app":false},
            {"function":"core::panicking::panic_fmt","abs_path":"/rustc/90b35a6/library/core/src/panicking.rs","lineno":72,"in_app":true}]}"#;
        let text = "   0: rust_begin_unwind
             at /rustc/90b35a6/library/std/src/panicking.rs:645:5
   1: core::panicking::panic_fmt
             at /rustc/90b35a6/library/core/src/panicking.rs:72:14
   2: shop::cart::add::h0123456789abcdef
             at ./src/cart.rs:17:9
   3: acme::block_on
             at /root/.cargo/registry/src/x/acme-1.0.0/src/lib.rs:8:1
   4: shop::main
             at ./src/main.rs:3:5
   5: std::rt::lang_start
             at /rustc/90b35a6/library/std/src/rt.rs:165:17
   6: __libc_start_main
";
        assert_eq!(print(&calls(native, "native")), print(&parse(text)));
        let innermost = |frames: Vec<Frame>| frames.into_iter().find(|frame| frame.in_app).map(|frame| frame.line);
        assert_eq!(innermost(calls(native, "native")), Some(17));
        assert_eq!(innermost(parse(text)), Some(17));
        let no_files = r#"{"frames":[{"function":"_start","in_app":true},{"function":"shop::main"},{"function":"shop::cart::add"},{"function":"core::panicking::panic","in_app":true}]}"#;
        assert_eq!(
            calls(no_files, "native"),
            parse("   0: core::panicking::panic\n   1: shop::cart::add\n   2: shop::main\n   3: _start\n")
        );
        for other in [
            r#"{"frames":[{"function":"std::vector::at","abs_path":"/src/cart.cpp","in_app":true},{"function":"shop::Cart::add(int)","in_app":false}]}"#,
            r#"{"frames":[{"function":"main","in_app":true},{"function":"core_add","filename":"cart.c","in_app":false}]}"#,
        ] {
            assert_eq!(calls(other, "native").iter().map(|frame| frame.in_app).collect::<Vec<_>>(), [false, true], "{other}");
        }
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
