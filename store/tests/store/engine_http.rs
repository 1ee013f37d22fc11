//! The engine's listener as other clients see it: plain HTTP, with every detail of ClickHouse's interface that they lean on.

use std::io::{Read, Write};
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::{Digest, Sha256};
use store::clickhouse::connector::UnixConnector;
use store::engine::access::EngineUser;
use store::engine::child::TcpArgs;
use store::engine::encoding::Encoding;
use tokio::io::AsyncWriteExt;

use crate::fixture::TestEngine;

struct Reply {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
    whole: bool,
}

impl Reply {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

fn encoded(parameters: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish()
}

async fn send<C>(client: Client<C, Full<Bytes>>, request: Request<Full<Bytes>>) -> Reply
where
    C: hyper_util::client::legacy::connect::Connect + Clone + Send + Sync + 'static,
{
    let (parts, mut stream) = client.request(request).await.unwrap().into_parts();
    let (mut body, mut whole) = (Vec::new(), true);
    while let Some(frame) = stream.frame().await {
        match frame {
            Ok(frame) => body.extend(frame.into_data().unwrap_or_default()),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    Reply { status: parts.status.as_u16(), headers: parts.headers, body, whole }
}

async fn ask(engine: &TestEngine, method: Method, parameters: &[(&str, &str)], headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("http://engine/?{}", encoded(parameters)));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).build(UnixConnector::new(&engine.args.socket));
    send(client, request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await
}

async fn post(engine: &TestEngine, parameters: &[(&str, &str)], body: &[u8]) -> Reply {
    ask(engine, Method::POST, parameters, &[], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_of_the_interface_answers_as_clickhouse_does() {
    let engine = TestEngine::start().await;
    let reply = post(&engine, &[("default_format", "JSONCompact"), ("query_id", "mine")], b"SELECT 1 AS a").await;
    assert_eq!((reply.status, reply.header("X-ClickHouse-Query-Id"), reply.header("X-ClickHouse-Format")), (200, "mine", "JSONCompact"));
    let summary: serde_json::Value = serde_json::from_str(reply.header("X-ClickHouse-Summary")).unwrap();
    assert!(summary["read_rows"].as_str().unwrap().parse::<u64>().is_ok(), "{summary}");
    assert_eq!(post(&engine, &[("query", "SELECT 1")], b"+ 1 FORMAT CSV").await.text(), "2\n");
    assert_eq!(post(&engine, &[("query", "SELECT 1 FORMAT CSV")], b"").await.header("X-ClickHouse-Format"), "CSV");
    assert_eq!(post(&engine, &[("database", "system")], b"SELECT dummy FROM one").await.text(), "0\n");

    for (sql, status, code) in [
        ("SELECT * FROM no_such_table", 404, "60"),
        ("SELECT no_such_column", 404, "47"),
        ("SELECT FROM WHERE", 400, "62"),
        ("SELECT toDateTime('x')", 400, "41"),
        ("SELECT 1; SELECT 2", 400, "62"),
        (" ", 400, "62"),
        ("SELECT throwIf(1)", 500, "395"),
    ] {
        let reply = post(&engine, &[], sql.as_bytes()).await;
        assert_eq!((reply.status, reply.header("X-ClickHouse-Exception-Code")), (status, code), "{sql}: {}", reply.text());
        assert!(reply.text().starts_with(&format!("Code: {code}. DB::Exception: ")), "{}", reply.text());
    }
    let unknown = post(&engine, &[("no_such_setting", "1")], b"SELECT 1").await;
    assert_eq!((unknown.status, unknown.header("X-ClickHouse-Exception-Code")), (404, "115"));
    assert_eq!(post(&engine, &[("a;b", "1")], b"SELECT 1").await.status, 400);
    assert_eq!(post(&engine, &[("session_id", "s")], b"SET max_threads = 1").await.status, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn get_never_writes() {
    let engine = TestEngine::start().await;
    assert_eq!(post(&engine, &[], b"CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x").await.status, 200);
    let insert = ask(&engine, Method::GET, &[("query", "INSERT INTO t VALUES (1)")], &[], b"").await;
    assert_eq!((insert.status, insert.header("X-ClickHouse-Exception-Code")), (500, "164"), "{}", insert.text());
    let drop = ask(&engine, Method::GET, &[("query", "DROP TABLE t")], &[], b"").await;
    assert_eq!(drop.header("X-ClickHouse-Exception-Code"), "164");
    let count = ask(&engine, Method::GET, &[("query", "SELECT count() FROM t"), ("max_threads", "1")], &[], b"").await;
    assert_eq!(count.text(), "0\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_packed_and_unpacked_in_every_encoding() {
    let engine = TestEngine::start().await;
    post(&engine, &[], b"CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x").await;
    let data: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    for (name, encoding) in
        [("gzip", Encoding::Gzip), ("deflate", Encoding::Deflate), ("zstd", Encoding::Zstd), ("lz4", Encoding::Lz4), ("", Encoding::Blocks)]
    {
        let mut packed = Vec::new();
        let mut writer = encoding.writer(&mut packed).unwrap();
        writer.write_all(data.as_bytes()).unwrap();
        writer.finish().unwrap();
        post(&engine, &[], b"TRUNCATE TABLE t").await;
        let (header, parameter) =
            if name.is_empty() { ("X-None", ("decompress", "1")) } else { ("Content-Encoding", ("wait_end_of_query", "1")) };
        let sql = ("query", "INSERT INTO t FORMAT TSV");
        let stored = ask(&engine, Method::POST, &[sql, parameter], &[(header, name)], &packed).await;
        assert_eq!(stored.status, 200, "{name}: {}", stored.text());
        assert!(stored.header("X-ClickHouse-Summary").contains("\"written_rows\":\"100000\""));

        let (header, parameter) =
            if name.is_empty() { ("X-None", ("compress", "1")) } else { ("Accept-Encoding", ("wait_end_of_query", "0")) };
        let reply = ask(&engine, Method::POST, &[parameter], &[(header, name)], b"SELECT x FROM t ORDER BY x").await;
        assert_eq!(reply.header("Content-Encoding"), name);
        let mut plain = String::new();
        encoding.reader(reply.body.as_slice()).unwrap().read_to_string(&mut plain).unwrap();
        assert!(plain == data, "{name}");
    }
    let damaged = ask(&engine, Method::POST, &[("query", "INSERT INTO t FORMAT TSV")], &[("Content-Encoding", "gzip")], b"no gzip").await;
    assert_eq!(damaged.status, 400, "{}", damaged.text());
    let unknown = ask(&engine, Method::POST, &[], &[("Content-Encoding", "br")], b"SELECT 1").await;
    assert!(unknown.status == 400 && unknown.text().contains("`br` is not served"));
}

#[tokio::test(flavor = "multi_thread")]
async fn streamed_and_whole_answers_are_the_same_bytes() {
    let engine = TestEngine::start().await;
    for format in [
        "TSV",
        "TSVWithNames",
        "CSVWithNamesAndTypes",
        "JSONEachRow",
        "JSONCompactEachRowWithNames",
        "RowBinaryWithNamesAndTypes",
        "RowBinary",
    ] {
        let sql = "SELECT number AS \"a\nb\"\"c\", toString(number) AS s FROM numbers(200000)";
        // `extremes` keeps the engine from streaming; 0 adds nothing to the answer.
        let streamed = post(&engine, &[("default_format", format)], sql.as_bytes()).await;
        let whole = post(&engine, &[("default_format", format), ("extremes", "0")], sql.as_bytes()).await;
        assert!(streamed.status == 200 && streamed.body == whole.body, "{format}");
        let empty = post(&engine, &[("default_format", format)], b"SELECT 1 AS a WHERE 0").await;
        let whole = post(&engine, &[("default_format", format), ("extremes", "0")], b"SELECT 1 AS a WHERE 0").await;
        assert!(empty.status == 200 && empty.body == whole.body, "{format}: {:?}", empty.body);
    }
    let json = post(&engine, &[], b"SELECT number FROM numbers(200000) FORMAT JSON").await;
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&json.body).unwrap()["rows"], 200_000);
    let totals = post(&engine, &[], b"SELECT number % 2 AS a, count() FROM numbers(10) GROUP BY a WITH TOTALS ORDER BY a").await;
    assert_eq!(totals.text(), "0\t5\n1\t5\n\n0\t10\n");
    let large = post(&engine, &[], b"SELECT repeat(toString(number), 200) FROM numbers(1000000) FORMAT JSON").await;
    assert_eq!((large.status, large.header("X-ClickHouse-Exception-Code")), (500, "396"), "{}", large.text().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_failure_breaks_the_answer_off_or_is_all_of_it() {
    let engine = TestEngine::start().await;
    let sql = b"SELECT throwIf(number = 1500000) FROM numbers(2000000) SETTINGS max_threads = 1";
    let reply = post(&engine, &[], sql).await;
    let (tag, text) = (reply.header("X-ClickHouse-Exception-Tag").to_owned(), reply.text());
    assert!(reply.status == 200 && !reply.whole && tag.len() == 16);
    let end = &text[text.find("\r\n__exception__\r\n").unwrap()..];
    assert!(end.contains("Code: 395. DB::Exception") && end.ends_with(&format!(" {tag}\r\n__exception__\r\n")), "{end}");
    let reply = post(&engine, &[("wait_end_of_query", "1")], sql).await;
    assert_eq!((reply.status, reply.header("X-ClickHouse-Exception-Code"), reply.whole), (500, "395", true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_body_breaks_off_stores_nothing() {
    let engine = TestEngine::start().await;
    post(&engine, &[], b"CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x").await;
    let mut stream = tokio::net::UnixStream::connect(&engine.args.socket).await.unwrap();
    let head = "POST /?query=INSERT%20INTO%20t%20FORMAT%20TSV HTTP/1.1\r\nHost: e\r\nContent-Length: 1000000\r\n\r\n1\n2\n3\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let running = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT INTO t%'";
    super::engine::until("the insert to begin", async || engine.text(running).await == "1").await;
    drop(stream);
    super::engine::until("the insert to end", async || engine.text(running).await == "0").await;
    assert_eq!(engine.text("SELECT count() FROM t").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_insert_is_answered_although_its_body_still_comes() {
    let engine = TestEngine::start().await;
    let body = vec![b'1'; 20 << 20];
    let reply = post(&engine, &[("query", "INSERT INTO nowhere FORMAT TSV")], &body).await;
    assert_eq!((reply.status, reply.header("X-ClickHouse-Exception-Code")), (404, "60"));
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_carry_parameters() {
    let engine = TestEngine::start().await;
    let form = "--B\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\nit's\r\n--B--\r\n";
    let headers = [("Content-Type", "multipart/form-data; boundary=B")];
    let reply = ask(&engine, Method::POST, &[("query", "SELECT {x:String}")], &headers, form.as_bytes()).await;
    assert_eq!(reply.text(), "it\\'s\n");
    let file = form.replace("name=\"param_x\"", "name=\"t\"; filename=\"t.csv\"");
    let reply = ask(&engine, Method::POST, &[("query", "SELECT 1")], &headers, file.as_bytes()).await;
    assert!(reply.status == 400 && reply.text().contains("external tables are not served"), "{}", reply.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_statements_than_the_engine_runs_wait_and_the_engine_stays_alive() {
    let engine = Arc::new(TestEngine::start().await);
    let long = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000) SETTINGS max_threads = 1 FORMAT Null";
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let client = engine.clickhouse.clone();
            tokio::spawn(async move { client.execute(long).await })
        })
        .collect();
    let http = store::clickhouse::connector::UnixHttp::new(&engine.args.socket);
    let client = engine.clickhouse.clone();
    let waiting = tokio::spawn(async move { client.execute("SELECT 1").await });
    // All places are taken, and still the engine says that it is alive.
    http.get("/alive").await.unwrap();
    http.get("/ping").await.unwrap();
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    waiting.await.unwrap().unwrap();
    assert_eq!(engine.supervisor.status().restarts, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_read_what_the_guard_allows() {
    let engine = TestEngine::start_with(|folder, args| {
        let user = EngineUser {
            name: "grafana".to_owned(),
            key_sha256: hex::encode(Sha256::digest("key")),
            database: "default".to_owned(),
            settings: [("additional_table_filters".to_owned(), "{'default.pairs': 'id < 3'}".to_owned())].into(),
        };
        let users_file = folder.join("users.json");
        std::fs::write(&users_file, serde_json::to_vec(&[user]).unwrap()).unwrap();
        args.tcp = Some(TcpArgs { address: ([127, 0, 0, 1], 0).into(), users_file });
    })
    .await;
    engine.clickhouse.execute("CREATE TABLE pairs (id UInt64) ENGINE = MergeTree ORDER BY id").await.unwrap();
    engine.clickhouse.execute("INSERT INTO pairs SELECT number FROM numbers(10)").await.unwrap();
    let address = engine.supervisor.status().tcp.unwrap();
    let visit = async |key: Option<&str>, parameters: &[(&str, &str)], sql: &str| {
        let mut request = Request::builder().method(Method::POST).uri(format!("http://{address}/?{}", encoded(parameters)));
        if let Some(key) = key {
            let credentials = base64::engine::general_purpose::STANDARD.encode(format!("grafana:{key}"));
            request = request.header("Authorization", format!("Basic {credentials}"));
        }
        let client = Client::builder(TokioExecutor::new()).build(HttpConnector::new());
        let reply = send(client, request.body(Full::new(Bytes::from(sql.to_owned()))).unwrap()).await;
        (reply.status, reply.header("X-ClickHouse-Exception-Code").to_owned(), reply.text())
    };
    let count = "SELECT count() FROM pairs";
    assert_eq!(visit(None, &[], count).await.0, 401);
    assert_eq!(visit(Some("other"), &[], count).await.0, 403);
    assert_eq!(visit(Some("key"), &[], count).await, (200, String::new(), "3\n".to_owned()));
    assert_eq!(visit(Some("key"), &[("max_execution_time", "5")], count).await.0, 200);
    for (parameters, sql, code) in [
        (&[("additional_table_filters", "{}")][..], count, "164"),
        (&[], "SELECT count() FROM pairs SETTINGS additional_table_filters = {}", "164"),
        (&[], "INSERT INTO pairs VALUES (1)", "164"),
        (&[], "DROP TABLE pairs", "164"),
        (&[], "SELECT * FROM system.settings", "497"),
        (&[("database", "system")], "SELECT 1 FROM pairs", "497"),
        (&[], "SELECT 1 FROM pairs; SELECT 2 FROM pairs", "62"),
    ] {
        assert_eq!(visit(Some("key"), parameters, sql).await.1, code, "{sql}");
    }
    assert_eq!(engine.text(count).await, "10", "the Unix socket is not theirs");
}
