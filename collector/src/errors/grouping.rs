//! The fingerprint of an error: its type, its normalised message and the innermost frames of the application. Pure and
//! frozen: it is stored with every event, and issues are found by it.

use xxhash_rust::xxh3::Xxh3;

use super::stack::Frame;

/// xxh3-64 of the type, the normalised message and the innermost `top` in-app frames (all frames where none is the
/// application's): function and the last two parts of the file, no line numbers. A function that calls itself counts once.
pub fn fingerprint(kind: &str, normalized: &str, frames: &[Frame], top: usize) -> u64 {
    let mut hasher = Xxh3::new();
    let mut part = |text: &str| {
        hasher.update(text.as_bytes());
        hasher.update(&[0xFF]);
    };
    part(kind);
    part(normalized);
    let any_in_app = frames.iter().any(|frame| frame.in_app);
    let mut calls: Vec<(String, String)> =
        frames.iter().filter(|frame| frame.in_app || !any_in_app).map(|frame| (stable(&frame.function), short(&frame.file))).collect();
    calls.dedup();
    for (function, file) in calls.iter().take(top) {
        part(function);
        part(file);
    }
    hasher.digest()
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

/// The last two parts of a path, without what a deployment puts before them and without query or content hash of bundles.
fn short(file: &str) -> String {
    let file = file.split(['?', '#']).next().unwrap_or(file).replace('\\', "/");
    let parts: Vec<&str> = file.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let kept = &parts[parts.len().saturating_sub(2)..];
    kept.iter().map(|part| part.split('@').next().unwrap_or(part)).collect::<Vec<_>>().join("/")
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
    fn fingerprints_are_frozen() {
        assert_eq!(
            group("KeyError", "'a'", &python("/srv", 1, "pay")),
            xxhash_rust::xxh3::xxh3_64(b"KeyError\xff<str>\xffpay\xffshop/app.py\xff")
        );
    }
}
