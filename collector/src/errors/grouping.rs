//! The fingerprint of an error: its type, its normalised message and the innermost frames of the application. Pure and
//! frozen: it is stored with every event, and issues are found by it. It is the same whichever protocol an error came by: only
//! what all of them say takes part.

use xxhash_rust::xxh3::Xxh3;

use super::stack::Frame;

/// xxh3-64 of the type (its last part: some senders leave out the package), the normalised message and the innermost `top` in-app
/// frames (all frames where none is the application's): function and the last two parts of the file, no line numbers; of PHP and .NET
/// less (see `call`). A function that calls itself counts once.
pub fn fingerprint(kind: &str, normalized: &str, frames: &[Frame], top: usize) -> u64 {
    let mut hasher = Xxh3::new();
    let mut part = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(&[0xFF]);
    };
    part(simple(kind));
    part(normalized);
    let any_in_app = frames.iter().any(|frame| frame.in_app);
    let mut calls: Vec<(String, String)> = frames.iter().filter(|frame| frame.in_app || !any_in_app).map(call).collect();
    calls.dedup();
    for (function, file) in calls.iter().take(top) {
        part(function);
        part(file);
    }
    hasher.digest()
}

/// The last part of a type's name: `com.acme.Cart$Full` and `Full`, `shop.errors.PayError` and `PayError` are one.
fn simple(kind: &str) -> &str {
    let last = kind.trim_end_matches(['.', '$', '+']);
    last.rsplit(['.', '$', '+']).next().unwrap_or(last)
}

/// The function and the file that a frame is known by. Of PHP and .NET less, because not every sender says more: OpenTelemetry's SDK for
/// PHP names no folders and has one separator for all, Sentry's for .NET leaves namespaces out.
fn call(frame: &Frame) -> (String, String) {
    let (function, file) = (stable(&frame.function), short(&frame.file));
    if file.ends_with(".php") && !frame.file.starts_with("http") {
        let name = file.rsplit('/').next().unwrap_or(&file).to_owned();
        (function.replace("::", ".").replace('\\', "."), name)
    } else if is_dotnet(&function, &file) {
        (unqualified(&function).to_owned(), file)
    } else {
        (function, file)
    }
}

/// Whether a function is of .NET: by its file, or, as where there is no debug information, by its capital letter.
fn is_dotnet(function: &str, file: &str) -> bool {
    let name = function.rsplit_once('.').map_or("", |(_, name)| name);
    let is_capital = name.starts_with(|c: char| c.is_ascii_uppercase()) || function.ends_with("..ctor") || function.ends_with("..cctor");
    // Namespaces of .NET begin with a capital, packages of Java do not.
    let namespace = function.starts_with(|c: char| c.is_ascii_uppercase());
    [".cs", ".fs", ".vb", ".cshtml", ".razor"].iter().any(|end| file.ends_with(end)) || file.is_empty() && is_capital && namespace
}

/// Class and method: `Cart.Add` of `Acme.Shop.Cart.Add`, `Cart..ctor` of `Acme.Shop.Cart..ctor`.
fn unqualified(function: &str) -> &str {
    let mut dots = function.rmatch_indices('.').map(|(at, _)| at).filter(|at| !function[..*at].ends_with('.'));
    dots.nth(1).map_or(function, |at| &function[at + 1..])
}

/// The function without what a compiler or runtime makes up anew: hashes, lambda and proxy numbers, addresses.
fn stable(function: &str) -> String {
    let function = match function.rsplit_once("::h") {
        Some((head, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => head,
        _ => function,
    };
    let (mut out, mut made_up) = (String::with_capacity(function.len()), false);
    for (at, part) in function.split('$').enumerate() {
        if at > 0 {
            out.push('$');
        }
        let digits = part.chars().take_while(|c| c.is_ascii_digit()).count();
        let proxy = made_up && part.chars().take_while(|c| c.is_ascii_alphanumeric()).any(|c| c.is_ascii_digit());
        if at > 0 && proxy {
            out.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric()));
        } else if at > 0 && digits > 0 {
            out.push_str(&part[digits..]);
        } else {
            out.push_str(part);
        }
        made_up = part.is_empty() || part.starts_with("Lambda") || part.contains("CGLIB");
    }
    out
}

