//! `series`, `labels`, `label/<name>/values`, `metadata`.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::response::Response;
use model::access::{Permission, Principal};
use serde_json::{Map, json};

use crate::Sources;
use crate::answer::{ApiError, labels_json, limited, success};
use crate::parameters::Parameters;

pub(super) async fn series(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    if range.selectors.is_empty() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let found = sources.catalog.series(&principal.tenant, &range).await.map_err(ApiError::of_parameter("match[]"))?;
    Ok(limited(found.iter().map(labels_json).collect(), range.limit - 1))
}

pub(super) async fn labels(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    let found = sources.catalog.label_names(&principal.tenant, &range).await.map_err(ApiError::of_parameter("match[]"))?;
    Ok(limited(found, range.limit - 1))
}

pub(super) async fn label_values(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let range = parameters.series_range(sources.clock.now())?;
    let name = unescaped(&name);
    let found = sources.catalog.label_values(&principal.tenant, &name, &range).await.map_err(ApiError::of_parameter("match[]"))?;
    Ok(limited(found, range.limit - 1))
}

/// A label name in a path may be escaped: `U__` before it, `__` for `_`, `_2e_` for the character with that number. A text that is no
/// such form is the name itself.
fn unescaped(name: &str) -> String {
    let parse = |escaped: &str| -> Option<String> {
        let (mut out, mut rest) = (String::new(), escaped);
        while let Some(at) = rest.find('_') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('_') {
                out.push('_');
                rest = after;
                continue;
            }
            let (digits, after) = rest.split_once('_')?;
            out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
            rest = after;
        }
        out.push_str(rest);
        Some(out)
    };
    name.strip_prefix("U__").and_then(parse).unwrap_or_else(|| name.to_owned())
}

pub(super) async fn metadata(
    State(sources): State<Arc<Sources>>,
    Extension(principal): Extension<Principal>,
    parameters: Parameters,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let limit = parameters.limit()?.unwrap_or(usize::MAX);
    let wanted = parameters.get("metric");
    let mut metrics = Map::new();
    for one in sources.catalog.metadata(&principal.tenant, if wanted.is_some() { crate::parameters::MOST } else { limit }).await? {
        let entry = json!([{"type": one.kind, "help": one.help, "unit": one.unit}]);
        if wanted.is_none_or(|wanted| wanted == one.metric) {
            metrics.insert(one.metric, entry);
        }
    }
    Ok(success(metrics.into()))
}

#[cfg(test)]
mod tests {
    use super::unescaped;

    #[test]
    fn escaped_names_are_read() {
        for (given, name) in
            [("job", "job"), ("U__service_2e_name", "service.name"), ("U__a__b", "a_b"), ("U__a_zz_", "U__a_zz_"), ("U__", "")]
        {
            assert_eq!(unescaped(given), name);
        }
    }
}
