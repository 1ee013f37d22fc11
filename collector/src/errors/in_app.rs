//! Whether a frame belongs to the application or to a library, told by its path and function. Pure; in doubt it is the
//! application's.

/// The language of a stack trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// Python
    Python,
    /// Java, Kotlin, Scala
    Java,
    /// .NET
    DotNet,
    /// JavaScript and TypeScript, in Node and browsers
    JavaScript,
    /// Go
    Go,
    /// Rust
    Rust,
    /// Ruby
    Ruby,
    /// PHP
    Php,
}

/// Parts of a path that only libraries have, whatever the language.
const LIBRARY_PATHS: [&str; 3] = ["/vendor/", "/third_party/", "/usr/lib/"];

const PYTHON_PATHS: [&str; 4] = ["site-packages/", "dist-packages/", "<frozen ", "/lib/python"];
const JAVA_PACKAGES: [&str; 30] = [
    "java.",
    "javax.",
    "jakarta.",
    "jdk.",
    "sun.",
    "com.sun.",
    "kotlin.",
    "kotlinx.",
    "scala.",
    "akka.",
    "groovy.",
    "clojure.",
    "org.springframework.",
    "org.apache.",
    "org.hibernate.",
    "org.eclipse.",
    "org.jboss.",
    "org.junit.",
    "org.postgresql.",
    "org.slf4j.",
    "io.netty.",
    "io.grpc.",
    "io.micrometer.",
    "io.opentelemetry.",
    "io.undertow.",
    "reactor.",
    "com.fasterxml.",
    "com.google.common.",
    "com.mysql.",
    "com.zaxxer.",
];
/// Those that Sentry's SDK leaves out too: it is asked where it sends no namespace.
const DOTNET_NAMESPACES: [&str; 26] = [
    "System.",
    "Microsoft.",
    "Newtonsoft.",
    "Npgsql.",
    "Grpc.",
    "OpenTelemetry.",
    "MySql.",
    "StackExchange.",
    "Autofac.",
    "AutoMapper.",
    "Dapper.",
    "FSharp.",
    "FluentValidation.",
    "Giraffe.",
    "Google.",
    "Hangfire.",
    "MediatR.",
    "MongoDB.",
    "Mono.",
    "NLog.",
    "Polly.",
    "RabbitMQ.",
    "RestSharp.",
    "Sentry.",
    "Serilog.",
    "Swashbuckle.",
];
const JAVASCRIPT_PATHS: [&str; 5] = ["node_modules/", "node:", "internal/", "<anonymous>", "native"];
const GO_STANDARD: [&str; 28] = [
    "bufio",
    "bytes",
    "compress",
    "container",
    "context",
    "crypto",
    "database",
    "encoding",
    "errors",
    "fmt",
    "html",
    "internal",
    "io",
    "log",
    "math",
    "mime",
    "net",
    "os",
    "path",
    "reflect",
    "regexp",
    "runtime",
    "sort",
    "strconv",
    "strings",
    "sync",
    "syscall",
    "time",
];
const RUST_CRATES: [&str; 23] = [
    "std::",
    "core::",
    "alloc::",
    "<alloc::",
    "<core::",
    "<std::",
    "__rust",
    "rust_begin_unwind",
    "rust_panic",
    "tokio::",
    "hyper::",
    "axum::",
    "tower::",
    "tonic::",
    "anyhow::",
    "backtrace::",
    "sentry::",
    "sentry_backtrace::",
    "sentry_core::",
    "sentry_panic::",
    "futures",
    "_start",
    "__libc",
];
const RUBY_PATHS: [&str; 3] = ["/gems/", "/lib/ruby/", "<internal:"];
/// The first part of a namespace: OpenTelemetry's SDK for PHP names no folders.
const PHP_NAMESPACES: [&str; 25] = [
    "Amp",
    "Cake",
    "Carbon",
    "CodeIgniter",
    "Composer",
    "Doctrine",
    "GuzzleHttp",
    "Illuminate",
    "Laminas",
    "Laravel",
    "League",
    "Monolog",
    "Nette",
    "OpenTelemetry",
    "PHPUnit",
    "Predis",
    "Psr",
    "React",
    "Sentry",
    "Slim",
    "Symfony",
    "Twig",
    "Yiisoft",
    "Zend",
    "yii",
];

