//! What is in force for whoever has credentials of their own: the same files, and beside the shared servers those that are
//! reached with these credentials. What one of them lists is in nobody else's catalog.

use super::{
    Gateway, InForce, ListGenerations,
    changed::Changed,
    people::connect::is_there,
    pin_book::{context, write},
};
use crate::{
    catalog::{Catalog, CatalogBuilder, Seen},
    config::{CredentialOf, UpstreamConfig},
    connections::{Connections, code_grant},
    identity::{AgentPrincipal, Principal, Proof, granted, user_of},
    model::{AgentId, CallKind, ConnectionKey, Holder, UpstreamName},
    pinning::Standing,
    store::StoreError,
    upstream::{Credentials as _, Health, UpstreamSet, UpstreamState, is_personal},
};
use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Notify;

/// Holders whose servers are kept connected.
const MOST: usize = 256;
/// How long nobody may ask before they are let go.
const IDLE: Duration = Duration::from_secs(3_600);
/// How long the first lists of somebody's own servers are waited for.
const FIRST_LISTS: Duration = Duration::from_secs(10);
/// Holders for whom it is made at the same time, where a list has changed that all share.
const MOST_AT_ONCE: usize = 4;
/// How soon lists that could not be pinned are looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// And where that goes on: each look builds catalogs.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often lists are held against pins that change under them.
const MOST_ROUNDS: usize = 8;

/// Whose credentials a call uses, in the order of the upstreams, and which they are: with another one servers connect anew.
type Holders = Arc<[(ConnectionKey, u64)]>;

/// What is in force for holders of credentials, as far as somebody has asked.
pub(super) struct Personal {
    pub(super) connections: Arc<Connections>,
    slots: Mutex<HashMap<Holders, Slot>>,
    /// For each of them one is made at a time.
    turns: Mutex<HashMap<Holders, Arc<tokio::sync::Mutex<()>>>>,
    /// Whoever is connected is looked at again.
    poked: Notify,
}

struct Slot {
    /// Which agent it was made for first; none: somebody looked at the lists.
    agent: Option<AgentId>,
    /// What it was made of.
    base: Arc<InForce>,
    states: Vec<Arc<UpstreamState>>,
    in_force: Arc<InForce>,
    used: Duration,
}

