//! What `${NAME}` in servers.toml stands for: the variable of this process, else the line of the file beside servers.toml.

use crate::{
    config,
    model::{Place, Problem, Problems, Severity},
};
use secrecy::{ExposeSecret as _, SecretString};
use std::{collections::BTreeMap, path::Path};

/// Variables of this process, and those of the file beside a servers.toml.
#[derive(Debug, Default)]
pub(super) struct Environment {
    beside: BTreeMap<String, SecretString>,
}

impl Environment {
    /// That of a servers.toml. A file that cannot be read is an error: what is named would silently be missing.
    pub(super) fn of(servers_toml: &Path) -> Result<Self, Problems> {
        match config::variables_beside(servers_toml) {
            Ok(beside) => Ok(Self { beside }),
            Err(message) => {
                let file = config::variables_file(servers_toml).display().to_string();
                let expected = "NAME=value on each line; `#` begins a comment".to_owned();
                let place = Place { file, line: 0, column: 0 };
                let severity = Severity::Error;
                Err(Problems(vec![Problem { place, severity, message, expected, strict: false }]))
            }
        }
    }

    /// The same where other things may be wrong, too.
    pub(super) fn as_far_as_read(servers_toml: &Path) -> Self {
        Self::of(servers_toml).unwrap_or_default()
    }

    /// These, in place of what is in the file.
    pub(super) fn with(beside: BTreeMap<String, SecretString>) -> Self {
        Self { beside }
    }

    /// What a name stands for.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().or_else(|| Some(self.beside.get(name)?.expose_secret().to_owned()))
    }
}
