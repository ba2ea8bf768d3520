//! Which part of a program's argument is a secret: a flag and its value are often two arguments, and the value alone says
//! nothing.

use super::secret::{is_secret, names_secret};
use crate::redaction::DataRules;

/// Flags that hold a secret by themselves; as a field of data each of these words means something else.
const FLAGS: &[&str] = &["key", "pat", "dsn"];

/// A flag that ends so takes the name of a place, not the secret.
const PLACES: &[&str] = &["env", "var", "variable", "stdin", "helper"];

/// A flag that begins so switches something off and takes no value.
const SWITCHES: &[&str] = &["no", "without", "skip", "disable"];

/// Values that say how, and hold nothing.
const SETTINGS: &[&str] = &["true", "false", "none", "yes", "no", "on", "off"];

/// Where the secret of an argument begins, which goes on to its end. `before` is the argument before it.
pub fn secret(rules: &DataRules, before: Option<&str>, word: &str) -> Option<usize> {
    let flag = before.filter(|before| !before.contains('=') && !is_flag(word)).and_then(name_of);
    if let (Some("H" | "header" | "headers"), Some((_, sent))) = (flag, word.split_once(':')) {
        // The name of a header says what it holds; of another one the value may say it.
        let by_form = || is_secret(rules, "argument", sent).then_some(word.len() - sent.trim_start().len());
        return flag.and_then(|flag| value(rules, flag, word)).or_else(by_form);
    }
    let from = match flag {
        Some(flag) => value(rules, flag, word),
        None => named(rules, word),
    };
    let whole = || is_secret(rules, "argument", word).then_some(0);
    match from {
        // What stands before it may be one too: the user and the password of a URL.
        Some(from)
            if word
                .get(..from)
                .is_some_and(|kept| kept.contains("://") && is_secret(rules, "argument", kept)) =>
        {
            Some(0)
        }
        Some(from) => Some(from),
        None => whole(),
    }
}

/// `NAME=value`, `--flag=value`, `--env=NAME=value`.
fn named(rules: &DataRules, word: &str) -> Option<usize> {
    let (name, rest) = word.split_once('=')?;
    let plain = name.trim_start_matches('-');
    if plain.is_empty() || !plain.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        return None;
    }
    let from = name.len() + 1;
    let inside = match name.starts_with('-') {
        true => value(rules, plain, rest),
        false if holds(rules, plain) => the_value(rest),
        false => None,
    };
    inside.map(|inside| from + inside)
}

/// What a flag takes.
fn value(rules: &DataRules, flag: &str, word: &str) -> Option<usize> {
    match flag {
        "H" | "header" | "headers" => {
            let (name, rest) = word.split_once(':')?;
            let start = word.len() - rest.trim_start().len();
            let rest = word.get(start..)?;
            let secret = is_secret(rules, name.trim(), rest)
                || (is_secret(rules, name.trim(), "q7Z") && !rest.contains("${") && !rest.is_empty());
            secret.then(|| start + scheme(rest))
        }
        // `curl -u NAME:PASSWORD`; a number is a user and a group of a container.
        "u" | "user" => {
            let (_, rest) = word.split_once(':')?;
            let number = rest.bytes().all(|b| b.is_ascii_digit());
            (!number && !rest.contains("${")).then_some(word.len() - rest.len())
        }
        flag if FLAGS.iter().any(|known| flag.eq_ignore_ascii_case(known)) => {
            // base64 has no dot.
            let starts = ["/", "./", "../", "~/"].iter().any(|start| word.starts_with(start));
            let path = starts && word.contains('.');
            if path { None } else { the_value(word) }
        }
        flag if holds(rules, flag) => the_value(word),
        _ => named(rules, word),
    }
}

/// The value, without the scheme of its header; a reference is none.
fn the_value(word: &str) -> Option<usize> {
    let setting = SETTINGS.iter().any(|setting| word.eq_ignore_ascii_case(setting));
    let rest = word.get(scheme(word)..)?;
    (!setting && !rest.is_empty() && !rest.contains("${")).then(|| scheme(word))
}

