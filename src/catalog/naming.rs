//! Exposed names: prefix, separator, and a stable shortening of what is longer than clients take.

use crate::{
    config::{Config, UpstreamConfig},
    model::UpstreamName,
    redaction::is_hidden,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{borrow::Cow, sync::Arc};

/// The longest tool name that the large model APIs take.
pub const MAX_NAME: usize = 64;

/// Hex digits of the hash in a shortened name: 48 bits over the whole name.
const HASH_DIGITS: usize = 12;

/// The name before shortening: what globs and conditions see.
pub fn full_name(prefix: &str, separator: &str, own: &str) -> String {
    if prefix.is_empty() { own.to_owned() } else { format!("{prefix}{separator}{own}") }
}

/// With what the names of each upstream begin, those that are not started included.
#[derive(Clone, Debug, Default)]
pub struct Heads(Vec<(String, UpstreamName)>);

impl Heads {
    /// As the configuration has them.
    pub fn of(config: &Config) -> Self {
        let started = config.upstreams.values().map(|upstream| (&upstream.prefix, &upstream.name));
        let others = config.disabled.values().map(|upstream| (&upstream.prefix, &upstream.name));
        let named = started.chain(others).filter(|(prefix, _)| !prefix.is_empty());
        let separator = &config.gateway.separator;
        Self(named.map(|(prefix, name)| (format!("{prefix}{separator}"), name.clone())).collect())
    }

    /// Why a full name is not this upstream's: it begins as another's names do, and with more than its own do.
    pub fn of_another(&self, full: &str, upstream: &UpstreamConfig) -> Option<String> {
        let matching = self.0.iter().filter(|(head, _)| full.starts_with(head.as_str()));
        let longest = matching.clone().map(|(head, _)| head.len()).max()?;
        let mut owners = matching.filter(|(head, _)| head.len() == longest).map(|(_, name)| name);
        let owner = owners.clone().next()?;
        (!owners.any(|name| *name == upstream.name))
            .then(|| format!("its name begins with the prefix of upstream `{owner}`"))
    }
}

/// The name as listed: the full one, or its beginning and a hash of all of it. Depends on nothing but the name.
pub fn exposed_name(full: &str) -> String {
    if full.len() <= MAX_NAME {
        return full.to_owned();
    }
    let hash = hex::encode(Sha256::digest(full.as_bytes()));
    let mut keep = MAX_NAME - HASH_DIGITS - 1;
    while !full.is_char_boundary(keep) {
        keep -= 1;
    }
    let head = full.get(..keep).unwrap_or_default();
    format!("{head}_{}", hash.get(..HASH_DIGITS).unwrap_or_default())
}

/// Whether a name belongs to Tollgate itself. Its own tools are spelled with `__` whatever the separator is, so that
/// spelling is always kept for them.
pub fn reserved(full: &str, separator: &str) -> bool {
    let (Some(head), Some(rest)) = (full.get(..OWN.len()), full.get(OWN.len()..)) else { return false };
    head.eq_ignore_ascii_case(OWN)
        && (rest.is_empty()
            || rest.starts_with('/')
            || rest.starts_with("__")
            || (!separator.is_empty() && rest.starts_with(separator)))
}

/// The name that is Tollgate's own, however it is spelled.
const OWN: &str = "tollgate";

/// Whether a name can be told from another by its looks: one that holds what nobody sees cannot.
pub fn is_visible(name: &str) -> bool {
    !name.chars().any(is_hidden)
}

/// Whether a key is one under which only Tollgate speaks: `tollgate/…`.
pub fn reserved_key(key: &str) -> bool {
    key.get(..OWN.len()).is_some_and(|head| head.eq_ignore_ascii_case(OWN))
        && key.get(OWN.len()..).is_some_and(|rest| rest.starts_with('/'))
}

/// Takes `tollgate/*` out of every `_meta` in what an upstream wrote.
pub fn strip_reserved(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::Object(meta)) = map.get_mut("_meta") {
                meta.retain(|key, _| !reserved_key(key));
            }
            map.values_mut().for_each(strip_reserved);
        }
        Value::Array(items) => items.iter_mut().for_each(strip_reserved),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What stands in front of a URI that another upstream had first: with it the URI's scheme is another one (RFC 3986,