impl Personal {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, slots: Mutex::default(), turns: Mutex::default(), poked: Notify::new() }
    }

    fn turn(&self, holders: &Holders) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        if turns.len() >= MOST {
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        }
        turns.entry(holders.clone()).or_default().clone()
    }

    /// The connections of a principal's own that can be used now.
    fn holders(&self, base: &InForce, principal: &Principal) -> Option<Holders> {
        let agent = principal.agent()?;
        let person = user_of(principal, &base.policies.authority);
        let own = base.personal.iter().filter_map(|name| {
            let upstream = base.config.upstreams.get(name)?;
            if let Principal::Agent(AgentPrincipal { proof: Proof::Token(token), .. }) = principal
                && upstream.exchanges_tokens()
            {
                // What its agent may not use has nothing to do with its token.
                let text = token.text().filter(|_| may_reach(base, principal, upstream))?;
                let key = self.connections.of_token(upstream, token.whose(), (text, token.expires()))?;
                return Some((key, 0));
            }
            let holder = Connections::holder_of(upstream, agent, person)?;
            let key = ConnectionKey { upstream: name.clone(), holder };
            self.connections.generation(&key).map(|generation| (key, generation))
        });
        let own: Vec<(ConnectionKey, u64)> = own.collect();
        (!own.is_empty()).then(|| own.into())
    }

    /// What is in force for a principal, as it was last made ready; what is in force for everybody where it has nothing of its
    /// own.
    pub(super) fn of(&self, base: Arc<InForce>, principal: &Principal) -> Arc<InForce> {
        if base.personal.is_empty() {
            return base;
        }
        let Some(holders) = self.holders(&base, principal) else { return base };
        let slots = self.slots.lock();
        // Of a list that another server has changed meanwhile it does not hang; of the files it does.
        let of_these = |slot: &&Slot| {
            Arc::ptr_eq(&slot.base.config, &base.config) && Arc::ptr_eq(&slot.base.policies, &base.policies)
        };
        slots.get(&holders).filter(of_these).map_or(base.clone(), |slot| slot.in_force.clone())
    }

    /// What was made last, where it still is what it would be made of, and those of its servers that are waited for have listed.
    fn is_fresh(&self, base: &Arc<InForce>, holders: &Holders, wanted: &Wanted) -> bool {
        let slots = self.slots.lock();
        let slot = slots.get(holders).filter(|slot| Arc::ptr_eq(&slot.base, base));
        let Some(slot) = slot.filter(|slot| slot.in_force.upstreams.has_settled(wanted.of(holders))) else {
            return false;
        };
        let states = slot.in_force.upstream_states();
        states.len() == slot.states.len()
            && states.iter().zip(&slot.states).all(|(now, then)| is_listed_alike(now, then))
    }

    /// Somebody asks for it.
    fn touch(&self, holders: &Holders, now: Duration) {
        if let Some(slot) = self.slots.lock().get_mut(holders) {
            slot.used = now;
        }
    }

    /// What all upstreams list, held against its pins: those that all share, and what holders' own servers list. Of an item that
    /// they list differently, one that is not as it was pinned counts.
    pub(super) fn seen(&self, base: &InForce) -> Vec<Seen> {
        let mut all = base.catalog.seen.to_vec();
        let mut places = HashMap::new();
        let slots = self.slots.lock();
        let own = slots.values().flat_map(|slot| &slot.in_force.catalog.seen);
        for seen in own.filter(|seen| base.personal.contains(&seen.item.upstream)) {
            let name = (seen.item.upstream.clone(), seen.item.kind, seen.item.name.clone());
            match places.get(&name).and_then(|place: &usize| all.get_mut(*place)) {
                Some(known) if matches!(known.standing, Standing::Pinned) => *known = seen.clone(),
                Some(_) => {}
                None => {
                    places.insert(name, all.len());
                    all.push(seen.clone());
                }
            }
        }
        all
    }

    /// How upstreams stand that are reached with credentials of callers' own: of each the state of the holder for whom it failed
    /// most often, as far as somebody has asked.
    pub(super) fn states(&self, base: &InForce) -> Vec<Arc<UpstreamState>> {
        let mut worst: BTreeMap<UpstreamName, Arc<UpstreamState>> = BTreeMap::new();
        let slots = self.slots.lock();
        let all = slots.values().flat_map(|slot| slot.in_force.upstream_states());
        for state in all.filter(|state| base.personal.contains(&state.name)) {
            let known = worst.entry(state.name.clone()).or_insert_with(|| state.clone());
            if failures(&state.health) > failures(&known.health) {
                *known = state;
            }
        }
        worst.into_values().collect()
    }

    fn servers_before(&self, holders: &Holders) -> Option<UpstreamSet> {
        self.slots.lock().get(holders).map(|slot| slot.in_force.upstreams.clone())
    }

    fn put(&self, holders: Holders, mut slot: Slot) {
        let mut slots = self.slots.lock();
        if let Some(before) = slots.get(&holders) {
            slot.used = before.used;
        }
        if slots.len() >= MOST && !slots.contains_key(&holders) {
            let idlest = idlest_of_most(slots.iter().map(|(key, slot)| (key, &slot.agent, slot.used)));
            if let Some(idlest) = idlest.cloned() {
                slots.remove(&idlest);
            }
        }
        slots.insert(holders, slot);
    }

    /// Lets go of what nobody has asked for lately, and of what is not connected any more; whose are left.
    fn tidy(&self, now: Duration) -> Vec<Holders> {
        let mut slots = self.slots.lock();
        slots.retain(|holders, slot| {
            let connected = |(key, generation): &(ConnectionKey, u64)| match key.holder {
                Holder::Token(_) => self.connections.is_connected(key),
                Holder::Gateway | Holder::Agent(_) | Holder::Person(_) => {
                    self.connections.generation(key) == Some(*generation)
                }
            };
            holders.iter().all(connected) && now.saturating_sub(slot.used) < IDLE
        });
        slots.keys().cloned().collect()
    }
}

/// Attempts that failed in a row, counted so that one that is down has at least one.
fn failures(health: &Health) -> u32 {
    match health {
        Health::Down { attempts, .. } => (*attempts).max(1),
        Health::Starting | Health::Up => 0,
    }
}

/// Which of somebody's own servers are waited for.
enum Wanted {
    All,
    One(UpstreamName),
}

impl Wanted {
    fn of<'h>(&'h self, holders: &'h Holders) -> impl Iterator<Item = &'h UpstreamName> {
        let all = holders.iter().map(|(key, _)| &key.upstream);
        all.filter(move |name| match self {
            Self::All => true,
            Self::One(wanted) => *name == wanted,
        })
    }