/// How long the scheme of an `Authorization` header is, with its space.
fn scheme(value: &str) -> usize {
    let known = |scheme: &str| ["bearer", "basic", "token"].iter().any(|k| scheme.eq_ignore_ascii_case(k));
    value.split_once(' ').filter(|(scheme, _)| known(scheme)).map_or(0, |(scheme, _)| scheme.len() + 1)
}

/// Whether what is called so holds a secret: the names are those that fields of data have.
fn holds(rules: &DataRules, name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let mut words = lower.split(['-', '_', '.']);
    let switch = words.next().is_some_and(|first| SWITCHES.contains(&first));
    let place = words.next_back().is_some_and(|last| PLACES.contains(&last));
    !switch && !place && names_secret(rules, name)
}

/// The name of a flag, without its dashes.
fn name_of(word: &str) -> Option<&str> {
    is_flag(word).then(|| word.trim_start_matches('-'))
}

/// `-x`, `--name`, `-name`; a password may begin with a dash and does not look so.
fn is_flag(word: &str) -> bool {
    let Some(name) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else { return false };
    let name = name.split('=').next().unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of each argument; `‸` stands for what is not copied.
    fn left(words: &[&str]) -> Vec<String> {
        let rules = DataRules::built_in();
        let place = |at: usize| (at.checked_sub(1).map(|before| words[before]), words[at]);
        let one = |at: usize| {
            let (before, word) = place(at);
            secret(&rules, before, word)
                .map_or(word.to_owned(), |from| format!("{}‸", word.get(..from).unwrap()))
        };
        (0..words.len()).map(one).collect()
    }

    #[test]
    fn the_value_after_a_flag_is_a_secret_by_its_flag() {
        let check = |words: &[&str], expect: &[&str]| assert_eq!(left(words), expect, "{words:?}");
        for flag in [
            "--password",
            "--passwd",
            "--pass",
            "--token",
            "--client-secret",
            "--api-key",
            "--apikey",
            "--key",
            "--auth",
            "--bearer",
            "--pat",
            "--dsn",
            "--connection-string",
            "--dbPassword",
            "-token",
        ] {
            check(&[flag, "vy4"], &[flag, "‸"]);
            check(&[flag, "--verbose"], &[flag, "--verbose"]);
            check(&[flag, "${env:MINE}"], &[flag, "${env:MINE}"]);
            let joined = format!("{flag}=vy4");
            check(&[&joined, "next"], &[&format!("{flag}=‸"), "next"]);
        }
        check(&["--token", "48151623"], &["--token", "‸"]);
        check(&["--password", "-9x!"], &["--password", "‸"]);
        check(&["-H", "Authorization: Bearer vy4"], &["-H", "Authorization: Bearer ‸"]);
        check(&["--header", "X-Api-Key:vy4"], &["--header", "X-Api-Key:‸"]);
        check(&["--header=X-Api-Key: vy4"], &["--header=X-Api-Key: ‸"]);
        check(&["-e", "PGPASSWORD=vy4", "-e", "LEVEL=info"], &["-e", "PGPASSWORD=‸", "-e", "LEVEL=info"]);
        check(&["--env=API_KEY=vy4", "-eMY_TOKEN=vy4"], &["--env=API_KEY=‸", "-eMY_TOKEN=‸"]);
        check(&["-u", "me:vy4", "--user", "1000:1000"], &["-u", "me:‸", "--user", "1000:1000"]);
        let form = format!("ghp_{}", "k1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8");
        check(&["-e", &format!("WHAT={form}")], &["-e", "‸"]);
        check(&["--verbose", &form], &["--verbose", "‸"]);
    }

    #[test]
    fn what_only_names_a_place_is_copied() {
        for words in [
            &["-e", "API_KEY"][..],
            &["--key-file", "/run/one"],
            &["--key", "/etc/tls/one.pem"],
            &["--token-env", "MINE"],
            &["--secret-env", "MINE"],
            &["--password-file", "one"],
            &["--no-password", "one"],
            &["--auth", "none"],
            &["--max-tokens", "4096"],
            &["-p", "8080"],
            &["--header", "Authorization: Bearer ${MINE}"],
            &["-H", "localhost:9000"],
            &["-H", "Accept: text/plain"],
            &["--port", "9000", "password"],
        ] {
            assert_eq!(left(words), words, "{words:?}");
        }
    }
}
