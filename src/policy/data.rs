//! data.yaml: handed to the redaction room, whose complaints get their places here.

use super::{
    source::{Kind, Node, Report},
    typed,
};
use crate::redaction::{DataRules, DataSpec};
use std::collections::BTreeSet;

/// The names of the classes of data, right or wrong as the rest of data.yaml may be.
pub(super) fn classes(root: Option<&Node>) -> BTreeSet<String> {
    let own = root.and_then(|root| root.get("classes")).map(Node::entries).unwrap_or_default();
    let built_in = DataRules::built_in_classes().map(str::to_owned);
    own.iter().map(|entry| entry.key.clone()).chain(built_in).collect()
}

/// Compiles data.yaml, or takes the built-in rules where there is none, or nothing in it.
pub(super) fn compile(root: Option<&Node>, report: &mut Report<'_>) -> DataRules {
    let Some(root) = root.filter(|root| !matches!(root.kind, Kind::Null)) else {
        return DataRules::built_in();
    };
    let (spec, tree) = typed::read::<DataSpec>(root, report);
    match DataRules::compile(&spec) {
        Ok(rules) => rules,
        Err(errors) => {
            for error in errors {
                report.error(tree.at_path(&error.path).start, error.message, error.expected);
            }
            DataRules::built_in()
        }
    }
}