    /// What a call waits for; none: nothing of somebody's own has such a name.
    fn by(base: &InForce, kind: CallKind, name: &str) -> Option<Self> {
        let begins = |upstream: &UpstreamName| {
            let upstream = base.config.upstreams.get(upstream)?;
            name.starts_with(&begin_of(base, upstream)).then(|| upstream.name.clone())
        };
        match kind {
            CallKind::Resource => Some(Self::All),
            CallKind::Tool | CallKind::Prompt => {
                let mut named = base.personal.iter().filter_map(begins);
                match (named.next(), named.next()) {
                    (Some(one), None) => Some(Self::One(one)),
                    (Some(_), Some(_)) => Some(Self::All),
                    (None, _) => None,
                }
            }
        }
    }
}

/// How the names of an upstream's tools and prompts begin.
fn begin_of(base: &InForce, upstream: &UpstreamConfig) -> String {
    match upstream.prefix.is_empty() {
        true => String::new(),
        false => format!("{}{}", upstream.prefix, base.config.gateway.separator),
    }
}

/// Whether a principal has a capability that may cover something of an upstream.
fn may_reach(base: &InForce, principal: &Principal, upstream: &UpstreamConfig) -> bool {
    let authority = &base.policies.authority;
    let Some(agent) = principal.agent().and_then(|id| authority.agents.get(id)) else { return false };
    let (granted, begin) = (granted(principal, authority), begin_of(base, upstream));
    let held = agent.capabilities.iter();
    let held = held.filter(|id| granted.as_ref().is_none_or(|granted| granted.contains(id)));
    held.filter_map(|id| authority.capabilities.get(id)).any(|capability| capability.may_reach(&begin))
}

/// Of the agent that has the most the one that was used least lately: whoever comes with ever new tokens takes no place of others.
fn idlest_of_most<'s, K>(
    slots: impl Iterator<Item = (K, &'s Option<AgentId>, Duration)> + Clone,
) -> Option<K> {
    let mut counts: HashMap<&Option<AgentId>, usize> = HashMap::new();
    for (_, agent, _) in slots.clone() {
        *counts.entry(agent).or_default() += 1;
    }
    let most = counts.values().max().copied()?;
    let of_most = slots.filter(|(_, agent, _)| counts.get(agent) == Some(&most));
    of_most.min_by_key(|(_, _, used)| *used).map(|(key, _, _)| key)
}

/// Whether nothing differs that a catalog is made of.
fn is_listed_alike(now: &Arc<UpstreamState>, then: &Arc<UpstreamState>) -> bool {
    Arc::ptr_eq(now, then)
        || (now.name == then.name
            && now.health == then.health
            && (Arc::ptr_eq(&now.listing, &then.listing) || now.listing == then.listing))
}

/// Whether it is worth trying again by itself: where there is no room somebody has to make some.
fn is_for_now(error: &StoreError) -> bool {
    !matches!(error, StoreError::RegisterFull(_))
}

