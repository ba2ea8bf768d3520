//! What of Tollgate's environment a child process gets: a short list, and never what is Tollgate's own.

use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

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

/// Why a child with this environment does not find a program from `cwd`; none where it does.
pub(super) fn not_found(
    program: &OsStr,
    environment: &[(OsString, OsString)],
    cwd: &Path,
) -> Option<&'static str> {
    if Path::new(program).parent().is_some_and(|folder| !folder.as_os_str().is_empty()) {
        return (!cwd.join(program).is_file()).then_some("there is no such file");
    }
    let (_, path) = environment.iter().rev().find(|(name, _)| name == "PATH")?;
    let found = std::env::split_paths(path).any(|folder| cwd.join(folder).join(program).is_file());
    (!found).then_some("it is not found on the PATH")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_as_its_child_would() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tool"), "").unwrap();
        let path = |path: &Path| vec![("PATH".into(), "/nowhere".into()), ("PATH".into(), path.into())];
        let told = |program: &str, environment: &[(OsString, OsString)]| {
            not_found(OsStr::new(program), environment, folder.path())
        };
        assert_eq!(told("tool", &path(folder.path())), None);
        assert_eq!(told("tool", &path(Path::new("/nowhere"))), Some("it is not found on the PATH"));
        assert_eq!(told("./tool", &path(Path::new("/nowhere"))), None);
        assert_eq!(told("./none", &path(folder.path())), Some("there is no such file"));
        assert_eq!(told("tool", &[]), None);
    }

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