/// section 3.1), `crm+file:///a` for `file:///a` of the upstream `crm`; but for `ui://`, see [`aliased`].
pub fn alias(upstream: &str) -> Arc<str> {
    let mut alias = String::with_capacity(upstream.len() + 2);
    if !upstream.starts_with(|first: char| first.is_ascii_alphabetic()) {
        alias.push('u');
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    alias.extend(upstream.chars().map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' }));
    alias.push('+');
    alias.into()
}

/// The scheme of MCP Apps' pages: clients open no other, so that it stays in front.
const PAGE: &str = "ui://";

fn after_page(uri: &str) -> Option<(&str, &str)> {
    uri.split_at_checked(PAGE.len()).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(PAGE))
}

/// A URI, or a template, with an alias in front.
pub fn aliased(alias: &str, uri: &str) -> String {
    match after_page(uri) {
        Some((scheme, rest)) => format!("{scheme}{alias}{rest}"),
        None => format!("{alias}{uri}"),
    }
}

/// A URI without the alias in front; none where it has none.
pub fn unaliased<'u>(alias: &str, uri: &'u str) -> Option<Cow<'u, str>> {
    match after_page(uri) {
        Some((scheme, rest)) => rest.strip_prefix(alias).map(|rest| Cow::Owned(format!("{scheme}{rest}"))),
        None => uri.strip_prefix(alias).map(Cow::Borrowed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened_stably_and_apart() {
        assert_eq!(exposed_name(&full_name("files", "__", "read")), "files__read");
        assert_eq!(full_name("", "__", "read"), "read");
        let long = |tail: &str| format!("{}{tail}", "a".repeat(80));
        let (one, two) = (exposed_name(&long("1")), exposed_name(&long("2")));
        assert_eq!((one.len(), two.len()), (MAX_NAME, MAX_NAME));
        assert_ne!(one, two);
        assert_eq!(one, exposed_name(&long("1")));
        assert!(exposed_name(&"é".repeat(60)).len() <= MAX_NAME);
        assert_eq!(exposed_name(&"a".repeat(64)), "a".repeat(64));
    }

    #[test]
    fn tollgate_is_reserved() {
        let check = |name: &str, expect: bool| assert_eq!(reserved(name, "__"), expect, "{name}");
        check("tollgate", true);
        check("tollgate__find_tools", true);
        check("tollgate/decision", true);
        check("Tollgate__find_tools", true);
        check("tollgates", false);
        check("x__tollgate__y", false);
        // Tollgate's own tools are called so whatever the separator is.
        assert!(reserved("tollgate__call_tool", ".") && reserved("tollgate.x", "."));
        assert!(!reserved("tollgates.x", "."));
    }

    #[test]
    fn only_tollgate_speaks_under_its_name() {
        let mut result = serde_json::json!({"_meta": {"tollgate/decision": {}, "x/y": 1},
            "content": [{"_meta": {"Tollgate/a": 1}, "resource": {"_meta": {"tollgate/b": 1}}}]});
        strip_reserved(&mut result);
        assert_eq!(
            result,
            serde_json::json!({"_meta": {"x/y": 1}, "content": [{"_meta": {}, "resource": {"_meta": {}}}]})
        );
        for (key, expect) in
            [("tollgate/x", true), ("TOLLGATE/", true), ("tollgate", false), ("tollgates/x", false)]
        {
            assert_eq!(reserved_key(key), expect, "{key}");
        }
        assert!(is_visible("files__read") && !is_visible("files\u{200b}__read"));
    }
}
