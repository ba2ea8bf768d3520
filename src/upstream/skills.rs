//! Skills as an upstream lists them (`io.modelcontextprotocol/skills`), held against the extension's rules: an entry that does
//! not say which files a skill has, and what each is, cannot be checked when it is read.

use crate::model::Uri;
use serde_json::Value;
use std::collections::HashSet;

/// The extension, as an upstream declares it.
pub(super) const EXTENSION: &str = "io.modelcontextprotocol/skills";
/// The extension's own limits for one skill.
const FILES: usize = 512;
const BYTES: u64 = 16 << 20;
/// The name of the file that every skill has.
const MAIN: &str = "/SKILL.md";

/// What is wrong with an entry; none where nothing is. It goes on from "it".
pub(super) fn fault(entry: &Value) -> Option<String> {
    let Some(main) = entry.get("uri").and_then(Value::as_str) else { return Some("has no `uri`".to_owned()) };
    let Some(root) = main.strip_suffix(MAIN).filter(|root| !root.is_empty()) else {
        return Some("does not end in `/SKILL.md`".to_owned());
    };
    let canonical =
        |uri: &str| Uri::parse(uri).ok().filter(|uri| uri.doubt().is_none()).map(Uri::into_string);
    let Some(main) = canonical(main) else { return Some("has a `uri` that cannot be used".to_owned()) };
    let folder = main.strip_suffix(MAIN).unwrap_or_default().to_owned();
    let front = |member: &str| {
        let text = entry.get("frontmatter")?.get(member)?.as_str()?;
        (!text.is_empty()).then_some(text)
    };
    let (Some(name), Some(_)) = (front("name"), front("description")) else {
        return Some("has no `name` and `description` in its `frontmatter`".to_owned());
    };
    if root.rsplit('/').next() != Some(name) {
        return Some("is not named by the last part of its path".to_owned());
    }
    let files = match entry.get("resources") {
        Some(Value::String(word)) if word == "dynamic" => return None,
        Some(Value::Array(files)) => files,
        Some(_) | None => {
            return Some("says neither which files it has nor that they are dynamic".to_owned());
        }
    };
    if files.len() > FILES {
        return Some(format!("has more than {FILES} files"));
    }
    let mut seen = HashSet::new();
    let mut bytes = 0_u64;
    for file in files {
        let Some((uri, size)) = file_of(file) else {
            return Some("names a file without `uri`, SHA-256 `digest` and `size`".to_owned());
        };
        // As it is read: `..` leads out of the folder.
        let read =
            canonical(uri).filter(|uri| uri.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('/')));
        if !read.is_some_and(|uri| seen.insert(uri)) {
            return Some("names a file twice, or one that is not in its folder".to_owned());
        }
        bytes = bytes.saturating_add(size);
    }
    if bytes > BYTES {
        return Some(format!("is larger than {BYTES} bytes"));
    }
    (!seen.contains(&main)).then(|| "does not name its own SKILL.md among its files".to_owned())
}

fn file_of(file: &Value) -> Option<(&str, u64)> {
    let digest = file.get("digest")?.as_str()?.strip_prefix("sha256:")?;
    let is_hex = digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let size = file.get("size")?.as_u64()?;
    is_hex.then_some((file.get("uri")?.as_str()?, size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_that_cannot_be_checked_are_faulty() {
        let file = |uri: &str| json!({"uri": uri, "digest": format!("sha256:{}", "a".repeat(64)), "size": 3});
        let entry = |uri: &str, name: &str, resources: Value| json!({"uri": uri, "frontmatter": {"name": name, "description": "d"}, "resources": resources});
        let check = |entry: &Value, expect: Option<&str>| {
            let told = fault(entry);
            assert_eq!(told.is_some(), expect.is_some(), "{entry}: {told:?}");
            assert!(told.unwrap_or_default().contains(expect.unwrap_or_default()), "{entry}");
        };
        let main = "skill://acme/refunds/SKILL.md";
        check(&entry(main, "refunds", json!([file(main), file("skill://acme/refunds/a/b.md")])), None);
        check(&entry(main, "refunds", json!("dynamic")), None);
        check(&entry("github://o/r/refunds/SKILL.md", "refunds", json!("dynamic")), None);
        check(&entry(main, "other", json!("dynamic")), Some("named by"));
        check(&entry("skill://acme/refunds", "refunds", json!("dynamic")), Some("/SKILL.md"));
        check(&entry(main, "refunds", json!(null)), Some("which files"));
        check(&entry(main, "refunds", json!("some")), Some("which files"));
        check(&entry(main, "refunds", json!([file("skill://acme/refunds/x.md")])), Some("its own SKILL.md"));
        check(&entry(main, "refunds", json!([file(main), file(main)])), Some("twice"));
        check(&entry(main, "refunds", json!([file(main), file("skill://acme/other/x.md")])), Some("not in"));
        check(
            &entry(main, "refunds", json!([file(main), file("skill://acme/refunds/../x.md")])),
            Some("not in"),
        );
        check(
            &entry(main, "refunds", json!([{"uri": main, "digest": "sha256:A", "size": 1}])),
            Some("digest"),
        );
        let mut large = file(main);
        large["size"] = json!(17 << 20);
        check(&entry(main, "refunds", json!([large])), Some("larger"));
        let many: Vec<Value> = (0..513).map(|n| file(&format!("skill://acme/refunds/{n}"))).collect();
        check(&entry(main, "refunds", json!(many)), Some("more than 512"));
    }
}
