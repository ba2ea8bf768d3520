//! What a call names, as the catalog has it, and how records name it.

use crate::{
    catalog::{ItemEntry, ToolEntry, ToolSchema},
    cost::ToolPrice,
    evidence::ITEM_TRAITS,
    model::{Fingerprint, ToolTraits, UpstreamName, pointer::Pointer},
    redaction::{Claims, DataRules, Place},
};
use serde_json::Value;
use std::{borrow::Cow, sync::Arc};

/// The longest name of a target in a record, in characters; the digest is over all of it.
pub(crate) const LONGEST_NAME: usize = 1024;

/// A target in scope.
#[derive(Clone)]
pub(crate) enum Target {
    Tool(Arc<ToolEntry>),
    /// A prompt, or a resource with its canonical URI.
    Item(Arc<ItemEntry>, Arc<str>),
}

impl Target {
    /// What selectors and digests call it. Of a resource it may hold a secret that the agent wrote: records take
    /// its masked name.
    pub(crate) fn full(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.full,
            Self::Item(_, name) => name,
        }
    }
    /// Under what its result sizes are learned and its calls counted: of a resource the template, of which there are only
    /// so many. In the form in which the store may have it.
    pub(crate) fn kept_as(&self, data: &DataRules) -> Arc<str> {
        data.kept_name(match self {
            Self::Tool(tool) => &tool.full,
            Self::Item(item, _) => &item.name,
        })
    }
    /// Its name for records, prompts and pages: masked, and of bounded length.
    pub(crate) fn shown(&self, data: &DataRules) -> Arc<str> {
        shown(self.full(), &data.redact_text(self.full()))
    }
    /// Its action for the same. What is configured says nothing secret; the default one of a tool has its own name, that of a
    /// resource its URI.
    pub(crate) fn shown_action(&self, data: &DataRules) -> Arc<str> {
        let (action, upstream) = (self.action(), self.upstream().as_str());
        match action.strip_prefix(upstream).and_then(|rest| rest.strip_prefix(':')) {
            None => action.clone(),
            Some(own) => match data.redact_text(own) {
                Cow::Borrowed(_) if own.len() <= LONGEST_NAME => action.clone(),
                own => shown(action, &format!("{upstream}:{own}")),
            },
        }
    }
    /// One of its names as metrics and spans may have it: where its masked name differs from its own, the masked one.
    pub(crate) fn told(&self, name: &Arc<str>, shown: &Arc<str>) -> Arc<str> {
        if shown == self.full() { name.clone() } else { shown.clone() }
    }
    pub(crate) fn upstream(&self) -> &UpstreamName {
        match self {
            Self::Tool(tool) => &tool.upstream,
            Self::Item(item, _) => &item.upstream,
        }
    }
    /// What its results are declared to be.
    pub(crate) fn declared(&self) -> Option<&Arc<ToolSchema>> {
        match self {
            Self::Tool(tool) => tool.output.as_ref(),
            Self::Item(..) => None,
        }
    }
    pub(crate) fn own_name(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.own_name,
            Self::Item(item, _) => &item.own_name,
        }
    }
    /// The URI that was read, as it was matched.
    pub(crate) fn uri(&self) -> Option<&str> {
        match self {
            Self::Tool(_) => None,
            Self::Item(_, uri) => Some(uri),
        }
    }
    /// The name in lists.
    pub(crate) fn listed(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.exposed,
            Self::Item(item, _) => &item.listed,
        }
    }
    /// What the upstream is asked for where the canonical URI was matched.
    pub(crate) fn own_uri<'u>(&'u self, uri: &'u str) -> Cow<'u, str> {
        match self {
            Self::Tool(_) => Cow::Borrowed(uri),
            Self::Item(item, _) => item.own_uri(uri),
        }
    }
    /// As its upstream listed it.
    pub(crate) fn item(&self) -> &Value {
        match self {
            Self::Tool(tool) => &tool.item,
            Self::Item(item, _) => &item.item,
        }
    }
    pub(crate) fn action(&self) -> &Arc<str> {
        match self {
            Self::Tool(tool) => &tool.action,
            Self::Item(item, _) => &item.action,
        }
    }
    pub(crate) fn labels(&self) -> &Arc<[Arc<str>]> {
        match self {
            Self::Tool(tool) => &tool.labels,
            Self::Item(item, _) => &item.labels,
        }
    }
    pub(crate) fn sensitive(&self) -> &[Pointer] {
        match self {
            Self::Tool(tool) => &tool.sensitive,
            Self::Item(..) => &[],
        }
    }
    /// Where its arguments and results stand, for the data rules.
    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            upstream: self.upstream(),
            tool: self.full(),
            labels: self.labels(),
            sensitive: self.sensitive(),
        }
    }
    /// What is claimed of what came from it.
    pub(crate) fn claims(&self, value: &Value) -> Claims {
        let claims = Claims::of(value);
        match self {
            Self::Tool(tool) => claims.with_tool(&tool.item),
            Self::Item(..) => claims,
        }
    }
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Tool(tool) => tool.fingerprint.clone(),
            Self::Item(..) => Fingerprint::from(""),
        }
    }
    /// Whether it is a tool as it was pinned.
    pub(crate) fn is_pinned(&self) -> bool {
        match self {
            Self::Tool(tool) => !tool.unaccepted,
            Self::Item(..) => false,
        }
    }
    /// Whether it is a newcomer that nobody has accepted yet.
    pub(crate) fn is_unaccepted(&self) -> bool {
        match self {
            Self::Tool(tool) => tool.unaccepted,
            Self::Item(item, _) => item.unaccepted,
        }
    }
    pub(crate) fn traits(&self) -> ToolTraits {
        match self {
            Self::Tool(tool) => tool.traits,
            Self::Item(..) => ITEM_TRAITS,
        }
    }
    /// What one use costs by itself, where the bundle says nothing of it; none: nothing.
    pub(crate) fn price(&self) -> Option<&ToolPrice> {
        match self {
            Self::Tool(tool) => Some(&tool.price),
            Self::Item(..) => None,
        }
    }
    pub(crate) fn expected_result_tokens(&self) -> Option<u64> {
        match self {
            Self::Tool(tool) => tool.expected_result_tokens,
            Self::Item(..) => None,
        }
    }
}

fn shown(full: &Arc<str>, masked: &str) -> Arc<str> {
    match masked.chars().nth(LONGEST_NAME) {
        None if masked == &**full => full.clone(),
        None => masked.into(),
        Some(_) => masked.chars().take(LONGEST_NAME).chain(['…']).collect::<String>().into(),
    }
}

/// At most so many bytes of a text.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
