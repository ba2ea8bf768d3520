//! Contents that were read, held against what was asked for: a server answers with the resource that it was asked for, with
//! what lies under it, or with others of its own that the agent may read. Whatever else stands there would be another's word
//! under a name that the agent trusts.

use super::target::Target;
use crate::{catalog::View, model::Uri};
use serde_json::{Map, Value, json};

/// Takes contents of other resources out of a result. The error: there were no others.
pub(super) fn keep_asked(
    (target, sent): (&Target, &str),
    view: Option<&View>,
    result: &mut Value,
) -> Result<(), String> {
    let Target::Item(item, asked) = target else { return Ok(()) };
    let Some(Value::Array(contents)) = result.get_mut("contents") else { return Ok(()) };
    let canonical = |uri: &str| Uri::parse(uri).ok().map(Uri::into_string);
    let canonical_own = |uri: &str| canonical(&item.own_uri(uri));
    let asked: [Option<String>; 4] =
        [Some(asked.to_string()), canonical(sent), canonical_own(asked), canonical_own(sent)];
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
