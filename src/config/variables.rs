//! Files of `NAME=value` lines: an upstream's `env_file`, and the one beside servers.toml that holds what `${NAME}` in it stands
//! for. No message shows a value.

use super::file::read_file;
use crate::policy::read::short;
use secrecy::{ExposeSecret as _, SecretString};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The file of variables beside a servers.toml: `servers.env`.
pub fn variables_file(servers_toml: &Path) -> PathBuf {
    servers_toml.with_extension("env")
}

/// What it holds; nothing where there is none.
pub fn variables_beside(servers_toml: &Path) -> Result<BTreeMap<String, SecretString>, String> {
    let path = variables_file(servers_toml);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = read_file(&path).map_err(|unreadable| unreadable.why)?;
    read(&text, &path.display().to_string())
}

/// Reads such lines. The error is a sentence without a value.
pub(super) fn read(text: &str, shown: &str) -> Result<BTreeMap<String, SecretString>, String> {
    let mut read = BTreeMap::new();
    for line in dotenvy::Iter::new(literal(text.trim_start_matches('\u{feff}')).as_bytes()) {
        match line {
            Ok((name, value)) if env_name(&name).is_ok() && !value.contains('\0') => {
                read.insert(name, SecretString::from(value.replace(DOLLAR, "$")));
            }
            Ok((name, _)) => {
                let why = env_name(&name).err().unwrap_or("a value without NUL");
                return Err(format!(
                    "`{}` in `{shown}` cannot be a variable of a child, as all of this file are (expected {why})",
                    short(&name)
                ));
            }
            Err(_) => {
                return Err(format!(
                    "`{shown}` has a line that is not NAME=value (not shown: it may hold a secret)"
                ));
            }
        }
    }
    Ok(read)
}

/// One such line.
pub fn variable_line(name: &str, value: &SecretString) -> String {
    let mut out = format!("{name}=\"");
    for c in value.expose_secret().chars() {
        match c {
            '\\' | '"' | '$' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out + "\"\n"
}

/// Stands for a `$` while a file of variables is read.
const DOLLAR: char = '\u{1}';

pub(super) fn env_name(name: &str) -> Result<(), &'static str> {
    let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !good {
        return Err("a variable's name: letters, digits and _");
    }
    if name.starts_with("TOLLGATE_") {
        return Err("another name: a child never gets TOLLGATE_*");
    }
    Ok(())
}

/// The text with every `$` that is not escaped as [`DOLLAR`]. `dotenvy` would put variables of Tollgate's own environment in
/// its place, `TOLLGATE_KEY` among them, and a password that has one would reach the child without it.
fn literal(text: &str) -> String {
    let mut escaped = false;
    let one = |c: char| {
        let literal = c == '$' && !escaped;
        escaped = c == '\\' && !escaped;
        if literal { DOLLAR } else { c }
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        for value in
            ["plain", "a b#c", "pa$$w0rd", "q\"uo'te", "back\\slash\\", "two\nlines", "${X}", "ümläut", ""]
        {
            let line = variable_line("A", &SecretString::from(value));
            let read = read(&line, "x").unwrap_or_else(|why| panic!("{why}: {line}"));
            assert_eq!(read["A"].expose_secret(), value, "{line}");
        }
        assert_eq!(variables_file(Path::new("/srv/servers.toml")), Path::new("/srv/servers.env"));
    }
}
