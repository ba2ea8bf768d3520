//! Who is signed in: on the server alone, bounded in number and time. A browser has a random token, of which only the digest is
//! kept here.

use super::Identity;
use crate::{clock::Clock, config::OidcConfig};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use std::{collections::HashMap, sync::Arc, time::Duration};

/// Sessions at a time, of all people and of one: beyond it the idlest ends.
pub(super) const MOST_SESSIONS: usize = 1_000;
/// The same of one person.
pub(super) const MOST_OF_ONE: usize = 10;

/// A session that counts.
#[derive(Clone, Debug)]
pub struct Live {
    /// Whose.
    pub identity: Arc<Identity>,
    /// What a page has to say with everything that changes something: another site's page cannot read it.
    pub csrf: Arc<str>,
    /// Under which rules it was opened.
    pub rules: Arc<OidcConfig>,
}

struct Session {
    live: Live,
    opened: Duration,
    used: Duration,
}

/// All of them.
pub(super) struct Sessions {
    clock: Arc<dyn Clock>,
    open: Mutex<HashMap<[u8; 32], Session>>,
}

fn digest(token: &[u8]) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn is_over(session: &Session, now: Duration) -> bool {
    let rules = &session.live.rules;
    now.saturating_sub(session.opened) >= rules.lifetime || now.saturating_sub(session.used) >= rules.idle
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, open: Mutex::default() }
    }

    pub(super) fn open(&self, token: &str, csrf: String, rules: &Arc<OidcConfig>, identity: Identity) {
        let now = self.clock.monotonic();
        let mut open = self.open.lock();
        open.retain(|_, session| !is_over(session, now));
        let same = |session: &Session| {
            (&session.live.identity.issuer, &session.live.identity.subject)
                == (&identity.issuer, &identity.subject)
        };
        // What the issuer says of somebody now counts for all of their sessions: those of other groups end.
        open.retain(|_, session| !same(session) || *session.live.identity == identity);
        let own = open.values().filter(|session| same(session)).count();
        let idlest = |only_own: bool| {
            let some = open.iter().filter(|(_, session)| !only_own || same(session));
            some.min_by_key(|(_, session)| session.used).map(|(key, _)| *key)
        };
        let goes = match (own >= MOST_OF_ONE, open.len() >= MOST_SESSIONS) {
            (true, _) => idlest(true),
            (false, true) => idlest(false),
            (false, false) => None,
        };
        goes.map(|key| open.remove(&key));
        let live = Live { identity: Arc::new(identity), csrf: csrf.into(), rules: rules.clone() };
        open.insert(digest(token.as_bytes()), Session { live, opened: now, used: now });
    }

    /// Found by its digest: how long that takes tells nothing of a token.
    pub(super) fn find(&self, token: &[u8], rules: &Arc<OidcConfig>, used: bool) -> Option<Live> {
        let now = self.clock.monotonic();
        let key = digest(token);
        let mut open = self.open.lock();
        let session = open.get_mut(&key)?;
        // Other rules know nobody who signed in by these.
        let same = Arc::ptr_eq(&session.live.rules, rules) || *session.live.rules == **rules;
        if !same || is_over(session, now) {
            open.remove(&key);
            return None;
        }
        if used {
            session.used = now;
        }
        Some(session.live.clone())
    }

    pub(super) fn end(&self, token: &[u8]) {
        self.open.lock().remove(&digest(token));
    }
}
