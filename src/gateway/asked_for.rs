//! Contents that were read, held against what was asked for: a server answers with the resource that it was asked for, with
//! what lies under it, or with others of its own that the agent may read. Whatever else stands there would be another's word
//! under a name that the agent trusts. What has the name of a skill's file is trusted most: it is passed where that very file
//! was asked for, and so held against the skill; in other results where it is what the skill lists.

use super::target::Target;
use crate::{
    catalog::{Catalog, View},
    model::{UpstreamName, Uri},
};
use serde_json::{Map, Value, json};

/// Takes contents of other resources out of a result. The error: there were no others.
pub(super) fn keep_asked(
    (target, sent): (&Target, &str),
    (catalog, view): (&Catalog, Option<&View>),
    result: &mut Value,
) -> Result<(), String> {
    let Target::Item(item, asked) = target else { return Ok(()) };
    let Some(Value::Array(contents)) = result.get_mut("contents") else { return Ok(()) };
    let canonical = |uri: &str| Uri::parse(uri).ok().map(Uri::into_string);
    let canonical_own = |uri: &str| canonical(&item.own_uri(uri));
    let asked: [Option<String>; 4] =
        [Some(asked.to_string()), canonical(sent), canonical_own(asked), canonical_own(sent)];
    let of_skill = |uri: &str| catalog.is_in_skill(&item.upstream, uri);
    let asked_of_skill = asked.iter().flatten().any(|asked| of_skill(asked));
    let is_asked = |content: &Value| {
        // What does not say what it is is what was asked for.
        let Some(written) = content.get("uri").and_then(Value::as_str) else { return true };
        let Ok(uri) = Uri::parse(written) else { return false };
        let within = |whole: &str| {
            let rest = uri.as_str().strip_prefix(whole.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && uri.doubt().is_none()))
        };
        let may_read = || {
            let found = view.and_then(|view| view.resource(written, None).ok().flatten());
            found.is_some_and(|(covered, _)| covered.entry.upstream == item.upstream)
        };
        if asked_of_skill || of_skill(written) {
            return asked.iter().flatten().any(|asked| uri.as_str() == asked);
        }
        asked.iter().flatten().any(|asked| within(asked)) || may_read()
    };
    let before = contents.len();
    contents.retain(is_asked);
    let foreign = before - contents.len();
    if foreign == 0 {
        return Ok(());
    }
    let why = format!(
        "upstream `{}` answered with contents of resources that were not asked for and are not the agent's to read",
        item.upstream
    );
    tracing::warn!(upstream = %item.upstream, foreign, "resource.foreign_contents");
    if contents.is_empty() {
        return Err(format!("the contents were withheld: {why}"));
    }
    if let Some(members) = result.as_object_mut() {
        let meta = members.entry("_meta").or_insert_with(|| Value::Object(Map::new()));
        if !meta.is_object() {
            *meta = json!({});
        }
        if let Some(meta) = meta.as_object_mut() {
            meta.insert("tollgate/withheld".to_owned(), json!({"contents": foreign, "reason": why}));
        }
    }
    Ok(())
}

/// What stands in the place of contents that are not what their skill says.
const LEFT_OUT: &str = "[The contents of a file of a skill are left out: they are not what the skill lists, or nothing says what \
     they have to be. Read the file with resources/read.]";

/// Takes the contents of skills' files out of a result of a tool or a prompt, where they are not what the skill lists.
pub(super) fn leave_out_of_skills(catalog: &Catalog, upstream: &UpstreamName, result: &mut Value) {
    let mut left_out = 0_usize;
    let mut check = |block: &mut Value| {
        let Some(resource) = block.get("resource") else { return };
        let Some(uri) = resource.get("uri").and_then(Value::as_str) else { return };
        if catalog.is_in_skill(upstream, uri) && !catalog.is_as_listed(upstream, resource) {
            *block = json!({"type": "text", "text": LEFT_OUT});
            left_out += 1;
        }
    };
    if let Some(Value::Array(blocks)) = result.get_mut("content") {
        blocks.iter_mut().for_each(&mut check);
    }
    if let Some(Value::Array(messages)) = result.get_mut("messages") {
        for content in messages.iter_mut().filter_map(|message| message.get_mut("content")) {
            match content {
                Value::Array(blocks) => blocks.iter_mut().for_each(&mut check),
                one => check(one),
            }
        }
    }
    if left_out > 0 {
        tracing::warn!(%upstream, left_out, "skills.contents_left_out");
    }
}
