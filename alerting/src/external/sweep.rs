//! The sweep over alerts of others: those whose end has come are over, silences and other alerts mute and unmute the rest. One commit.

use model::event::{EventKind, Subject};
use model::state::{Commit, Expect, StateError, StateStore};
use model::time::Timestamp;

use super::{Hush, Surroundings, is_foreign, over, schedule_sweep};
use crate::evaluate::everything;
use crate::machine::Instance;
use crate::shared::Shared;
use crate::silence::Silence;

/// How soon a sweep comes again while recurring windows may begin or end.
const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

/// What is to change now.
pub(crate) async fn sweep(shared: &Shared, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
    let firing = everything::<Instance>(state, &shared.tenant, &["firing"]).await?;
    let mut commit = Commit::at(now);
    let ended = |instance: &Instance| instance.memory.foreign.as_ref().is_some_and(|foreign| foreign.ends_at <= now);
    let still: Vec<_> = firing.iter().filter(|one| !ended(&one.entity)).map(|one| one.entity.alert.clone()).collect();
    let surroundings = Surroundings::read(shared, state, Some(&still)).await?;
    let hush = Hush::of(&surroundings);
    let (mut next, mut any) = (None::<Timestamp>, false);
    for one in firing.iter().filter(|one| is_foreign(&one.entity.alert.rule)) {
        let alert = &one.entity.alert;
        let subject = Subject::alert(alert.id, alert.incident);
        if ended(&one.entity) {
            let over = over(&one.entity, now);
            commit.put(&over, Expect::Version(one.version))?;
            commit.event(shared.event(now, subject, EventKind::AlertResolved { value: alert.value }));
            continue;
        }
        any = true;
        next = next.into_iter().chain(one.entity.memory.foreign.as_ref().map(|foreign| foreign.ends_at)).min();
        let by = hush.by(alert.fingerprint, &alert.labels, now);
        if by.is_some() != alert.muted {
            let mut changed = one.entity.clone();
            changed.alert.muted = by.is_some();
            commit.put(&changed, Expect::Version(one.version))?;
            let kind = by.map_or(EventKind::AlertUnmuted, |by| EventKind::AlertMuted { by: by.to_string() });
            commit.event(shared.event(now, subject, kind));
        }
    }
    if any {
        let edges = surroundings.silences.iter().filter(|silence| !silence.over).flat_map(edges).filter(|edge| *edge > now);
        next = next.into_iter().chain(edges).min();
        if !shared.routing().maintenance.is_empty() {
            next = next.into_iter().chain([now.plus(MINUTE)]).min();
        }
        if let Some(next) = next {
            schedule_sweep(shared, &mut commit, next, now)?;
        }
    }
    if !shared.routing().inhibit_rules.is_empty() {
        let foreign = still.iter().filter(|alert| is_foreign(&alert.rule));
        shared.set_foreign(foreign.map(|alert| (alert.fingerprint, alert.labels.clone())).collect());
    }
    Ok(commit)
}

/// When a silence begins and ends.
fn edges(silence: &Silence) -> [Timestamp; 2] {
    [silence.starts_at, silence.ends_at]
}