/// Whether the frame is the application's own.
pub fn in_app(language: Language, function: &str, file: &str) -> bool {
    let path = file.replace('\\', "/");
    if LIBRARY_PATHS.iter().any(|part| path.contains(part)) {
        return false;
    }
    let in_path = |parts: &[&str]| parts.iter().any(|part| path.contains(part));
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| function.starts_with(prefix));
    match language {
        Language::Python => !in_path(&PYTHON_PATHS),
        Language::Java => !starts(&JAVA_PACKAGES),
        Language::DotNet => !starts(&DOTNET_NAMESPACES),
        Language::JavaScript => {
            let internal = JAVASCRIPT_PATHS[1..].iter().any(|prefix| path.starts_with(prefix));
            // What is no path (`index 0` of `Promise.all`) is the runtime's.
            !(path.contains(JAVASCRIPT_PATHS[0]) || internal || !path.contains(['/', '.']))
        }
        Language::Go => !go_library(function, &path),
        Language::Rust => !(starts(&RUST_CRATES) || in_path(&["/rustc/", "/.cargo/registry/", "/.cargo/git/", "library/std/"])),
        Language::Ruby => !in_path(&RUBY_PATHS),
        Language::Php => {
            let namespace = function.split(['\\', ':']).next().unwrap_or("");
            !(path.is_empty() || PHP_NAMESPACES.contains(&namespace))
        }
    }
}

/// The standard library, modules from the module cache, and what the runtime itself puts on the stack.
fn go_library(function: &str, path: &str) -> bool {
    if path.contains("/go/src/") && !path.contains("github.com") || path.contains("/pkg/mod/") || path.contains('@') {
        return true;
    }
    let package = function.split(['.', '/']).next().unwrap_or("");
    function == "panic" || GO_STANDARD.contains(&package)
}

#[cfg(test)]
mod tests {
    use super::Language::{DotNet, Go, Java, JavaScript, Php, Python, Ruby, Rust};
    use super::*;

    #[test]
    fn libraries_are_told_from_the_application() {
        for (language, function, file, expected) in [
            (Python, "handle", "/srv/shop/checkout.py", true),
            (Python, "get", "/srv/venv/lib/python3.11/site-packages/requests/api.py", false),
            (Python, "run", "/usr/local/lib/python3.12/threading.py", false),
            (Python, "_call", "<frozen importlib._bootstrap>", false),
            (Java, "com.acme.Cart.add", "Cart.java", true),
            (Java, "java.util.HashMap.get", "HashMap.java", false),
            (Java, "org.springframework.web.Servlet.service", "Servlet.java", false),
            (DotNet, "Acme.Cart.Add", "/src/Cart.cs", true),
            (DotNet, "System.Linq.Enumerable.First", "", false),
            (JavaScript, "pay", "/app/dist/pay.js", true),
            (JavaScript, "next", "/app/node_modules/express/lib/router.js", false),
            (JavaScript, "Promise.all", "index 0", false),
            (JavaScript, "pay", "pay.js", true),
            (JavaScript, "processTicksAndRejections", "node:internal/process/task_queues", false),
            (Go, "main.handle", "/src/main.go", true),
            (Go, "net/http.(*conn).serve", "/usr/local/go/src/net/http/server.go", false),
            (Go, "github.com/acme/shop/cart.Add", "/build/cart/cart.go", true),
            (Go, "github.com/gin-gonic/gin.(*Context).Next", "/root/go/pkg/mod/github.com/gin-gonic/gin@v1.9.1/context.go", false),
            (Go, "runtime.gopanic", "runtime/panic.go", false),
            (Rust, "shop::cart::add", "./src/cart.rs", true),
            (Rust, "core::panicking::panic_fmt", "/rustc/abc/library/core/src/panicking.rs", false),
            (Ruby, "create", "/app/app/controllers/orders_controller.rb", true),
            (Rust, "sentry_core::hub::Hub::capture_event", "", false),
            (Ruby, "call", "/usr/local/bundle/gems/rack-3.0/lib/rack.rb", false),
            (Php, "Shop\\Cart::price", "/app/src/Cart.php", true),
            (Php, "Illuminate\\Database\\Connection::run", "Connection.php", false),
            (Php, "GuzzleHttp::choose_handler", "functions.php", false),
            (Php, "Symfony\\Kernel::handle", "/app/vendor/symfony/Kernel.php", false),
            (Php, "array_map", "", false),
            (Php, "{main}", "/app/public/index.php", true),
        ] {
            assert_eq!(in_app(language, function, file), expected, "{language:?} {function} {file}");
        }
    }
}
