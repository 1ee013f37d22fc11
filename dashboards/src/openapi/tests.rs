//! The document is whole: every reference leads somewhere, every operation says what it needs and how it fails.

use serde_json::Value;

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_document_is_whole() {
    let document: Value = serde_json::from_str(&super::document().unwrap()).unwrap();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50, "{}", found.len());
    for reference in found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference} leads nowhere");
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["summary"].is_string() && operation["tags"][0].is_string(), "{method} {path}");
            assert!(
                path == "/api/openapi.json" || operation["responses"]["403"].is_object(),
                "{method} {path} does not say that it may be forbidden"
            );
            assert!(path == "/api/openapi.json" || operation["description"].as_str().unwrap().contains("Needs `"), "{method} {path}");
        }
    }
}

/// Paths in a source file: `.route("/api/watchfire/v1/...", ...)`.
fn routes(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            routes(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap_or("");
            found.extend(code.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_route_of_watchfires_own_api_is_in_the_document() {
    let document: Value = serde_json::from_str(&super::document().unwrap()).unwrap();
    let (root, mut found) = (std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(".."), std::collections::BTreeSet::new());
    for package in ["alerting", "collector", "dashboards", "incidents", "remediation", "server"] {
        routes(&root.join(package).join("src"), &mut found);
    }
    // Intake has documents of its own formats.
    let ours: Vec<&String> =
        found.iter().filter(|path| path.starts_with("/api/watchfire/v1/") && *path != "/api/watchfire/v1/logs").collect();
    assert!(ours.len() > 25, "{ours:?}");
    for path in ours {
        assert!(document["paths"].get(path).is_some(), "{path} is not in the document: describe it in dashboards/src/openapi/");
    }
}