/// The last two parts of a path, without what a deployment puts into it: the folder of a release, the host of a page, query and
/// content hash of a bundle.
fn short(file: &str) -> String {
    let file = file.split(['?', '#']).next().unwrap_or(file).replace('\\', "/");
    let path = match file.split_once("://") {
        Some(("http" | "https", rest)) => rest.split_once('/').map_or("", |(_, path)| path),
        Some((_, rest)) => rest,
        None => &file,
    };
    let named = |part: &&str| !part.is_empty() && *part != ".";
    let mut parts = path.rsplit('/').filter(named).map(|part| part.split('@').next().unwrap_or(part));
    let name = parts.next().unwrap_or("");
    // What runtimes call code without a file: `<string>`, `<frozen importlib._bootstrap>`, `<anonymous>`.
    let folder = parts.next().filter(|folder| !name.starts_with('<') && !made_up(folder));
    let name = unhashed(name);
    folder.map_or_else(|| name.clone(), |folder| format!("{folder}/{name}"))
}

/// Whether a folder is named after a release: numbers with dots and dashes, or a commit.
fn made_up(folder: &str) -> bool {
    let version = folder.strip_prefix('v').unwrap_or(folder);
    let numbers = version.starts_with(|c: char| c.is_ascii_digit()) && version.bytes().all(|b| b.is_ascii_digit() || b"._-".contains(&b));
    numbers || is_hash(folder)
}

fn is_hash(text: &str) -> bool {
    text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit()) && text.bytes().any(|b| b.is_ascii_digit())
}

