//! Syslog as people send it: rsyslog and `logger` of Debian, Python's own handler; over UDP, over TCP in lines and with octet counting.
//! What is sent is stored, once, or its loss is counted, also while the store hangs.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use tests::process::{Watchfire, free_port};
use tests::python::skip;
use tests::wait::wait_for;

use crate::agents::{FAULTS, MESSAGES, REQUESTS, has, metric, python_client, rows, succeed, until};

fn syslog_config(port: u16) -> String {
    format!("collector:\n  syslog: {{ udp: \"127.0.0.1:{port}\", tcp: \"127.0.0.1:{port}\" }}\n")
}

/// An rsyslog, run by whoever runs the tests, that forwards what it is told on a socket of its own.
struct Rsyslog {
    child: Child,
    folder: tempfile::TempDir,
}

/// A forwarding action of rsyslog.
fn omfwd(port: u16, how: &str) -> String {
    format!("action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{port}\" {how})\n")
}

const COUNTED: &str = r#"protocol="tcp" TCP_Framing="octet-counted" template="RSYSLOG_SyslogProtocol23Format""#;
const LINES: &str = r#"protocol="tcp" TCP_Framing="traditional" template="RSYSLOG_ForwardFormat""#;
const DATAGRAMS: &str = r#"protocol="udp" template="RSYSLOG_TraditionalForwardFormat""#;

impl Rsyslog {
    const PROGRAM: &'static str = "/usr/sbin/rsyslogd";

    /// False, told, where rsyslog or logger is missing.
    fn can_run() -> bool {
        let can = Path::new(Self::PROGRAM).exists() && has("logger");
        if !can {
            skip("rsyslog and logger (apt install rsyslog bsdutils)");
        }
        can
    }
    fn start(actions: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().display();
        let config = format!(
            r#"
global(workDirectory="{at}")
module(load="imuxsock" SysSock.Use="off" SysSock.Name="{at}/unused")
input(type="imuxsock" Socket="{at}/in" CreatePath="on" UseSysTimeStamp="off" RateLimit.Interval="0")
{actions}"#
        );
        let (file, pid) = (folder.path().join("rsyslog.conf"), folder.path().join("pid"));
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(Self::PROGRAM);
        command.arg("-n").arg("-f").arg(file).arg("-i").arg(pid).env("TZ", "UTC");
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        Rsyslog { child, folder }
    }
    /// Hands it messages, a line each; returns while it is still being told them.
    async fn log(&self, arguments: &[&str], lines: &str) -> Child {
        let socket = self.folder.path().join("in");
        wait_for("rsyslog's socket", async || socket.exists().then_some(())).await;
        let input = self.folder.path().join("lines");
        std::fs::write(&input, lines).unwrap();
        Command::new("logger").env("TZ", "UTC").arg("--socket").arg(socket).args(arguments).arg("--file").arg(input).spawn().unwrap()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- rsyslog's log ---\n{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_forwards_over_both_transports() {
    if !Rsyslog::can_run() {
        return;
    }
    let port = free_port();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &syslog_config(port), &[]);
    world.start().await;
    let rsyslog = Rsyslog::start(&[COUNTED, LINES, DATAGRAMS].map(|how| omfwd(port, how)).concat());
    let lines: String = (0..200).map(|number| format!("order {number} failed\n")).collect();
    let mut logger = rsyslog.log(&["--tag", "checkout", "--id=4711", "--priority", "local3.err"], &lines).await;
    assert!(logger.wait().unwrap().success());
    // Twice over TCP; datagrams on loopback arrive, unless the kernel has no room, which is counted.
    until(&world, "SELECT count() FROM logs WHERE service = 'checkout' AND attributes['syslog.version'] = '1'", 200).await;
    until(&world, "SELECT uniqExact(body) FROM logs WHERE service = 'checkout' AND attributes['syslog.version'] = ''", 200).await;
    wait_for("600 records, or the loss of datagrams told", async || {
        let stored = world.count("SELECT count() FROM logs WHERE service = 'checkout'").await;
        let lost = metric(&world, FAULTS, &["transport=\"udp\""]).await;
        (stored + lost as u64 == 600).then_some(())
    })
    .await;
    assert_eq!(metric(&world, FAULTS, &["transport=\"tcp\""]).await, 0.0);
    let of = "FROM logs WHERE service = 'checkout' AND body = 'order 7 failed'";
    let found = rows(&world, &format!("SELECT DISTINCT severity_text, severity_number, attributes['syslog.facility'], attributes['syslog.procid'], resource['host.name'] != '' {of}")).await;
    assert_eq!(found, [["err", "17", "19", "4711", "1"]], "the same, whichever format and transport it came by");
    let late = world.count(&format!("SELECT count() {of} AND abs(dateDiff('second', ts, now())) > 600")).await;
    assert_eq!(late, 0, "times are those of the messages");
}

/// So many lines of text that does not compress well.
fn incompressible(lines: u64) -> String {
    let mut text = String::new();
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    for number in 0..lines {
        let _ = write!(text, "{number} ");
        for _ in 0..24 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let _ = write!(text, "{:016x}", state ^ (state >> 29));
        }
        text.push('\n');
    }
    text
}

