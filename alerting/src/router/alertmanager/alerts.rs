//! `GET /api/v2/alerts`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use model::access::{Permission, Principal};

use super::{Filter, GettableAlert, Problem, firing};
use crate::router::Api;

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Vec<GettableAlert>>, Problem> {
    principal.require(Permission::Read)?;
    let filter = Filter::read(&query)?;
    let shown = firing(&api, &principal.tenant, api.shared.clock.now()).await?;
    let fits = |one: &super::Shown| filter.lets(one) && one.alert.receivers.iter().any(|receiver| filter.lets_receiver(&receiver.name));
    Ok(Json(shown.into_iter().filter(fits).map(|one| one.alert).collect()))
}
