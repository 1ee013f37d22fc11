//! `GET /api/v2/alerts/groups`: alerts by route and group labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use model::access::{Permission, Principal};
use model::labels::Labels;
use serde::Serialize;

use super::config::DEFAULT;
use super::{Filter, GettableAlert, Name, Problem, firing};
use crate::router::Api;

/// `alertGroup`.
#[derive(Debug, Serialize)]
pub(super) struct AlertGroup {
    alerts: Vec<GettableAlert>,
    labels: Labels,
    receiver: Name,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Json<Vec<AlertGroup>>, Problem> {
    principal.require(Permission::Read)?;
    let filter = Filter::read(&query)?;
    let routing = api.shared.routing();
    // By labels, receiver and route, as Alertmanager sorts them.
    let mut groups: BTreeMap<(Labels, Name, String), Vec<GettableAlert>> = BTreeMap::new();
    for shown in firing(&api, &principal.tenant, api.shared.clock.now()).await?.into_iter().filter(|one| filter.lets(one)) {
        let routes = routing.routes(&shown.record);
        let mut places: Vec<(Labels, Name, String)> =
            routes.iter().map(|route| (route.group_labels(&shown.labels), Name { name: route.name.clone() }, route.id.clone())).collect();
        if places.is_empty() {
            let name = shown.record.escalation.clone().unwrap_or_else(|| DEFAULT.to_owned());
            places.push((shown.labels.clone(), Name { name }, String::new()));
        }
        for place in places.into_iter().filter(|(_, name, _)| filter.lets_receiver(&name.name)) {
            groups.entry(place).or_default().push(shown.alert.clone());
        }
    }
    let group = |((labels, receiver, _), alerts)| AlertGroup { alerts, labels, receiver };
    Ok(Json(groups.into_iter().map(group).collect()))
}
