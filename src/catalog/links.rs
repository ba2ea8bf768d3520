//! URIs that an upstream writes, as agents know them: another upstream may have had them first.

use super::{
    entry::{Catalog, MOST_SENTENCES},
    naming, pages,
};
use crate::model::{UpstreamName, Uri};
use serde_json::Value;
use std::sync::Arc;

impl Catalog {
    /// Puts the URIs that agents know into a result that names resources of its upstream: links, contents, and pages of
    /// MCP Apps.
    pub fn alias_links(&self, upstream: &UpstreamName, result: &mut Value) {
        for member in ["content", "contents"] {
            let Some(Value::Array(blocks)) = result.get_mut(member) else { continue };
            for block in blocks {
                self.alias_block(upstream, block);
            }
        }
        if let Some(Value::Array(messages)) = result.get_mut("messages") {
            for content in messages.iter_mut().filter_map(|message| message.get_mut("content")) {
                match content {
                    Value::Array(blocks) => blocks.iter_mut().for_each(|b| self.alias_block(upstream, b)),
                    one => self.alias_block(upstream, one),
                }
            }
        }
        pages::relink(result, |uri| {
            let owner = self.resources.get(Uri::parse(uri).ok()?.as_str()).map(|entry| &entry.upstream);
            match self.alias_of(upstream, uri) {
                Some(alias) => Some(naming::aliased(&alias, uri)),
                None => owner.is_none_or(|owner| owner == upstream).then(|| uri.to_owned()),
            }
        });
    }

    fn alias_block(&self, upstream: &UpstreamName, block: &mut Value) {
        let linked = match block.get("type").and_then(Value::as_str) {
            Some("resource") => block.get_mut("resource").and_then(|resource| resource.get_mut("uri")),
            Some("resource_link") | None => block.get_mut("uri"),
            Some(_) => None,
        };
        let Some(Value::String(uri)) = linked else { return };
        if let Some(alias) = self.alias_of(upstream, uri) {
            *uri = naming::aliased(&alias, uri);
        }
    }

    /// What stands in front of a URI of an upstream where agents know it: another upstream had it, or what stands for it,
    /// first.
    fn alias_of(&self, upstream: &UpstreamName, uri: &str) -> Option<Arc<str>> {
        let own = Uri::parse(uri).ok()?;
        if let Some(skill) = self.skill_alias_of(upstream, own.as_str()) {
            return skill.entry.alias.clone();
        }
        if let Some(alias) = self.aliases.get(upstream).and_then(|aliases| aliases.get(own.as_str())) {
            return Some(alias.clone());
        }
        let first = |uri: &str| self.claims.iter().find(|claim| claim.template.matches(uri));
        if self.resources.contains_key(own.as_str())
            || first(own.as_str()).is_none_or(|claim| claim.upstream == *upstream)
        {
            return None;
        }
        let alias = naming::alias(upstream);
        let aliased = Uri::parse(&naming::aliased(&alias, own.as_str())).ok()?;
        first(aliased.as_str()).is_some_and(|claim| claim.upstream == *upstream).then_some(alias)
    }

    /// Whether an upstream has this resource, or a template that stands for it.
    fn is_of(&self, upstream: &UpstreamName, uri: &str) -> bool {
        pages::candidates(upstream, uri).any(|uri| match self.resources.get(uri.as_str()) {
            Some(entry) => entry.upstream == *upstream,
            None => {
                let first = self.claims.iter().find(|claim| claim.template.matches(uri.as_str()));
                first.is_some_and(|claim| claim.upstream == *upstream)
            }
        })
    }

    /// Warnings about tools whose pages are not of their own upstream: they are listed without the link.
    pub(super) fn tell_lost_pages(&mut self, told: impl Fn(&str, usize) -> String) {
        let mut sentences = Vec::new();
        for tool in self.tools.values() {
            for page in pages::of(&tool.item).filter(|page| !self.is_of(&tool.upstream, page)) {
                let (name, page, upstream) = (told(&tool.exposed, 80), told(page, 120), &tool.upstream);
                let sentence = format!(
                    "tool `{name}` is listed without its page `{page}`: upstream `{upstream}` lists no such resource"
                );
                if !sentences.contains(&sentence) && sentences.len() < MOST_SENTENCES {
                    sentences.push(sentence);
                }
            }
        }
        self.withheld.append(&mut sentences);
    }
}
