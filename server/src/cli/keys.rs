//! `watchfire keys`: works on the state store itself, so that the first key can be made before anything listens.

use std::process::ExitCode;

use anyhow::bail;
use model::event::Actor;
use model::ids::{KeyId, RandomIds};
use model::tenant::TenantId;
use serde_json::json;

use super::{Common, KeysCommand, serve, table};
use crate::access::keys::{NewKey, create, list, revoke};
use crate::pipeline::open_state;

/// Runs one of the key commands.
pub async fn run(common: &Common, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let config = serve::read_config(common)?;
    let state = open_state(&config, &serve::data_dir(common, &config)?, "command line").await?;
    let actor = Actor::User { id: "local".to_owned() };
    match command {
        KeysCommand::Create { name, tenant, permissions } => {
            let new = NewKey { tenant: TenantId::new(&tenant)?, name, permissions, text: None };
            let (key, text) = create(&*state, &RandomIds, actor, new).await?;
            if common.json {
                println!("{}", json!({"id": key.id, "key": text, "tenant": key.tenant, "permissions": key.permissions}));
            } else {
                println!("{text}");
                eprintln!("This is {} ({}). It is shown only now. From now on every request needs a key.", key.id, key.name);
            }
        }
        KeysCommand::List => {
            let keys = list(&*state).await?;
            if common.json {
                let rows: Vec<_> = keys
                    .iter()
                    .map(|key| {
                        json!({"id": key.id, "name": key.name, "tenant": key.tenant, "permissions": key.permissions,
                               "created_at": key.created_at, "revoked_at": key.revoked_at})
                    })
                    .collect();
                println!("{}", json!(rows));
            } else {
                let rows = keys
                    .into_iter()
                    .map(|key| {
                        let permissions: Vec<String> = key.permissions.iter().map(ToString::to_string).collect();
                        let state = key.revoked_at.map_or("live".to_owned(), |at| format!("revoked {at}"));
                        vec![key.id.to_string(), key.name, key.tenant.to_string(), permissions.join(","), key.created_at.to_string(), state]
                    })
                    .collect();
                table::print(&["ID", "NAME", "TENANT", "MAY", "CREATED", "STATE"], rows, "No keys: only this machine may connect.");
            }
        }
        KeysCommand::Revoke { id } => {
            let id: KeyId = id.parse()?;
            if !revoke(&*state, &RandomIds, actor, id).await? {
                bail!("there is no live key {id}: see `watchfire keys list`");
            }
            println!("{id} is revoked.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