/// Stops the engine without ending it: rows stay in the log until the supervisor starts another one.
fn hang_engine(world: &Watchfire) {
    let engine = Command::new("ps").args(["-o", "pid=", "--ppid", &world.pid().to_string()]).output().unwrap();
    let engine = String::from_utf8(engine.stdout).unwrap().split_whitespace().next().unwrap().to_owned();
    succeed(Command::new("kill").args(["-STOP", &engine]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rsyslog_waits_while_nothing_can_be_stored_and_loses_nothing() {
    if !Rsyslog::can_run() {
        return;
    }
    const LINES_SENT: u64 = 20_000;
    let port = free_port();
    // A log of 2 MiB takes far less than the 8 MB that are sent.
    let config = format!(
        "storage:\n  wal: {{ max_bytes: 2MiB }}\ncollector:\n  syslog: {{ tcp: \"127.0.0.1:{port}\", queue: 256KiB, max_message: 8KiB }}\n"
    );
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    hang_engine(&world);
    let rsyslog = Rsyslog::start(&omfwd(port, COUNTED));
    let mut logger = rsyslog.log(&["--tag", "flood"], &incompressible(LINES_SENT)).await;
    wait_for("the log to be full", async || (metric(&world, REQUESTS, &["syslog", "503"]).await > 0.0).then_some(())).await;
    assert!(metric(&world, MESSAGES, &["syslog"]).await < LINES_SENT as f64, "connections are not read while nothing can be stored");
    // The supervisor finds the engine, starts another, and the log drains.
    wait_for("rsyslog to be told all", async || logger.try_wait().unwrap()).await;
    until(&world, "SELECT uniqExact(body) FROM logs WHERE service = 'flood'", LINES_SENT).await;
    assert_eq!(world.count("SELECT count() FROM logs WHERE service = 'flood'").await, LINES_SENT, "none is stored twice");
    assert_eq!(metric(&world, FAULTS, &[]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn logger_sends_directly_and_a_stop_stores_what_was_read() {
    if !has("logger") {
        return skip("logger (apt install bsdutils)");
    }
    let port = free_port();
    let config = syslog_config(port).replace(" }", ", batch_linger: 1h }");
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    let address = port.to_string();
    for (transport, arguments) in [("--tcp", &["--octet-count"][..]), ("--tcp", &[]), ("--udp", &[])] {
        for format in ["--rfc5424=notq", "--rfc3164"] {
            let mut command = Command::new("logger");
            command
                .env("TZ", "UTC")
                .args(["--server", "127.0.0.1", "--port", &address, transport, format, "--tag", "direct"])
                .args(arguments);
            if format == "--rfc5424=notq" {
                command.args(["--msgid", "ID47", "--sd-id", "shop@32473", "--sd-param", "cart=\"7\\\"x\""]);
            }
            succeed(command.args(["--priority", "user.warning", "boom"]));
        }
    }
    wait_for("six messages to be read", async || (metric(&world, MESSAGES, &["syslog"]).await >= 6.0).then_some(())).await;
    assert_eq!(world.count("SELECT count() FROM logs").await, 0, "they wait for others");
    assert_eq!(world.stop().await, Some(0));
    world.start().await;
    until(&world, "SELECT count() FROM logs WHERE service = 'direct' AND body = 'boom' AND severity_number = 13", 6).await;
    let data = "SELECT count() FROM logs WHERE attributes['syslog.shop@32473.cart'] = '7\"x' AND attributes['syslog.msgid'] = 'ID47'";
    assert_eq!(world.count(data).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn pythons_own_syslog_handler_sends_over_both_transports() {
    let port = free_port();
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &syslog_config(port), &[]);
    world.start().await;
    if !python_client(&["syslog", "127.0.0.1", &port.to_string()]) {
        return;
    }
    until(&world, "SELECT count() FROM logs", 50).await;
    let found = "SELECT service, count(), uniqExact(body), any(body LIKE 'request % failed'), any(severity_text), any(attributes['syslog.facility']) FROM logs GROUP BY 1 ORDER BY 1";
    let of = |transport: &str| [&format!("python-{transport}"), "25", "25", "1", "warning", "16"].map(String::from);
    assert_eq!(rows(&world, found).await, [of("tcp"), of("udp")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_datagram_is_stored_or_its_loss_is_counted() {
    if !has("logger") {
        return skip("logger (apt install bsdutils)");
    }
    const SENT: u64 = 10_000;
    let port = free_port();
    let config = format!(
        "storage:\n  wal: {{ max_bytes: 2MiB }}\ncollector:\n  syslog: {{ udp: \"127.0.0.1:{port}\", queue: 256KiB, max_message: 8KiB }}\n"
    );
    let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[]);
    world.start().await;
    hang_engine(&world);
    let file = world.folder().join("lines");
    std::fs::write(&file, incompressible(SENT)).unwrap();
    let mut logger = Command::new("logger");
    logger.args(["--server", "127.0.0.1", "--port", &port.to_string(), "--udp", "--rfc5424=notq", "--tag", "flood", "--file"]).arg(&file);
    succeed(&mut logger);
    let lost =
        async || metric(&world, FAULTS, &["syslog", "queue_full"]).await + metric(&world, FAULTS, &["syslog", "kernel_dropped"]).await;
    wait_for("every datagram to be stored or counted", async || {
        let stored = world.count("SELECT count() FROM logs WHERE service = 'flood'").await;
        (stored as f64 + lost().await == SENT as f64).then_some(())
    })
    .await;
    assert!(lost().await > 0.0, "the queue is far smaller than what was sent");
    assert_eq!(metric(&world, FAULTS, &[]).await, lost().await, "nothing else went wrong");
    assert_eq!(world.count("SELECT count() - uniqExact(body) FROM logs WHERE service = 'flood'").await, 0);
}
