//! `watchfire keys`: works on the state store itself, so that the first key can be made before anything listens.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use model::access::Permission;
use model::event::Actor;
use model::ids::{KeyId, RandomIds};
use model::tenant::TenantId;
use serde_json::json;
use url::Url;

use super::{Common, KeysCommand, serve, table};
use crate::access::keys::{NewKey, create, list, revoke};
use crate::config::Config;
use crate::pipeline::open_state;

/// What a key may do. A DSN stands in pages that anyone can read: its key may only send.
fn permissions_of(asked: Vec<Permission>, dsn: bool) -> anyhow::Result<Vec<Permission>> {
    match (asked.is_empty(), dsn) {
        (true, true) => Ok(vec![Permission::Ingest]),
        (true, false) => Ok(vec![Permission::Ingest, Permission::Read, Permission::Respond]),
        (false, true) if asked != [Permission::Ingest] => {
            bail!("a DSN may be read by anyone who has the application, so its key may only ingest: leave --permission out")
        }
        (false, _) => Ok(asked),
    }
}

/// Where SDKs reach this server.
fn public_url(config: &Config) -> anyhow::Result<Url> {
    let url = config.server.public_url.clone().unwrap_or_else(|| format!("http://{}", config.server.listen));
    let url: Url = url.parse().with_context(|| format!("server.public_url: `{url}` is not a URL"))?;
    ensure!(url.has_host(), "server.public_url: `{url}` names no host");
    Ok(url)
}

/// `http://<key>@host/<project>`
fn dsn_of(mut url: Url, key: &str, project: u64) -> anyhow::Result<String> {
    let path = format!("{}/{project}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    ensure!(url.set_username(key).is_ok(), "`{url}` cannot hold a key");
    Ok(url.to_string())
}

/// Runs one of the key commands.
pub async fn run(common: &Common, command: KeysCommand) -> anyhow::Result<ExitCode> {
    let config = serve::read_config(common)?;
    let state = open_state(&config, &serve::data_dir(common, &config)?, "command line").await?;
    let actor = Actor::User { id: "local".to_owned() };
    match command {
        KeysCommand::Create { name, tenant, permissions, dsn, user } => {
            if let Some(user) = user.as_ref().filter(|user| !config.alerting.users.iter().any(|known| known.name == **user)) {
                bail!("there is no user `{user}` under alerting.users: write them there first, or leave --user out");
            }
            let permissions = permissions_of(permissions, dsn.is_some())?;
            let base = dsn.map(|project| public_url(&config).map(|url| (url, project))).transpose()?;
            let new = NewKey { tenant: TenantId::new(&tenant)?, name, permissions, user, text: None };
            let (key, text) = create(&*state, &RandomIds, actor, new).await?;
            let dsn = base.map(|(url, project)| dsn_of(url, &text, project)).transpose()?;
            if common.json {
                println!(
                    "{}",
                    json!({"id": key.id, "key": text, "dsn": dsn, "tenant": key.tenant, "user": key.user, "permissions": key.permissions})
                );
            } else {
                println!("{}", dsn.as_deref().unwrap_or(&text));
                eprintln!("This is {} ({}). It is shown only now. From now on every request needs a key.", key.id, key.name);
            }
        }
        KeysCommand::List => {
            let keys = list(&*state).await?;
            if common.json {
                let rows: Vec<_> = keys
                    .iter()
                    .map(|key| {
                        json!({"id": key.id, "name": key.name, "tenant": key.tenant, "user": key.user, "permissions": key.permissions,
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
                        let user = key.user.unwrap_or_default();
                        vec![
                            key.id.to_string(),
                            key.name,
                            user,
                            key.tenant.to_string(),
                            permissions.join(","),
                            key.created_at.to_string(),
                            state,
                        ]
                    })
                    .collect();
                table::print(&["ID", "NAME", "USER", "TENANT", "MAY", "CREATED", "STATE"], rows, "No keys: only this machine may connect.");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_is_an_address_with_a_key_that_may_only_send() {
        let dsn = |url: &str| dsn_of(url.parse().unwrap(), "wf_0a_1b", 7).unwrap();
        assert_eq!(dsn("http://127.0.0.1:7700"), "http://wf_0a_1b@127.0.0.1:7700/7");
        assert_eq!(dsn("https://watch.example/behind/"), "https://wf_0a_1b@watch.example/behind/7");
        assert_eq!(permissions_of(vec![], true).unwrap(), [Permission::Ingest]);
        assert!(permissions_of(vec![Permission::Read], true).is_err());
        assert_eq!(permissions_of(vec![Permission::Read], false).unwrap(), [Permission::Read]);
        assert_eq!(permissions_of(vec![], false).unwrap().len(), 3);
    }
}
