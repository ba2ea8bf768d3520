//! Files of skills as they are read, held against what was read first: a skill that does not list what its files are could
//! serve another text to each reader. What the scan finds in a text is told, and holds it where the setting says so.

use super::{
    InForce,
    looking::Answered,
    pin_book::{Pins, context, write},
};
use crate::{
    clock::Clock,
    model::UpstreamName,
    pinning::{HeldWhy, Observed, Standing, reconcile, shown},
    store::{Store, StoreError},
};
use serde_json::Value;
use std::sync::Arc;

/// How often others may change pins at the same moment.
const TRIES: usize = 16;

/// Holds them.
pub(super) struct SkillFiles {
    pub(super) pins: Arc<Pins>,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
}

impl SkillFiles {
    /// Whether what was read may be handed on; else why not.
    pub(super) async fn held(&self, in_force: &InForce, file: &Observed, form: &Value) -> Option<String> {
        let why = match self.standing(in_force, file, form).await {
            Ok(Standing::Pinned | Standing::Asks) => return None,
            Ok(Standing::Held(HeldWhy::Changed)) => {
                "it is not what was read first, and its skill lists no digest; a person can accept it"
                    .to_owned()
            }
            Ok(Standing::Held(why)) => format!("{}; a person can accept it", why.phrase()),
            Ok(Standing::Unpinned) => "there is no room to keep what it is".to_owned(),
            Err(error) => {
                tracing::error!(%error, "skills.file_not_held");
                "what it was before cannot be read now".to_owned()
            }
        };
        Some(format!("a file of a skill of upstream `{}` was withheld: {why}", file.upstream))
    }

    /// How it stands, once what is to be written of it is written.
    async fn standing(
        &self,
        in_force: &InForce,
        file: &Observed,
        form: &Value,
    ) -> Result<Standing, StoreError> {
        let settings = |name: &UpstreamName| {
            in_force.config.upstreams.get(name).map(|upstream| upstream.pins).unwrap_or_default()
        };
        let data = &in_force.policies.data;
        let name = |text: &str| shown(&data.redact_text(text)).chars().take(300).collect();
        for _ in 0..TRIES {
            let (book, now) = (self.pins.book(), self.clock.now());
            let observed = std::slice::from_ref(file);
            let writes = reconcile(&book, &settings, observed, &|_| form.clone(), &name, now);
            if writes.is_empty() {
                let standing = book.standing(settings(&file.upstream), file);
                // A person may have accepted it in another process a moment ago.
                if matches!(standing, Standing::Held(_)) && self.pins.read(&*self.store).await? {
                    continue;
                }
                return Ok(standing);
            }
            for writes in writes {
                match write(&*self.store, context(in_force, now), writes).await {
                    // Another was first: what that wrote counts.
                    Ok(true | false) => {}
                    Err(StoreError::RegisterFull(_)) => return Ok(Standing::Unpinned),
                    Err(error) => return Err(error),
                }
            }
            self.pins.read(&*self.store).await?;
        }
        Err(StoreError::Overloaded)
    }

    /// Withholds what may not be handed on.
    pub(super) async fn hold(&self, answered: &mut Answered) -> bool {
        let Some((file, form)) = answered.file.take() else { return false };
        if answered.ending.reply.is_err() {
            return false;
        }
        match self.held(&answered.in_force.clone(), &file, &form).await {
            None => false,
            Some(why) => {
                answered.withhold(why);
                true
            }
        }
    }
}
