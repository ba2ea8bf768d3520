//! What of Tollgate's environment a child process gets: a short list, and never what is Tollgate's own.

use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, ffi::OsString};

/// What of the gateway's environment a child gets.
const PASSED: &[&str] = &["PATH", "HOME", "USER", "LANG", "TMPDIR"];

/// The environment a child gets.
pub(super) fn environment(configured: &BTreeMap<String, SecretString>) -> Vec<(OsString, OsString)> {
    let passed = std::env::vars_os().filter(|(name, _)| {
        name.to_str().is_some_and(|name| PASSED.contains(&name) || name.starts_with("LC_"))
    });
    let own = configured
        .iter()
        .filter(|(name, _)| !name.starts_with("TOLLGATE_"))
        .map(|(name, value)| (OsString::from(name), OsString::from(value.expose_secret())));
    passed.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_never_gets_tollgates_own_environment() {
        let configured: BTreeMap<String, SecretString> =
            [("LOG", "info"), ("TOLLGATE_KEY", "k")].map(|(n, v)| (n.to_owned(), v.to_owned().into())).into();
        let names: Vec<String> =
            environment(&configured).into_iter().filter_map(|(n, _)| n.into_string().ok()).collect();
        assert!(names.contains(&"LOG".to_owned()) && names.contains(&"PATH".to_owned()), "{names:?}");
        let allowed = |n: &str| n == "LOG" || PASSED.contains(&n) || n.starts_with("LC_");
        assert!(names.iter().all(|n| allowed(n)), "{names:?}");
    }
}
