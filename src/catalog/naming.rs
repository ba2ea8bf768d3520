//! Exposed names: prefix, separator, and a stable shortening of what is longer than clients take.

use sha2::{Digest as _, Sha256};

/// The longest tool name that the large model APIs take.
pub const MAX_NAME: usize = 64;

/// Hex digits of the hash in a shortened name: 48 bits over the whole name.
const HASH_DIGITS: usize = 12;

/// The name before shortening: what globs and conditions see.
pub fn full_name(prefix: &str, separator: &str, own: &str) -> String {
    if prefix.is_empty() { own.to_owned() } else { format!("{prefix}{separator}{own}") }
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

/// Whether a name belongs to Tollgate itself.
pub fn reserved(full: &str, separator: &str) -> bool {
    full.strip_prefix("tollgate").is_some_and(|rest| {
        rest.is_empty() || rest.starts_with('/') || (!separator.is_empty() && rest.starts_with(separator))
    })
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
        check("tollgates", false);
        check("x__tollgate__y", false);
    }
}