/// The file without the content hash that bundlers put before the end: `app-4f3a2b1c.js`, `app.4f3a2b1c.chunk.js`.
fn unhashed(name: &str) -> String {
    if ![".js", ".mjs", ".cjs"].iter().any(|end| name.ends_with(end)) {
        return name.to_owned();
    }
    let mut out = String::with_capacity(name.len());
    for piece in name.split_inclusive(['-', '.']) {
        let text = piece.trim_end_matches(['-', '.']);
        if is_hash(text) && !out.is_empty() {
            out.pop();
            out.push_str(&piece[text.len()..]);
        } else {
            out.push_str(piece);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::{normalize, parse};

    fn group(kind: &str, message: &str, stack: &str) -> u64 {
        fingerprint(kind, &normalize(message), &parse(stack), 5)
    }

    fn python(root: &str, line: u32, function: &str) -> String {
        format!(
            "Traceback (most recent call last):\n  File \"{root}/shop/app.py\", line {line}, in {function}\n  File \"/usr/lib/python3.11/json/decoder.py\", line {line}, in decode\n"
        )
    }

    #[test]
    fn one_kind_is_one_group() {
        let first = group("KeyError", "'a'", &python("/srv/releases/41", 10, "pay"));
        assert_eq!(first, group("KeyError", "'b'", &python("/srv/releases/41", 10, "pay")), "another key");
        assert_eq!(first, group("KeyError", "'a'", &python("/opt/app", 12, "pay")), "moved by a deployment and by an edit above");
        assert_ne!(first, group("KeyError", "'a'", &python("/srv/releases/41", 10, "refund")), "another function");
        assert_ne!(first, group("ValueError", "'a'", &python("/srv/releases/41", 10, "pay")), "another type");
    }

    #[test]
    fn frames_of_libraries_do_not_count_unless_there_are_no_others() {
        let stack = "Error: x\n    at pay (/app/shop/pay.js:1:1)\n    at next (/app/node_modules/express/lib/router.js:2:2)";
        let other = "Error: x\n    at pay (/app/shop/pay.js:1:1)\n    at dispatch (/app/node_modules/koa/lib/compose.js:2:2)";
        assert_eq!(group("Error", "x", stack), group("Error", "x", other));
        let library = |name: &str| format!("Error: x\n    at {name} (/app/node_modules/express/lib/router.js:2:2)");
        assert_ne!(group("Error", "x", &library("next")), group("Error", "x", &library("done")));
    }

    #[test]
    fn where_an_error_was_caught_does_not_count_by_default() {
        let top = crate::Config::default().grouping_frames;
        let stack = |outer: &str| format!("Error: x\n    at charge (/app/shop/pay.js:1:1){outer}");
        let print = |outer: &str| fingerprint("Error", "x", &parse(&stack(outer)), top);
        assert_eq!(print(""), print("\n    at order (/app/shop/order.js:2:2)\n    at main (/app/shop/main.js:3:3)"));
    }

    #[test]
    fn recursion_counts_once() {
        let deep = |times: usize| {
            format!(
                "Traceback (most recent call last):\n  File \"/a/m.py\", line 1, in main\n{}",
                "  File \"/a/m.py\", line 2, in f\n".repeat(times)
            )
        };
        assert_eq!(group("RecursionError", "", &deep(2)), group("RecursionError", "", &deep(900)));
    }

    #[test]
    fn names_that_compilers_make_up_are_stable() {
        for (function, expected) in [
            ("shop::cart::add::h0123456789abcdef", "shop::cart::add"),
            ("com.acme.Checkout.lambda$run$3", "com.acme.Checkout.lambda$run$"),
            ("com.acme.Cart$$Lambda$14/0x0000000800c8.run", "com.acme.Cart$$Lambda$/0x0000000800c8.run"),
            ("com.acme.Cart$$EnhancerBySpringCGLIB$$1a2b3c.add", "com.acme.Cart$$EnhancerBySpringCGLIB$$.add"),
            ("step1", "step1"),
            ("main.(*Shop).Pay.func1", "main.(*Shop).Pay.func1"),
        ] {
            assert_eq!(stable(function), expected, "{function}");
        }
        assert_eq!(short("https://shop.example/assets/app.js?v=123"), "assets/app.js");
        assert_eq!(short("C:\\src\\Shop\\Cart.cs"), "Shop/Cart.cs");
        assert_eq!(short("./src/cart.rs"), "src/cart.rs");
    }

    #[test]
    fn what_a_deployment_puts_into_paths_does_not_count() {
        for (file, expected) in [
            ("https://shop.example/app.js", "app.js"),
            ("https://shop.example", ""),
            ("app:///dist/pay.js", "dist/pay.js"),
            ("webpack:///./src/cart.ts", "src/cart.ts"),
            ("/srv/releases/20260301120000/app.py", "app.py"),
            ("/srv/v1.2.3/app.py", "app.py"),
            ("/srv/3f2a9c1d/shop/app.py", "shop/app.py"),
            ("/srv/deadbeef/app.py", "deadbeef/app.py"),
            ("/assets/index-4f3a2b1c.js", "assets/index.js"),
            ("/assets/main.4f3a2b1c.chunk.js", "assets/main.chunk.js"),
            ("/app/1234567.js", "app/1234567.js"),
            ("/srv/<string>", "<string>"),
            ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>"),
            ("", ""),
            ("/", ""),
        ] {
            assert_eq!(short(file), expected, "{file}");
        }
    }

    #[test]
    fn the_package_of_a_type_does_not_count() {
        for (kind, expected) in [
            ("KeyError", "KeyError"),
            ("shop.errors.PayError", "PayError"),
            ("com.acme.Cart$Full", "Full"),
            ("Acme.Cart+Full", "Full"),
            ("*errors.errorString", "errorString"),
            ("ActiveRecord::RecordNotFound", "ActiveRecord::RecordNotFound"),
            ("", ""),
            ("...", ""),
        ] {
            assert_eq!(simple(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_call_is_known_by_what_every_sender_says() {
        for (function, file, expected) in [
            ("Shop\\Cart::price", "/app/src/Cart.php", ("Shop.Cart.price", "Cart.php")),
            ("Shop\\Cart::price", "Cart.php", ("Shop.Cart.price", "Cart.php")),
            ("pay", "https://shop.example/cart/index.php", ("pay", "cart/index.php")),
            ("Acme.Shop.Cart.Add", "/src/Shop/Cart.cs", ("Cart.Add", "Shop/Cart.cs")),
            ("Cart.Add", "C:\\src\\Shop\\Cart.cs", ("Cart.Add", "Shop/Cart.cs")),
            ("Acme.Shop.Cart..ctor", "/src/Shop/Cart.cs", ("Cart..ctor", "Shop/Cart.cs")),
            ("Acme.Shop.Cart.Add", "", ("Cart.Add", "")),
            ("Acme.Shop.Cart..cctor", "", ("Cart..cctor", "")),
            ("Add", "/src/Shop/Cart.cs", ("Add", "Shop/Cart.cs")),
            ("com.acme.shop.Cart.add", "", ("com.acme.shop.Cart.add", "")),
            ("com.acme.shop.Cart.add", "Cart.java", ("com.acme.shop.Cart.add", "Cart.java")),
        ] {
            let (known, of) = call(&Frame { function: function.to_owned(), file: file.to_owned(), line: 1, in_app: true });
            assert_eq!((known.as_str(), of.as_str()), expected, "{function} {file}");
        }
    }

    #[test]
    fn fingerprints_are_frozen() {
        assert_eq!(
            group("KeyError", "'a'", &python("/srv", 1, "pay")),
            xxhash_rust::xxh3::xxh3_64(b"KeyError\xff<str>\xffpay\xffshop/app.py\xff")
        );
    }
}
