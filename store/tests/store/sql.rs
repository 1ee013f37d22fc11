//! SQL of tenants on the real engine: they see their own rows and nothing else, through every table and view, and the lists that the
//! check relies on are the engine's.

use std::time::Duration;

use model::query::{QueryError, SqlQuery};
use model::tenant::TenantId;
use store::sql::{BASE_TABLES, GuardedSql, INTERNAL, MAX_RESULT_ROWS, TABLES, allowed_functions, check};

use crate::fixture::TestEngine;

const LONG: Duration = Duration::from_secs(20);

async fn two_tenants() -> (TestEngine, GuardedSql) {
    let engine = TestEngine::with_schema().await;
    for tenant in ["ours", "theirs"] {
        let rows = [
            format!(
                "spans (tenant, ts, trace_id, span_id, service, name, kind, duration, status, retention_days) SELECT '{tenant}', \
                 now64(9), unhex(repeat('0a', 16)), unhex('0102030405060708'), '{tenant}', 'GET /', 'SERVER', 1000, 'OK', 30"
            ),
            format!(
                "logs (tenant, ts, service, body, retention_days) SELECT '{tenant}', now64(9), 'shop', 'word of {tenant}', 30 FROM numbers(3)"
            ),
            format!(
                "series (tenant, metric, fingerprint, kind, labels, first_seen, last_seen) SELECT '{tenant}', 'm' || toString(number), number, \
                 ['gauge', 'sum', 'histogram', 'exp_histogram', 'summary'][number + 1], map('of', '{tenant}'), now64(3), now64(3) FROM numbers(5)"
            ),
            format!(
                "points (tenant, metric, fingerprint, ts, value, retention_days) SELECT '{tenant}', 'm' || toString(number), number, now64(3), 1, 30 FROM numbers(2)"
            ),
            format!("histograms (tenant, metric, fingerprint, ts, count, retention_days) SELECT '{tenant}', 'm2', 2, now64(3), 1, 30"),
            format!("exp_histograms (tenant, metric, fingerprint, ts, count, retention_days) SELECT '{tenant}', 'm3', 3, now64(3), 1, 30"),
            format!("summaries (tenant, metric, fingerprint, ts, count, retention_days) SELECT '{tenant}', 'm4', 4, now64(3), 1, 30"),
            format!("exemplars (tenant, metric, fingerprint, ts, value, retention_days) SELECT '{tenant}', 'm1', 1, now64(3), 1, 30"),
            format!(
                "patterns (tenant, service, pattern_id, last_ts, count, template, retention_days) SELECT '{tenant}', 'shop', 1, now64(9), 1, 'word of <*>', 30"
            ),
            format!(
                "error_events (tenant, project, fingerprint, ts, event_id, type, retention_days) SELECT '{tenant}', 'shop', 7, now64(9), generateUUIDv4(), '{tenant}', 30"
            ),
        ];
        for row in rows {
            engine.clickhouse.execute(&format!("INSERT INTO {row}")).await.unwrap();
        }
    }
    // One part for both: what decides is the condition, not which part is read.
    for table in ["logs", "spans"] {
        engine.clickhouse.execute(&format!("OPTIMIZE TABLE {table} FINAL")).await.unwrap();
    }
    let sql = GuardedSql::new(engine.clickhouse.client(), "watchfire");
    (engine, sql)
}

