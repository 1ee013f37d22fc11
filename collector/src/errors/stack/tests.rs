//! Stack traces as real runtimes print them.

use super::*;

/// Frames as `function file:line`, with `*` before those of the application.
fn shown(stack: &str) -> Vec<String> {
    let mark = |frame: &Frame| if frame.in_app { "*" } else { "" };
    parse(stack).iter().map(|frame| format!("{}{} {}:{}", mark(frame), frame.function, frame.file, frame.line)).collect()
}

#[test]
fn python() {
    let stack = r#"Traceback (most recent call last):
  File "/srv/shop/cache.py", line 8, in load
    return store[key]
           ~~~~~^^^^^
KeyError: 'a'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/usr/lib/python3.11/runpy.py", line 196, in _run_module_as_main
    return _run_code(code, main_globals, None,
  File "/srv/venv/lib/python3.11/site-packages/flask/app.py", line 1473, in wsgi_app
    response = self.full_dispatch_request()
  File "/srv/shop/checkout.py", line 41, in pay
    total = price(cart["total"])
  File "/srv/shop/checkout.py", line 12, in <lambda>
    price = lambda t: t / 0
ZeroDivisionError: division by zero
"#;
    assert_eq!(
        shown(stack),
        [
            "*<lambda> /srv/shop/checkout.py:12",
            "*pay /srv/shop/checkout.py:41",
            "wsgi_app /srv/venv/lib/python3.11/site-packages/flask/app.py:1473",
            "_run_module_as_main /usr/lib/python3.11/runpy.py:196",
        ]
    );
}

#[test]
fn the_message_that_python_printed() {
    let stack =
        |last: &str| format!("Traceback (most recent call last):\n  File \"/a.py\", line 1, in f\n    raise x  # ValueError: no\n{last}");
    for (kind, last, expected) in [
        ("KeyError", "KeyError: 'a'\n", Some("'a'")),
        ("shop.errors.PayError", "shop.errors.PayError: two\nlines: x\n", Some("two\nlines: x")),
        ("PayError", "shop.errors.PayError: x", Some("x")),
        ("StopIteration", "StopIteration\n", Some("")),
        ("KeyError", "ValueError: x", None),
        ("", "ValueError: x", None),
    ] {
        assert_eq!(raised_message(&stack(last), kind), expected, "{kind} {last}");
    }
    assert_eq!(raised_message("java.lang.Error: x\n\tat a.B.c(B.java:1)", "java.lang.Error"), None);
}

#[test]
fn python_syntax_error() {
    let stack = "Traceback (most recent call last):\n  File \"/srv/a.py\", line 3, in load\n    exec(text)\n  File \"<string>\", line 1\n    x = =\n        ^\nSyntaxError: invalid syntax\n";
    assert_eq!(shown(stack), ["*load /srv/a.py:3"]);
    assert_eq!(raised_message(stack, "SyntaxError"), Some("invalid syntax"));
    assert_eq!(python_message("SyntaxError", "invalid syntax (<string>, line 1)"), "invalid syntax");
    assert_eq!(python_message("ValueError", "bad (a, line 1)"), "bad (a, line 1)");
}

#[test]
fn javascript_error_codes_are_no_types() {
    let stack = |head: &str| format!("{head}\n    at pay (/app/pay.js:1:1)");
    for (head, kind, expected) in [
        ("Error: connect ECONNREFUSED 127.0.0.1:1", "ECONNREFUSED", "Error"),
        ("TypeError [ERR_INVALID_ARG_TYPE]: The x", "ERR_INVALID_ARG_TYPE", "TypeError"),
        ("AbortError: The operation was aborted", "20", "AbortError"),
        ("Error: x", "PayError", "PayError"),
        ("ECONNREFUSED: x", "ECONNREFUSED", "ECONNREFUSED"),
        ("", "E1", "E1"),
    ] {
        assert_eq!(raised_kind(&stack(head), kind), expected, "{head}");
    }
    assert_eq!(raised_kind("Traceback (most recent call last):\nHTTP: x", "HTTP"), "HTTP");
}

#[test]
fn python_exception_group() {
    let stack = "  + Exception Group Traceback (most recent call last):\n  |   File \"/srv/a.py\", line 3, in main\n  | ExceptionGroup: two (2 sub-exceptions)\n  +-+---------------- 1 ----------------\n    | Traceback (most recent call last):\n    |   File \"/srv/a.py\", line 9, in job\n    | ValueError: 1\n";
    assert_eq!(shown(stack), ["*job /srv/a.py:9"]);
}

#[test]
fn java() {
    let stack = "com.acme.CheckoutException: payment failed
\tat com.acme.shop.Checkout.pay(Checkout.java:57)
\tat com.acme.shop.Checkout.lambda$run$3(Checkout.java:31) ~[shop-1.2.jar:1.2]
\tat java.base/java.util.concurrent.FutureTask.run(FutureTask.java:264)
\tat java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke(Unknown Source)
\tat app//com.acme.shop.Main.main(Main.kt:9)
\tSuppressed: java.io.IOException: close
\t\tat com.acme.shop.Db.close(Db.java:3)
Caused by: java.net.SocketTimeoutException: Read timed out
\tat java.base/sun.nio.ch.NioSocketImpl.read(Native Method)
\t... 12 more
";
    assert_eq!(
        shown(stack),
        [
            "*com.acme.shop.Checkout.pay Checkout.java:57",
            "*com.acme.shop.Checkout.lambda$run$3 Checkout.java:31",
            "java.util.concurrent.FutureTask.run FutureTask.java:264",
            "jdk.internal.reflect.DirectMethodHandleAccessor.invoke :0",
            "*com.acme.shop.Main.main Main.kt:9",
        ]
    );
}

#[test]
fn java_root_cause_where_the_wrapper_is_only_framework() {
    let stack = "org.springframework.web.util.NestedServletException: x
\tat org.springframework.web.servlet.FrameworkServlet.process(FrameworkServlet.java:1014)
Caused by: java.lang.IllegalStateException: y
\tat com.acme.Cart.add(Cart.java:7)
";
    assert_eq!(shown(stack), ["*com.acme.Cart.add Cart.java:7"]);
}

#[test]
fn dotnet() {
    let stack = "System.InvalidOperationException: outer
 ---> System.FormatException: inner
   at Acme.Cart.Parse[T](String text, Int32 n) in C:\\src\\Cart.cs:line 12
   --- End of inner exception stack trace ---
   at Acme.Cart.<AddAsync>d__3.MoveNext() in /src/Cart.cs:line 30
   at System.Runtime.CompilerServices.TaskAwaiter.ThrowForNonSuccess(Task task)
";
    assert_eq!(shown(stack), ["*Acme.Cart.AddAsync /src/Cart.cs:30", "System.Runtime.CompilerServices.TaskAwaiter.ThrowForNonSuccess :0"]);
}

#[test]
fn dotnet_root_cause_where_the_wrapper_is_only_framework() {
    let stack = "System.Reflection.TargetInvocationException: outer
 ---> Acme.CartException: middle
 ---> System.FormatException: inner
   at Acme.Cart.Parse[T](String text, Int32 n) in C:\\src\\Cart.cs:line 12
   --- End of inner exception stack trace ---
   at Acme.Cart.Add(String id)
   --- End of inner exception stack trace ---
   at System.RuntimeMethodHandle.InvokeMethod(Object target)
";
    assert_eq!(shown(stack), ["*Acme.Cart.Parse C:\\src\\Cart.cs:12"]);
}

#[test]
fn dotnet_exception_with_several_causes() {
    let stack = "System.AggregateException: One or more errors occurred. (a) (b)
 ---> System.FormatException: a
   at Acme.Cart.Parse(String text)
   --- End of inner exception stack trace ---
   at Acme.Cart.Add(String id)
 ---> (Inner Exception #1) System.FormatException: b
 ---> System.IO.IOException: c
   at Acme.Cart.Read(String text)
   --- End of inner exception stack trace ---
   at Acme.Cart.Price(String text)<---

   at Acme.Cart.Pay(String id)
";
    assert_eq!(shown(stack), ["*Acme.Cart.Add :0", "*Acme.Cart.Pay :0"]);
}

#[test]
fn node() {
    let stack = "TypeError: Cannot read properties of undefined (reading 'id')
    at Order.total (/app/src/order.js:14:23)
    at new Cart (file:///app/src/cart.mjs:3:9)
    at async Object.pay [as handler] (/app/src/pay.ts:88:5)
    at /app/src/server.js:9:1
    at Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)
    at Array.map (<anonymous>)
    at process.processTicksAndRejections (node:internal/process/task_queues:95:5) {
  [cause]: Error: socket hang up
      at connResetException (node:internal/errors:720:14)
}";
    assert_eq!(
        shown(stack),
        [
            "*Order.total /app/src/order.js:14",
            "*new Cart /app/src/cart.mjs:3",
            "*Object.pay /app/src/pay.ts:88",
            "*<anonymous> /app/src/server.js:9",
            "Layer.handle /app/node_modules/express/lib/router/layer.js:95",
            "Array.map <anonymous>:0",
            "process.processTicksAndRejections node:internal/process/task_queues:95",
        ]
    );
}

#[test]
fn firefox() {
    assert_eq!(
        shown("pay@https://shop.example/app.js:3:14\n@https://shop.example/app.js:9:1"),
        ["*pay https://shop.example/app.js:3", "*<anonymous> https://shop.example/app.js:9"]
    );
}

#[test]
fn go() {
    let stack = "goroutine 34 [running]:
runtime/debug.Stack()
\t/usr/local/go/src/runtime/debug/stack.go:24 +0x65
panic({0x6b2e40?, 0xc00011c018?})
\t/usr/local/go/src/runtime/panic.go:914 +0x21f
main.(*Shop).Pay(0xc000012345, {0x1, 0x2})
\t/src/shop/pay.go:42 +0x1d
github.com/acme/shop/cart.Add[...](...)
\t/src/shop/cart/cart.go:7
created by main.main in goroutine 1
\t/src/shop/main.go:12 +0x99

goroutine 1 [select]:
main.main()
\t/src/shop/main.go:15 +0x20
";
    assert_eq!(
        shown(stack),
        [
            "runtime/debug.Stack /usr/local/go/src/runtime/debug/stack.go:24",
            "panic /usr/local/go/src/runtime/panic.go:914",
            "*main.(*Shop).Pay /src/shop/pay.go:42",
            "*github.com/acme/shop/cart.Add[...] /src/shop/cart/cart.go:7",
            "*main.main /src/shop/main.go:12",
        ]
    );
}

#[test]
fn rust() {
    let stack = "   0: rust_begin_unwind
             at /rustc/90b35a6/library/std/src/panicking.rs:645:5
   1: core::panicking::panic_fmt
             at /rustc/90b35a6/library/core/src/panicking.rs:72:14
   2: 0x55d0c7 - shop::cart::add::h0123456789abcdef
             at ./src/cart.rs:17:9
   3: shop::main
   4: __libc_start_main
";
    assert_eq!(
        shown(stack),
        [
            "rust_begin_unwind /rustc/90b35a6/library/std/src/panicking.rs:645",
            "core::panicking::panic_fmt /rustc/90b35a6/library/core/src/panicking.rs:72",
            "*shop::cart::add::h0123456789abcdef ./src/cart.rs:17",
            "*shop::main :0",
            "__libc_start_main :0",
        ]
    );
}

#[test]
fn ruby() {
    let stack = "/app/models/order.rb:12:in `total': undefined method `price' for nil (NoMethodError)
\tfrom /app/controllers/orders.rb:30:in 'OrdersController#create'
\tfrom /usr/local/bundle/gems/rack-3.0.8/lib/rack/handler.rb:5:in `block in call'
";
    assert_eq!(
        shown(stack),
        [
            "*total /app/models/order.rb:12",
            "*OrdersController#create /app/controllers/orders.rb:30",
            "block in call /usr/local/bundle/gems/rack-3.0.8/lib/rack/handler.rb:5",
        ]
    );
}

#[test]
fn php() {
    let calls = "#0 /app/src/Cart.php(31): Shop\\Cart->price(Array)\n#1 [internal function]: Shop\\Cart->add()\n#2 /app/vendor/x/Kernel.php(9): run()\n#3 {main}";
    let around = ["Shop\\Cart::add /app/src/Cart.php:31", "run :0", "{main} /app/vendor/x/Kernel.php:9"];
    let expected = |first: &str| {
        let marked = format!("*{}", around[0]);
        vec![first.to_owned(), marked, around[1].to_owned(), around[2].to_owned()]
    };
    assert_eq!(shown(calls), expected("Shop\\Cart::price :0"));
    let whole = format!("Shop\\Full: two\nlines in all in /app/src/Price.php:7\nStack trace:\n{calls}");
    assert_eq!(shown(&whole), expected("*Shop\\Cart::price /app/src/Price.php:7"));
    let chain = format!(
        "PDOException: gone in /app/src/Db.php:3\nStack trace:\n#0 /app/src/Price.php(5): Shop\\Db->read()\n#1 {{main}}\n\nNext {whole}\n  thrown"
    );
    assert_eq!(shown(&chain), expected("*Shop\\Cart::price /app/src/Price.php:7"));
}

#[test]
fn php_code_in_texts() {
    let stack = "Error: no in /app/x.php(3) : eval()'d code:1\nStack trace:\n#0 /app/x.php(9) : eval()'d code(1): pay()\n#1 /app/x.php(12): eval()\n#2 {main}";
    assert_eq!(shown(stack), ["*pay /app/x.php:3", "*eval /app/x.php:9", "*{main} /app/x.php:12"]);
}

#[test]
fn php_as_opentelemetry_writes_it() {
    let stack = "Shop.Full: no
\tat Illuminate.Database.Connection.run(Connection.php:31)
\tat array_map(Unknown Source)
\tat Shop.Cart.{closure:Shop.Cart::total():20}(Cart.php:20)
\tat Shop.Cart.total(Cart.php:22)
\tat {main}(index.php:5)
Caused by: PDOException: gone
\tat PDO.__construct(Db.php:3)
\t... 4 more
";
    assert_eq!(
        shown(stack),
        [
            "Illuminate\\Database\\Connection::run Connection.php:31",
            "array_map :0",
            "*Shop\\Cart::{closure} Cart.php:20",
            "*Shop\\Cart::total Cart.php:22",
            "*{main} index.php:5",
        ]
    );
    assert_eq!(shown("Error: x\n    at pay (https://shop.example/index.php:3:14)"), ["*pay https://shop.example/index.php:3"]);
}

#[test]
fn what_is_no_stack_gives_no_frames() {
    for text in ["", "boom", "at", "File \"", "#x", "a@b", "1: ", "::::", "at (", "x:in "] {
        let frames = parse(text);
        assert!(frames.iter().all(|frame| !frame.function.is_empty() || !frame.file.is_empty()), "{text}: {frames:?}");
    }
    assert_eq!(parse("just a message\nover two lines"), []);
}

#[test]
fn recursion_is_bounded() {
    let deep = format!("Traceback (most recent call last):\n{}", "  File \"/a.py\", line 1, in f\n".repeat(1_000));
    assert_eq!(parse(&deep).len(), MAX_FRAMES);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(?s)(at |File \"|\", line |#1 |\\(|\\)|:|in |'|`|\n|\t|@|\\PC){0,60}") {
        parse(&text);
    }
}
