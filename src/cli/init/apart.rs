//! What looks like a secret in a new entry of servers.toml goes into the file of variables beside it, and `${NAME}` stands for it:
//! for `servers add` as for `init --add`.

use super::{
    keychain::Keychain,
    set_here,
    variables::Variables,
    write::{self, named_in},
};
use crate::{
    cli::{edit::file::Opened, environment::Environment, failure::CliError},
    config,
    redaction::DataRules,
};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// An entry without secrets, and where they are.
pub(in crate::cli) struct Apart {
    pub(in crate::cli) entry: Value,
    /// The file of variables with what comes into it; none where nothing does.
    pub(in crate::cli) file: Option<(Opened, String)>,
    pub(in crate::cli) path: PathBuf,
    /// The variables, with what each is for.
    pub(in crate::cli) names: Vec<(String, String)>,
    /// What references mean with them.
    pub(in crate::cli) environment: Environment,
}

/// Of the entry of a server that is called so.
pub(in crate::cli) fn secrets_apart(
    servers_toml: &Path,
    name: &str,
    entry: &Map<String, Value>,
) -> Result<Apart, CliError> {
    let text = Opened::read(servers_toml)?;
    let path = config::variables_file(servers_toml);
    let opened = Opened::read(&path)?;
    let kept = config::variables_beside(servers_toml).map_err(CliError::Told)?;
    // A name that servers.toml has means what it means there.
    let mut taken = set_here();
    taken.extend(named_in(text.text()).into_iter().map(|name| (name, None)));
    taken.extend(Keychain::names_in(servers_toml, text.text()).into_iter().map(|name| (name, None)));
    taken.extend(kept.iter().map(|(name, value)| (name.clone(), Some(value.clone()))));
    let mut variables = Variables::of_ours().beside(taken);
    let entry = without_secrets(name, entry, &mut variables);
    let known = variables.known();
    let names: Vec<(String, String)> = known
        .keys()
        .filter_map(|name| Some(((*name).to_owned(), variables.needed.get(*name)?.clone())))
        .collect();
    let mut values = kept.clone();
    values.extend(known.iter().map(|(name, value)| ((*name).to_owned(), (*value).clone())));
    let file = (!names.is_empty()).then(|| {
        let text = write::more_variables(opened.text(), &kept, &known);
        (opened, text)
    });
    Ok(Apart { entry, file, path, names, environment: Environment::with(values) })
}

fn without_secrets(name: &str, entry: &Map<String, Value>, variables: &mut Variables) -> Value {
    let rules = DataRules::built_in();
    let mut new = entry.clone();
    for (member, value) in &mut new {
        match (member.as_str(), value) {
            ("command", Value::Array(words)) => {
                let plain: Vec<String> = words.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                let word = |place| json!(write::word(&plain, place, name, &rules, variables));
                *words = (0..plain.len()).map(word).collect();
            }
            ("url", Value::String(url)) => *url = write::clean_url(url, name, &rules, variables),
            (member @ ("env" | "headers"), Value::Object(pairs)) => {
                for (key, value) in pairs {
                    let text = value.as_str().unwrap_or_default();
                    *value = json!(write::value(member, (key, text), name, &rules, variables));
                }
            }
            (_, _) => {}
        }
    }
    Value::Object(new)
}