async fn ask(sql: &GuardedSql, statement: &str) -> Result<String, QueryError> {
    let tenant = TenantId::new("ours").unwrap();
    let answer = sql.sql(&tenant, statement, "TSV", LONG).await?;
    Ok(String::from_utf8(answer.body.to_vec()).unwrap().trim_end().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_sees_its_own_rows_and_nothing_else() {
    let (_engine, sql) = two_tenants().await;
    for table in TABLES {
        let seen = ask(&sql, &format!("SELECT DISTINCT tenant FROM {table}")).await.unwrap();
        assert_eq!(seen, "ours", "{table}");
        assert_eq!(ask(&sql, &format!("SELECT count() FROM watchfire.{table} WHERE tenant = 'theirs'")).await.unwrap(), "0", "{table}");
    }
    let expected = [
        ("SELECT count() FROM logs", "3"),
        ("SELECT groupUniqArray(s.tenant), groupUniqArray(l.tenant) FROM spans AS s, logs AS l", "['ours']\t['ours']"),
        ("SELECT (SELECT groupUniqArray(tenant) FROM logs), 'theirs' IN (SELECT tenant FROM spans)", "['ours']\t0"),
        ("WITH l AS (SELECT * FROM logs) SELECT DISTINCT x.tenant FROM l AS x JOIN l AS y ON x.ts = y.ts", "ours"),
        ("SELECT DISTINCT tenant FROM series FINAL UNION ALL SELECT DISTINCT Attributes['of'] FROM otel_metrics_sum", "ours\nours"),
        ("SELECT 'a?b', '??', 1 ? 'yes' : 'no' -- ?fields", "a?b\t??\tyes"),
        ("SELECT 'it''s' AS x, max(tenant) FROM error_events GROUP BY x;", "it\\'s\tours"),
    ];
    for (statement, wanted) in expected {
        assert_eq!(ask(&sql, statement).await.unwrap(), wanted, "{statement}");
    }
}

/// No error, and no absence of one, tells what another tenant's rows hold: nothing is computed on them. (`intDiv` by zero throws; the
/// check refuses `throwIf` itself.)
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_computed_on_the_rows_of_others() {
    let (_engine, sql) = two_tenants().await;
    let trap = |body: &str| format!("intDiv(1, toUInt8({body} NOT LIKE '%theirs%')) = 1");
    let (trap, r, view) = (trap("body"), trap("r.body"), trap("Body"));
    let number = "toInt64(if(tenant = 'theirs', body, '1')) = 1";
    let statements = [
        format!("SELECT count() FROM logs WHERE {trap}"),
        format!("SELECT count() FROM logs WHERE {number}"),
        format!("SELECT count() FROM logs WHERE service = 'shop' AND {trap} AND tenant != ''"),
        format!("SELECT count() FROM logs WHERE {trap} AND service = 'shop' AND ts > now() - INTERVAL 1 DAY"),
        format!("SELECT count() FROM logs WHERE tenant = 'theirs' OR {trap}"),
        format!("SELECT count() FROM otel_logs WHERE {view}"),
        format!("SELECT count() FROM (SELECT * FROM logs) WHERE {trap}"),
        format!("SELECT count() FROM (SELECT * FROM logs ORDER BY ts) WHERE {trap}"),
        format!("SELECT count() FROM logs AS l JOIN logs AS r ON l.service = r.service AND {r}"),
        format!("SELECT count() FROM logs AS l LEFT JOIN logs AS r ON l.service = r.service WHERE {r}"),
        "SELECT count() FROM logs AS l SEMI JOIN logs AS r ON l.service = r.service AND intDiv(1, toUInt8(l.body NOT LIKE '%theirs%')) = r.severity_number + 1".to_owned(),
        format!("SELECT count() FROM logs ARRAY JOIN [{trap}] AS z WHERE z = 1"),
        format!("SELECT countIf({trap}) FROM logs"),
        format!("SELECT DISTINCT {trap} FROM logs ORDER BY {trap}"),
        format!("SELECT body FROM logs WHERE {trap} ORDER BY ts DESC LIMIT 1"),
        format!("SELECT count() FROM logs WHERE service IN (SELECT service FROM logs WHERE {trap})"),
        format!("SELECT count() FROM logs GROUP BY {trap} HAVING min({trap}) = 1"),
        format!("SELECT 1 FROM logs QUALIFY row_number() OVER (ORDER BY {trap}) = 1"),
        "SELECT count() FROM series FINAL WHERE intDiv(1, toUInt8(labels['of'] != 'theirs')) = 1".to_owned(),
        "SELECT count() FROM otel_metrics_gauge WHERE intDiv(1, toUInt8(Attributes['of'] != 'theirs')) = 1".to_owned(),
        "SELECT count() FROM spans WHERE intDiv(1, toUInt8(service != 'theirs')) = 1".to_owned(),
        "SELECT count() FROM spans WHERE toUInt8(toString(service) = 'theirs' ? service : '1') = 1".to_owned(),
    ];
    for statement in statements {
        let seen = ask(&sql, &statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(!seen.contains("theirs") && seen != "0" && !seen.is_empty(), "{statement}: {seen}");
    }
    // The trap does close on rows that are seen.
    let closed = ask(&sql, "SELECT count() FROM logs WHERE intDiv(1, toUInt8(body NOT LIKE '%ours%')) = 1").await;
    assert!(matches!(closed, Err(QueryError::Execution(_))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_formats_and_errors() {
    let (engine, sql) = two_tenants().await;
    let tenant = TenantId::new("ours").unwrap();
    let slow = "SELECT sum(cityHash64(number)) FROM numbers(100000000000)";
    let timed_out = sql.sql(&tenant, slow, "TSV", Duration::from_millis(300)).await;
    assert!(matches!(timed_out, Err(QueryError::Timeout(_))), "{timed_out:?}");
    let many = ask(&sql, &format!("SELECT number FROM numbers({})", MAX_RESULT_ROWS + 1)).await;
    assert!(matches!(&many, Err(QueryError::Execution(why)) if why.contains("Code: 396")), "{many:?}");
    assert_eq!(ask(&sql, &format!("SELECT count() FROM (SELECT number FROM numbers({}))", MAX_RESULT_ROWS + 1)).await.unwrap(), "100001");
    let huge = ask(&sql, "SELECT length(groupArray(number)) FROM numbers(1000000000)").await;
    assert!(matches!(&huge, Err(QueryError::Execution(why)) if why.contains("Code: 241")), "{huge:?}");
    for wrong in
        ["SELECT nothing FROM logs", "SELECT 1 +", "SELECT toInt64('x')", "SELECT count() FROM sapns", "SELECT file('/etc/passwd')"]
    {
        let refused = ask(&sql, wrong).await;
        assert!(matches!(refused, Err(QueryError::BadData(_))), "{wrong}: {refused:?}");
    }
    let json = sql.sql(&tenant, "SELECT tenant FROM logs LIMIT 1", "JSON", LONG).await.unwrap();
    assert!(json.content_type.starts_with("application/json"));
    let data: serde_json::Value = serde_json::from_slice(&json.body).unwrap();
    assert_eq!(data["data"][0]["tenant"], "ours");
    let odd = sql.sql(&tenant, "SELECT 1", "Template", LONG).await;
    assert!(matches!(&odd, Err(QueryError::BadData(why)) if why.contains("JSONEachRow")), "{odd:?}");
    engine.supervisor.stop().await;
    let gone = sql.sql(&tenant, "SELECT 1", "TSV", LONG).await;
    assert!(matches!(gone, Err(QueryError::Unavailable(_))), "{gone:?}");
}

/// What the check knows by name is compared with what the engine has: a new version of it fails here first.
#[tokio::test(flavor = "multi_thread")]
async fn the_lists_are_the_engines() {
    let engine = TestEngine::with_schema().await;
    let tables = engine.text("SELECT name FROM system.tables WHERE database = 'watchfire' ORDER BY name").await;
    let mut known: Vec<&str> = TABLES.iter().chain(&INTERNAL).copied().collect();
    known.sort_unstable();
    assert_eq!(tables.lines().collect::<Vec<_>>(), known, "every table may be read or is internal");
    let plain = engine.text("SELECT name FROM system.tables WHERE database = 'watchfire' AND engine NOT LIKE '%View' ORDER BY name").await;
    let mut base: Vec<&str> = BASE_TABLES.iter().copied().chain(["schema_migrations"]).collect();
    base.sort_unstable();
    assert_eq!(plain.lines().collect::<Vec<_>>(), base, "every table that holds rows has the tenant's condition");

    let functions = engine.text("SELECT DISTINCT lower(name) FROM system.functions").await;
    let functions: std::collections::HashSet<&str> = functions.lines().collect();
    let types = engine.text("SELECT lower(name) FROM system.data_type_families").await;
    let types: std::collections::HashSet<&str> = types.lines().collect();
    let parsed = [
        "cast",
        "extract",
        "trim",
        "date_add",
        "date_sub",
        "dateadd",
        "datesub",
        "timestampadd",
        "timestampsub",
        "timestamp_add",
        "timestamp_sub",
    ];
    let odd: Vec<&str> =
        allowed_functions().filter(|name| !functions.contains(name) && !types.contains(name) && !parsed.contains(name)).collect();
    assert!(odd.is_empty(), "not functions of this engine: {odd:?}");

    let refused_kinds = "('Dictionary', 'AI', 'Introspection', 'Internal', 'Machine Learning', 'Embedded Dictionary', 'Encryption')";
    let dangerous = engine.text(&format!("SELECT name FROM system.functions WHERE categories IN {refused_kinds}")).await;
    assert!(dangerous.lines().count() > 50, "{dangerous}");
    for name in dangerous.lines().filter(|name| *name != "caseWithExpression") {
        assert!(check(&format!("SELECT {name}(1)"), "watchfire").is_err(), "{name}");
    }
    let table_functions = engine.text("SELECT name FROM system.table_functions").await;
    assert!(table_functions.lines().count() > 50);
    let makers = ["numbers", "numbers_mt", "generateSeries", "generate_series"];
    for name in table_functions.lines().filter(|name| !makers.contains(name)) {
        for statement in [
            format!("SELECT * FROM {name}('a', 'b')"),
            format!("SELECT * FROM logs, {name}()"),
            format!("SELECT * FROM logs JOIN {name}(1) ON 1"),
        ] {
            assert!(check(&statement, "watchfire").is_err(), "{statement}");
        }
        // A function of the same name computes; it reads nothing.
        assert!(name == "format" || check(&format!("SELECT 1 IN {name}('a')"), "watchfire").is_err(), "{name}");
    }
    // Words that end the list of tables here are no aliases there.
    for word in ["where", "group", "order", "having", "qualify", "limit", "union", "intersect", "except", "array"] {
        let said = engine.clickhouse.execute(&format!("SELECT 1 FROM logs {word}, spans FORMAT Null")).await.unwrap_err();
        assert_eq!(said.code, Some(62), "{word}: {said}");
    }
}
