//! Fills in the templates of actions. In: a template and the facts of a run. Out: a URL, a body, arguments in which every value is
//! escaped for the place where it stands: labels come from whoever can send telemetry. Fails with one sentence, before anything is done.

use std::collections::BTreeMap;

use handlebars::Handlebars;
use model::labels::Labels;
use serde::{Deserialize, Serialize};
use url::Url;

/// What templates may speak of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// The alert's labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
    /// `alert.id`, `alert.name`, `alert.severity`, `alert.value`.
    pub alert: BTreeMap<String, String>,
    /// `incident.id`, `incident.number`; empty where there is none.
    pub incident: BTreeMap<String, String>,
    /// The run's id.
    pub run: String,
}

/// A template that cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A value is missing, or the syntax is wrong.
    #[error("the template `{template}` cannot be filled in: {problem}")]
    Render {
        /// Which.
        template: String,
        /// Why.
        problem: String,
    },
    /// The address is none.
    #[error("the url template `{template}` does not give an address: {problem}")]
    Url {
        /// Which.
        template: String,
        /// Why.
        problem: String,
    },
    /// A value would be read as an option.
    #[error("argument `{template}` becomes an option by its value: put a fixed word or `--` before it")]
    Option {
        /// Which.
        template: String,
    },
    /// A value that no argument can hold.
    #[error("argument `{template}` holds a NUL byte")]
    Nul {
        /// Which.
        template: String,
    },
}

/// How values are escaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// As they are.
    Nothing,
    /// `%20`: everything but unreserved characters (RFC 3986).
    Percent,
    /// Inside a JSON text.
    Json,
}

/// What is wrong with a template's syntax, in one sentence.
pub fn problem(template: &str) -> Option<String> {
    if template.contains("{{{") || template.contains("{{&") {
        return Some(format!("`{template}`: three braces and & take the escaping away: write {{{{...}}}}"));
    }
    handlebars::Template::compile(template).err().map(|error| format!("`{template}` is not a Handlebars template: {error}"))
}

/// Fills in a text.
pub fn text(template: &str, facts: &Facts, escape: Escape) -> Result<String, TemplateError> {
    let fail = |problem: String| TemplateError::Render { template: template.to_owned(), problem };
    if let Some(problem) = problem(template) {
        return Err(fail(problem));
    }
    let mut registry = Handlebars::new();
    registry.set_strict_mode(true);
    registry.register_escape_fn(match escape {
        Escape::Nothing => |value: &str| value.to_owned(),
        Escape::Percent => percent,
        Escape::Json => json,
    });
    registry.render_template(template, facts).map_err(|error| fail(error.to_string()))
}

/// Fills in an address: in the host and port only what belongs there is let through, everywhere else values are percent-encoded.
pub fn address(template: &str, facts: &Facts) -> Result<Url, TemplateError> {
    let fail = |problem: String| TemplateError::Url { template: template.to_owned(), problem };
    let (scheme, rest) = template.split_once("://").ok_or_else(|| fail("it has no http:// or https://".to_owned()))?;
    let (authority, rest) = rest.split_at(authority_end(rest));
    let filled = text(authority, facts, Escape::Nothing)?;
    if authority.contains("{{") && !filled.chars().all(|c| c.is_ascii_alphanumeric() || ".-:[]_".contains(c)) {
        return Err(fail(format!("`{}` is no host", filled.escape_default())));
    }
    let rest = text(rest, facts, Escape::Percent)?;
    let url = Url::parse(&format!("{scheme}://{filled}{rest}")).map_err(|error| fail(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(fail(format!("`{other}` is not http or https"))),
    }
}

/// Where the path begins: the first `/`, `?` or `#` outside of braces.
fn authority_end(rest: &str) -> usize {
    let mut depth = 0usize;
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '/' | '?' | '#' if depth == 0 => return at,
            _ => {} // part of the host or of a template
        }
    }
    rest.len()
}

/// Fills in one argument. A value can never turn it into an option.
pub fn argument(template: &str, facts: &Facts) -> Result<String, TemplateError> {
    let filled = text(template, facts, Escape::Nothing)?;
    if filled.contains('\0') {
        return Err(TemplateError::Nul { template: template.to_owned() });
    }
    if filled.starts_with('-') && !template.starts_with('-') {
        return Err(TemplateError::Option { template: template.to_owned() });
    }
    Ok(filled)
}

fn percent(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    // A segment of dots alone would climb out of its folder.
    if out.chars().all(|c| c == '.') { out.replace('.', "%2E") } else { out }
}

fn json(value: &str) -> String {
    let quoted = serde_json::Value::from(value).to_string();
    quoted[1..quoted.len() - 1].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(service: &str) -> Facts {
        Facts {
            labels: [("service", service), ("instance", "10.0.0.1:8080")].into_iter().collect(),
            annotations: BTreeMap::new(),
            alert: [("name".to_owned(), "A".to_owned())].into_iter().collect(),
            incident: BTreeMap::new(),
            run: "rem_1".into(),
        }
    }

    #[test]
    fn values_are_escaped_for_their_place() {
        let evil = facts("a/../b?x=\"1\"&y#z");
        let url = address("http://{{labels.instance}}/services/{{labels.service}}/scale?by=1&of={{labels.service}}", &evil).unwrap();
        assert_eq!((url.host_str(), url.port(), url.fragment()), (Some("10.0.0.1"), Some(8080), None));
        assert_eq!(url.path(), "/services/a%2F..%2Fb%3Fx%3D%221%22%26y%23z/scale");
        assert_eq!(url.query_pairs().count(), 2);
        let body = text(r#"{"service":"{{labels.service}}"}"#, &evil, Escape::Json).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&body).unwrap()["service"], "a/../b?x=\"1\"&y#z");
        assert_eq!(argument("{{labels.service}}", &evil).unwrap(), "a/../b?x=\"1\"&y#z");
    }

    #[test]
    fn what_must_not_happen_is_an_error() {
        assert!(matches!(address("http://{{labels.service}}/x", &facts("evil.example/?a=")), Err(TemplateError::Url { .. })));
        assert!(matches!(address("http://{{labels.service}}/x", &facts("user@evil.example")), Err(TemplateError::Url { .. })));
        assert!(matches!(argument("{{labels.service}}", &facts("--delete-all")), Err(TemplateError::Option { .. })));
        assert!(argument("--name={{labels.service}}", &facts("--x")).is_ok());
        assert!(matches!(argument("{{labels.service}}", &facts("a\0b")), Err(TemplateError::Nul { .. })));
        let missing = text("{{labels.zone}}", &facts("a"), Escape::Nothing).unwrap_err();
        assert!(missing.to_string().contains("labels.zone"), "{missing}");
        assert!(matches!(text("{{{labels.service}}}", &facts("a"), Escape::Json), Err(TemplateError::Render { .. })));
        assert_eq!(address("http://h/{{labels.service}}/x", &facts("..")).map(|url| url.path().to_owned()).unwrap(), "/x");
    }
}
