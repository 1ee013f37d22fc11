//! Functions named alike, however a stack came: PHP's text, OpenTelemetry's and Sentry's SDKs write the same function in three ways, and
//! C#'s compiler makes classes and names of its own. In: a function without its arguments. Out: the function as its author wrote it.
//! Pure.

use std::borrow::Cow;

use crate::errors::Language;

/// Functions in functions are looked into this deep.
const MAX_NESTED: usize = 8;
/// The bottom of a PHP stack: code outside of functions.
const PHP_MAIN: &str = "{main}";
/// A function without a name in PHP.
const PHP_CLOSURE: &str = "{closure";

/// The function as it is stored.
pub(super) fn written(language: Language, function: &str) -> Cow<'_, str> {
    match language {
        Language::Php => php(function),
        Language::DotNet => dotnet(function),
        _ => Cow::Borrowed(function),
    }
}

/// `Shop\Cart::price` of `Shop\Cart->price` too; closures and classes without a name stand without the file and line that PHP adds.
fn php(function: &str) -> Cow<'_, str> {
    if function.is_empty() {
        return Cow::Borrowed(PHP_MAIN);
    }
    let mut name = function.replacen("->", "::", 1);
    if let Some(at) = name.find("{closure:") {
        name.truncate(at);
        name.push_str("{closure}");
    }
    if let (Some(from), Some(to)) = (name.find('\0'), name.rfind("::"))
        && from < to
    {
        name.replace_range(from..to, "");
    }
    Cow::Owned(name)
}

/// `Shop\Cart::price` of `Shop.Cart.price`, as OpenTelemetry's SDK for PHP writes it. A function of a namespace looks the same there as
/// one of a class, so grouping tells them apart by neither.
pub(super) fn php_dotted(name: &str) -> String {
    let (class, function) = match name.find(PHP_CLOSURE) {
        Some(at) => (name[..at].trim_end_matches('.'), "{closure}"),
        None => name.rsplit_once('.').unwrap_or(("", name)),
    };
    if class.is_empty() { function.to_owned() } else { format!("{}::{function}", class.replace('.', "\\")) }
}

/// `Acme.Cart.Add` of `Acme.Cart.Add[T]`, of a lambda in it (`Acme.Cart.<>c.<Add>b__3_0`) and of its state machine
/// (`Acme.Cart.<Add>d__3.MoveNext`); `Acme.Cart.Add+Check` of a function in it.
fn dotnet(function: &str) -> Cow<'_, str> {
    if !function.contains(['<', '[', '`']) {
        return Cow::Borrowed(function);
    }
    let name = without_type_parameters(function);
    let (mut parts, mut depth, mut machine) = (Vec::new(), 0_i32, false);
    let dots = |c: char| {
        depth += i32::from(c == '<') - i32::from(c == '>');
        c == '.' && depth == 0
    };
    for part in name.split(dots) {
        // A class that the compiler makes for lambdas, and the one method of a state machine.
        if part.starts_with("<>c") || machine && part == "MoveNext" {
            continue;
        }
        machine = part.starts_with('<') && part.rsplit_once('>').is_some_and(|(_, kind)| kind.starts_with('d'));
        parts.push(authored(part));
    }
    Cow::Owned(parts.join("."))
}

/// Without `<T>`, `[T]` and `` `1 ``. What the compiler makes begins with an angle bracket and stays.
fn without_type_parameters(function: &str) -> String {
    let (mut out, mut depth, mut arity) = (String::with_capacity(function.len()), 0_usize, false);
    for c in function.chars() {
        arity = c == '`' || (arity && c.is_ascii_digit());
        match c {
            '<' | '[' if depth > 0 || out.ends_with(|before: char| before.is_alphanumeric() || before == '_') => depth += 1,
            '>' | ']' if depth > 0 => depth -= 1,
            _ if depth > 0 || arity => {}
            _ => out.push(c),
        }
    }
    out
}