impl Gateway {
    /// Who is connected to what.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.0.personal.connections
    }

    /// What is in force for a principal.
    pub(super) fn in_force_of(&self, principal: &Principal) -> Arc<InForce> {
        self.0.personal.of(self.in_force(), principal)
    }

    /// Has the servers of a principal's own connected and listed, where it has any: at most ten seconds are waited for.
    pub async fn make_ready(&self, principal: &Principal) {
        self.make_ready_of(principal, |_| Some(Wanted::All)).await;
    }

    /// The same for a call of this name: what is not named is not waited for.
    pub(super) async fn make_ready_for(&self, principal: &Principal, kind: CallKind, name: &str) {
        self.make_ready_of(principal, |base| Wanted::by(base, kind, name)).await;
    }

    async fn make_ready_of(&self, principal: &Principal, wanted: impl FnOnce(&InForce) -> Option<Wanted>) {
        let has_none = self.0.current.peek().personal.is_empty();
        if has_none {
            return;
        }
        let base = self.in_force();
        let Some(agent) = principal.agent() else { return };
        let Some(holders) = self.0.personal.holders(&base, principal) else { return };
        self.0.personal.touch(&holders, self.0.clock.monotonic());
        let Some(wanted) = wanted(&base) else { return };
        if self.0.personal.is_fresh(&base, &holders, &wanted) {
            return;
        }
        self.made_ready(holders, Some(agent.clone()), wanted).await;
    }

    /// Whoever waits for it may leave: the next one finds it made.
    async fn made_ready(&self, holders: Holders, agent: Option<AgentId>, wanted: Wanted) {
        let gateway = self.clone();
        let made = tokio::spawn(async move { Box::pin(gateway.make(holders, agent, &wanted)).await });
        match made.await {
            Ok(Ok(())) => {}
            // What is not pinned is not served.
            Ok(Err(error)) => tracing::error!(%error, "personal_lists.not_pinned"),
            Err(_) => tracing::error!("what is in force for a holder of credentials could not be made"),
        }
    }

    /// What is listed for a holder of credentials: what all share, and what its own accounts list.
    pub async fn catalog_of(&self, holder: &Holder) -> Arc<Catalog> {
        // Another process may have connected it a moment ago.
        if let Err(error) = self.connections().read().await {
            tracing::error!(%error, "connections.not_read");
        }
        let base = self.in_force();
        let personal = &self.0.personal;
        let own = base.personal.iter().filter_map(|name| {
            let per = code_grant(base.config.upstreams.get(name)?)?.per;
            let is_theirs = match holder {
                Holder::Person(_) => per == CredentialOf::Person,
                Holder::Agent(_) => per == CredentialOf::Agent,
                Holder::Gateway | Holder::Token(_) => false,
            };
            let key = ConnectionKey { upstream: name.clone(), holder: holder.clone() };
            let generation = personal.connections.generation(&key).filter(|_| is_theirs)?;
            Some((key, generation))
        });
        let holders: Holders = own.collect();
        if holders.is_empty() {
            return base.catalog.clone();
        }
        self.made_ready(holders.clone(), None, Wanted::All).await;
        personal.touch(&holders, self.0.clock.monotonic());
        let slots = personal.slots.lock();
        slots.get(&holders).map_or(base.catalog.clone(), |slot| slot.in_force.catalog.clone())
    }

    /// Makes what is in force for some holders, until nothing more is to be pinned of what their servers list.
    async fn make(
        &self,
        holders: Holders,
        agent: Option<AgentId>,
        wanted: &Wanted,
    ) -> Result<(), StoreError> {
        let personal = &self.0.personal;
        let turn = personal.turn(&holders);
        let _turn = turn.lock().await;
        for _ in 0..MOST_ROUNDS {
            let base = self.in_force();
            if personal.is_fresh(&base, &holders, wanted) {
                return Ok(());
            }
            let before = personal.servers_before(&holders);
            let own = holders
                .iter()
                .filter_map(|(key, _)| Some((base.config.upstreams.get(&key.upstream)?, &key.holder)));
            let upstreams = base.upstreams.with_personal(own, before.as_ref());
            // Those that do not answer delay nobody for longer: what they list comes later.
            let settled = tokio::time::timeout(FIRST_LISTS, upstreams.settled_of(wanted.of(&holders))).await;
            let made = self.made_of(base, upstreams).await;
            let Some((base, states, in_force)) = made else { return Ok(()) };
            let (used, agent) = (self.0.clock.monotonic(), agent.clone());
            personal.put(holders.clone(), Slot { agent, base, states, in_force: in_force.clone(), used });
            if !self.pin_personal(&in_force).await? || settled.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The catalog over somebody's servers, on a thread of its own.
    async fn made_of(
        &self,
        base: Arc<InForce>,
        upstreams: UpstreamSet,
    ) -> Option<(Arc<InForce>, Vec<Arc<UpstreamState>>, Arc<InForce>)> {
        let gateway = self.clone();
        let work = move || {
            let states: Vec<_> = upstreams.states().iter().map(|state| state.borrow().clone()).collect();
            // Names that others have stay theirs.
            let mut builder: CatalogBuilder = gateway.0.builder.lock().clone();
            builder.data = base.policies.data.clone();
            builder.pins = Some(gateway.0.pins.book());
            let catalog = builder.build(&base.config, &states);
            let in_force = Arc::new(base.over(Arc::new(catalog), upstreams));
            (base, states, in_force)
        };
        let made = tokio::task::spawn_blocking(work).await;
        made.inspect_err(|_| {
            tracing::error!("what is in force for a holder of credentials could not be built")
        })
        .ok()
    }

    /// Writes the pins of what was listed for the first time. Whether any were written: then it is judged once more.
    async fn pin_personal(&self, in_force: &Arc<InForce>) -> Result<bool, StoreError> {
        let _turn = self.0.pins.turn.lock().await;
        let pinned = self.write_personal(in_force).await;
        // It is judged by these once more, or once they can be written; its servers stay.
        let again = match &pinned {
            Ok(any) => *any,
            Err(error) => is_for_now(error),
        };
        if again {
            let mut slots = self.0.personal.slots.lock();
            let own = slots.values_mut().filter(|slot| Arc::ptr_eq(&slot.in_force, in_force));
            own.for_each(|slot| slot.states.clear());
        }
        pinned
    }

    async fn write_personal(&self, in_force: &Arc<InForce>) -> Result<bool, StoreError> {
        let writes = self.writes(in_force).await;
        let any = !writes.is_empty();
        for writes in writes {
            match write(&*self.0.store, context(in_force, self.0.clock.now()), writes).await {
                Ok(true) => {}
                // Another process was first: what it wrote is read and counts.
                Ok(false) => break,
                Err(error) => return Err(error),
            }
        }
        if any {
            self.read_pins().await?;
        }
        Ok(any)
    }

    /// Makes what is in force for holders of credentials once more, wherever something of it has changed, for ever.
    pub(super) async fn follow_personal_lists(self) {
        let mut ticks = self.in_force().upstreams.changes();
        let mut pause = AGAIN;
        loop {
            ticks.borrow_and_update();
            let all = self.0.personal.tidy(self.0.clock.monotonic());
            let all = stream::iter(all.into_iter().map(|holders| self.has_changed(holders)));
            // Each of them builds a catalog.
            let all = all.buffer_unordered(MOST_AT_ONCE);
            let (any, failed) = all
                .fold((false, false), async |(any, failed), (changed, fails)| (any | changed, failed | fails))
                .await;
            if any {
                self.0.current.count_up(ListGenerations::any_list);
            }
            tokio::select! {
                changed = ticks.changed() => if changed.is_err() { return },
                () = self.0.personal.poked.notified() => {}
                () = tokio::time::sleep(pause), if failed => {}
            }
            pause = if failed { pause.saturating_mul(2).min(LONGEST_PAUSE) } else { AGAIN };
        }
    }

    /// Whether what is in force for holders is something else than before, and whether it could not be made whole.
    async fn has_changed(&self, holders: Holders) -> (bool, bool) {
        let now =
            |holders: &Holders| self.0.personal.slots.lock().get(holders).map(|slot| slot.in_force.clone());
        let before = now(&holders);
        let agent = self.0.personal.slots.lock().get(&holders).map(|slot| slot.agent.clone());
        let Some(agent) = agent else { return (false, false) };
        let made = self.make(holders.clone(), agent, &Wanted::All).await;
        if let Err(error) = &made {
            tracing::error!(%error, "personal_lists.not_pinned");
        }
        let changed = match (before, now(&holders)) {
            (Some(before), Some(now)) => Changed::between(&before.catalog, &now.catalog).any(),
            (_, _) => false,
        };
        (changed, made.is_err_and(|error| is_for_now(&error)))
    }

    /// Follows who connects and disconnects, for ever: servers connect again with what they are let in by now, and lists are
    /// looked at.
    pub(super) async fn follow_connections(self) {
        let connections = self.connections().clone();
        let mut changes = connections.changes();
        let mut before: HashMap<UpstreamName, Option<u64>> = HashMap::new();
        loop {
            changes.borrow_and_update();
            self.0.people.prompts.connected(|key, instead_of| is_there(&connections, key, instead_of));
            let in_force = self.in_force();
            let of_gateway = in_force
                .config
                .upstreams
                .values()
                .filter(|upstream| code_grant(upstream).is_some() && !is_personal(upstream));
            for upstream in of_gateway {
                let key = ConnectionKey { upstream: upstream.name.clone(), holder: Holder::Gateway };
                let now = connections.generation(&key);
                let was = before.insert(upstream.name.clone(), now);
                let is_down = || {
                    in_force
                        .upstream_states()
                        .iter()
                        .any(|state| state.name == upstream.name && state.health != Health::Up)
                };
                // At the start it is known already, unless it was read too late for its first attempt.
                if was.is_some_and(|was| was != now) || (was.is_none() && now.is_some() && is_down()) {
                    in_force.upstreams.reconnect(&upstream.name);
                }
            }
            if !in_force.personal.is_empty() {
                self.0.personal.poked.notify_one();
                self.0.current.count_up(ListGenerations::any_list);
            }
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that comes with ever new tokens gives up its own, however lately it used them.
    #[test]
    fn whoever_has_the_most_makes_room() {
        let [hog, other] = ["hog", "other"].map(|agent| Some(AgentId::from(agent)));
        let at = Duration::from_secs;
        let slots =
            [(1, &other, at(1)), (2, &hog, at(9)), (3, &hog, at(8)), (4, &other, at(2)), (5, &hog, at(7))];
        assert_eq!(idlest_of_most(slots.into_iter()), Some(5));
        assert_eq!(idlest_of_most(slots[..1].iter().copied()), Some(1));
        assert_eq!(idlest_of_most(std::iter::empty::<(u8, &Option<AgentId>, Duration)>()), None);
    }
}
