//! URIs and paths in one spelling, and the `within` rule.

/// Percent-decodes until nothing changes, within reason.
fn decode(text: &str) -> Option<String> {
    let mut decoded = text.to_owned();
    for _ in 0..4 {
        let next = percent_encoding::percent_decode_str(&decoded).decode_utf8().ok()?.into_owned();
        if next == decoded {
            break;
        }
        decoded = next;
    }
    Some(decoded)
}

/// Whether a text, however it is encoded, has a `..` between slashes: whoever takes it for a path climbs by it.
fn climbs(text: &str) -> bool {
    decode(text).is_none_or(|text| text.split(['/', '\\', '?', '#', '&', '=', ';']).any(|part| part == ".."))
}

/// Percent-decodes and dot-normalises an absolute path. `None` for a relative path, one that climbs
/// above its root, one with a NUL or a backslash, or one that does not decode to UTF-8. Decoding
/// goes on until nothing changes, so that a doubly encoded `..` is seen too.
pub fn normalize_path(path: &str) -> Option<String> {
    let decoded = decode(path)?;
    if !decoded.starts_with('/') || decoded.contains(['\0', '\\']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in decoded.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(format!("/{}", parts.join("/")))
}

/// The same for a URI: scheme and authority are lowercased and kept, the path is normalised.
/// A URI without `//` (like `memo:insights`) is percent-decoded only. Nothing after `?` or `#` may climb either: what an
/// upstream makes of it is not known, and a glob's `**` takes it in.
pub fn normalize_uri(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once(':')?;
    let valid = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if !valid {
        return None;
    }
    let scheme = scheme.to_ascii_lowercase();
    let Some(rest) = rest.strip_prefix("//") else {
        let decoded = decode(rest)?;
        return (!decoded.contains('\0') && !climbs(&decoded)).then(|| format!("{scheme}:{decoded}"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let cut = tail.find(['?', '#']).unwrap_or(tail.len());
    let (path, query) = tail.split_at_checked(cut)?;
    let path = if path.is_empty() { String::new() } else { normalize_path(path)? };
    if climbs(query) {
        return None;
    }
    Some(format!("{scheme}://{}{path}{query}", authority.to_ascii_lowercase()))
}

/// Whether an absolute path lies at or below `root`, after [`normalize_path`] of both.
pub fn within(path: &str, root: &str) -> bool {
    let (Some(path), Some(root)) = (normalize_path(path), normalize_path(root)) else { return false };
    root == "/" || path == root || path.strip_prefix(&root).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_sees_through_encodings_and_dots() {
        let check = |path: &str, expect: bool| assert_eq!(within(path, "/srv/docs"), expect, "{path}");
        check("/srv/docs", true);
        check("/srv/docs/a", true);
        check("/srv/docs/../docs/a", true);
        check("/srv/docs/../x", false);
        check("/srv/docs/%2e%2e/x", false);
        check("/srv/docs/%252e%252e/x", false);
        check("/srv/docsx", false);
        check("srv/docs/a", false);
        check("/../srv/docs/a", false);
        check("/srv/docs/a\\..\\..", false);
        assert_eq!(normalize_uri("FILE:///srv/./a").as_deref(), Some("file:///srv/a"));
        assert_eq!(normalize_uri("file:///../a"), None);
        assert_eq!(normalize_uri("demo://x"), Some("demo://x".into()));
        assert_eq!(normalize_uri("relative/path"), None);
        for climbing in [
            "file:///srv/docs/x?/../../../etc/passwd",
            "file:///srv/docs/x#/../../etc/passwd",
            "file:///srv/docs/x?a=..%2f..%2Fetc",
            "file:///srv/docs/x?%252e%252e/etc",
            "db://h?..\\..\\x",
            "memo:a/%252e%252e/b",
            "memo:a\\..\\b",
            "memo:a?../b",
        ] {
            assert_eq!(normalize_uri(climbing), None, "{climbing}");
        }
        for plain in ["db://h/rows?q=a..b&page=2#top", "memo:insights..", "db://h?x=...&y=/a/b"] {
            assert_eq!(normalize_uri(plain).as_deref(), Some(plain));
        }
    }
}