/// `Add` of `<Add>b__3_0` and `<Add>d__3`, `Main` of `<Main>$`, `Add+Check` of `<Add>g__Check|3_0`.
fn authored(part: &str) -> Cow<'_, str> {
    let (mut name, mut local) = (part, "");
    for _ in 0..MAX_NESTED {
        let Some((inner, kind)) = name.strip_prefix('<').and_then(|rest| rest.rsplit_once('>')) else { break };
        if local.is_empty() {
            local = kind.strip_prefix("g__").map_or("", |rest| rest.split('|').next().unwrap_or(rest));
        }
        name = inner;
    }
    if local.is_empty() { Cow::Borrowed(name) } else { Cow::Owned(format!("{name}+{local}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn php_functions_have_one_name() {
        for (function, expected) in [
            ("Shop\\Cart->price", "Shop\\Cart::price"),
            ("Shop\\Cart::price", "Shop\\Cart::price"),
            ("Shop\\helper", "Shop\\helper"),
            ("Shop\\Cart->{closure:Shop\\Cart::price():31}", "Shop\\Cart::{closure}"),
            ("{closure:/app/x.php:3}", "{closure}"),
            ("Shop\\{closure}", "Shop\\{closure}"),
            ("class@anonymous\0/app/x.php:3$0->run", "class@anonymous::run"),
            ("class@anonymous::run", "class@anonymous::run"),
            ("", "{main}"),
        ] {
            assert_eq!(written(Language::Php, function), expected, "{function}");
        }
        for (name, expected) in [
            ("Shop.Cart.price", "Shop\\Cart::price"),
            ("Shop.Cart.{closure:Shop.Cart::price():31}", "Shop\\Cart::{closure}"),
            ("{closure}", "{closure}"),
            ("{main}", "{main}"),
            ("array_map", "array_map"),
        ] {
            assert_eq!(php_dotted(name), expected, "{name}");
        }
    }

    #[test]
    fn dotnet_functions_are_those_of_the_author() {
        for (function, expected) in [
            ("Acme.Cart.Add", "Acme.Cart.Add"),
            ("Acme.Cart.Parse[T]", "Acme.Cart.Parse"),
            ("Acme.Repo`1.Get", "Acme.Repo.Get"),
            ("Acme.Repo<Acme.Cart, int>.Get<T>", "Acme.Repo.Get"),
            ("Acme.Repo`1[[System.Int32, mscorlib, Version=4.0.0.0]].Get", "Acme.Repo.Get"),
            ("Acme.Cart..ctor", "Acme.Cart..ctor"),
            ("Acme.Repo`1..ctor", "Acme.Repo..ctor"),
            ("Acme.Cart.<AddAsync>d__3.MoveNext", "Acme.Cart.AddAsync"),
            ("Acme.Cart.<AddAsync>d__3`1.MoveNext", "Acme.Cart.AddAsync"),
            ("Acme.Cart.<>c.<Add>b__3_0", "Acme.Cart.Add"),
            ("Acme.Cart.<>c__DisplayClass3_0.<Add>b__0", "Acme.Cart.Add"),
            ("Acme.Cart.<>c__DisplayClass3_0.<<Add>b__0>d.MoveNext", "Acme.Cart.Add"),
            ("Acme.Cart.<Add>g__Check|3_0", "Acme.Cart.Add+Check"),
            ("Acme.Cart.<<Add>g__Check|3_0>d.MoveNext", "Acme.Cart.Add+Check"),
            ("Acme.Cart.<>c.<.ctor>b__0_0", "Acme.Cart..ctor"),
            ("Program.<Main>$", "Program.Main"),
            ("Program.<<Main>$>d__0.MoveNext", "Program.Main"),
            ("Program.<<Main>$>g__Check|0_0", "Program.Main+Check"),
            ("Acme.Items.Enumerator.MoveNext", "Acme.Items.Enumerator.MoveNext"),
        ] {
            assert_eq!(written(Language::DotNet, function), expected, "{function}");
        }
    }

    #[test]
    fn what_nobody_wrote_is_no_trouble() {
        let deep = format!("{}a{}", "<".repeat(10_000), ">".repeat(10_000));
        assert!(!written(Language::DotNet, &deep).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_name_makes_it_panic(name in "(<|>|\\[|\\]|`1|\\.|->|::|\\{closure:|\0|<>c|MoveNext|g__|\\PC){0,40}") {
            written(Language::DotNet, &name);
            written(Language::Php, &name);
            php_dotted(&name);
        }
    }
}
