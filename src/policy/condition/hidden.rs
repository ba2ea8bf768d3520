//! Arguments of which a part is masked in the record: what a condition can still be asked of them, and what not.
//!
//! An answer that depends on a masked value is no answer. Everything else has the answer that it had when the values were
//! there: a masked value is never read, compared or measured, and neither is an object or list around one as a whole.

use crate::model::pointer::Pointer;
use serde_json::Value as Json;
use std::{cell::Cell, collections::HashSet, marker::PhantomData};

/// The arguments that may be evaluated as if nothing was masked, in bytes, where a condition met a masked value: what the
/// masked values would have taken of an evaluation's steps is not known.
const SMALL: u64 = 8 << 10;
/// The same where it ran a loop.
const SMALL_FOR_LOOPS: u64 = 1 << 10;

/// The masked places of one call's arguments. It holds for the very value it was made of.
#[derive(Debug)]
pub struct Hidden<'a> {
    masked: HashSet<usize>,
    around: HashSet<usize>,
    met: Cell<bool>,
    looped: Cell<bool>,
    of: PhantomData<&'a Json>,
}

impl<'a> Hidden<'a> {
    /// The places in these arguments. Of a place that is not there everything that could hold it is masked.
    pub fn of(arguments: &'a Json, places: &[Pointer]) -> Self {
        let mut hidden = Self {
            masked: HashSet::new(),
            around: HashSet::new(),
            met: Cell::new(false),
            looped: Cell::new(false),
            of: PhantomData,
        };
        for place in places {
            let mut at = arguments;
            for token in place.tokens() {
                let below = match at {
                    Json::Object(map) => map.get(token),
                    Json::Array(items) => token.parse().ok().and_then(|index: usize| items.get(index)),
                    Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
                };
                let Some(below) = below else { break };
                hidden.around.extend(address(at));
                at = below;
            }
            hidden.masked.insert(std::ptr::from_ref(at).addr());
        }
        hidden
    }

    pub(super) fn begin(&self) {
        self.met.set(false);
        self.looped.set(false);
    }

    pub(super) fn run_loop(&self) {
        self.looped.set(true);
    }

    /// Whether the answer of an evaluation that ended can be relied on.
    pub(super) fn knows(&self, size: u64) -> bool {
        !self.met.get() || size <= if self.looped.get() { SMALL_FOR_LOOPS } else { SMALL }
    }

    pub(super) fn is_masked(&self, json: &Json) -> bool {
        let masked = self.masked.contains(&std::ptr::from_ref(json).addr());
        if masked {
            self.met.set(true);
        }
        masked
    }

    pub(super) fn is_around(&self, container: usize) -> bool {
        let around = self.around.contains(&container);
        if around {
            self.met.set(true);
        }
        around
    }
}

/// Of what a value of a condition refers to: the members or the elements.
fn address(container: &Json) -> Option<usize> {
    match container {
        Json::Object(map) => Some(std::ptr::from_ref(map).addr()),
        Json::Array(items) => Some(items.as_ptr().addr()),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => None,
    }
}
