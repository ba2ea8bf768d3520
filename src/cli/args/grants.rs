//! `grants …`, and what makes a standing grant of an approval.

use super::*;
use crate::store::{Bound, GrantAnswer};
use serde_json::Value;
use std::time::Duration;

/// `grants …`
#[derive(Debug, Subcommand)]
pub(crate) enum GrantsCommand {
    /// List the grants that are live, newest first
    List {
        /// Also those that have ended: used up, expired, revoked, or by other policies or another tool
        #[arg(long)]
        all: bool,
        /// Only those of this agent. This and the tool's name can be globs: `*` is anything but `/`, `**` anything
        #[arg(long, value_name = "NAME", value_parser = pattern)]
        agent: Option<Pattern>,
        /// Only those for this tool, as the agent sees it
        #[arg(long, value_name = "NAME", value_parser = target)]
        tool: Option<Pattern>,
        /// Only grants made before this one: the next page of a listing that stopped at its limit
        #[arg(long, value_name = "ID")]
        before: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
        limit: u32,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Show one grant: what it covers, who made it, and the calls that it let through
    Show {
        /// Its id
        id: String,
        #[command(flatten)]
        json: JsonFlag,
    },
    /// Take one back; needs TOLLGATE_KEY of the approver who made it, or of an admin
    Revoke {
        /// Its id
        id: String,
        /// Why; kept in the record
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
        #[command(flatten)]
        json: JsonFlag,
    },
}

/// `approvals approve`
#[derive(Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) answer: DecideArgs,
    /// Also let calls like this one through for so long, where the rule allows it (`grants`), like 1h
    #[arg(long, value_name = "DURATION", requires = "uses", value_parser = humantime::parse_duration)]
    pub(crate) grant: Option<Duration>,
    /// How many calls the grant lets through
    #[arg(long, value_name = "N", requires = "grant", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) uses: Option<u64>,
    /// What an argument may be under the grant: `path within /scratch`, `name glob report-*`, `mode = draft`, `note any`.
    /// One that is not named must be as it was asked for. May be given more than once
    #[arg(long = "where", value_name = "BOUND", requires = "grant", value_parser = bound)]
    pub(crate) bounds: Vec<(String, Bound)>,
}

impl ApproveArgs {
    /// The grant that is asked for.
    pub(crate) fn grant(&self) -> Option<GrantAnswer> {
        let (duration, uses) = (self.grant?, self.uses?);
        Some(GrantAnswer { duration, uses, arguments: self.bounds.iter().cloned().collect() })
    }
}

/// Reads `ARGUMENT within PATH`, `ARGUMENT glob PATTERN`, `ARGUMENT = VALUE` and `ARGUMENT any`. A value is JSON; what is
/// none is text.
fn bound(text: &str) -> Result<(String, Bound), String> {
    const EXPECTED: &str =
        "expected `ARGUMENT within PATH`, `ARGUMENT glob PATTERN`, `ARGUMENT = VALUE` or `ARGUMENT any`";
    let (name, rest) = text.trim().split_once(char::is_whitespace).ok_or(EXPECTED)?;
    let rest = rest.trim();
    let (kind, value) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let value = value.trim();
    let bound = match (kind, value) {
        ("any", "") => Bound::Any(true),
        ("within" | "glob" | "=", "") => return Err(format!("`{kind}` says nothing: {EXPECTED}")),
        ("within", root) => Bound::Within(root.to_owned()),
        ("glob", pattern) => Bound::Glob(pattern.to_owned()),
        ("=", value) => Bound::Equals(
            crate::model::json::parse(value.as_bytes()).unwrap_or_else(|_| Value::String(value.to_owned())),
        ),
        _ => return Err(EXPECTED.to_owned()),
    };
    Ok((name.to_owned(), bound))
}

/// A bound as `--where` takes it.
pub(crate) fn where_of(name: &str, bound: &Bound) -> String {
    match bound {
        Bound::Equals(value) => format!("{name} = {value}"),
        Bound::Glob(pattern) => format!("{name} glob {pattern}"),
        Bound::Within(root) => format!("{name} within {root}"),
        Bound::Any(_) => format!("{name} any"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// R87
    #[test]
    fn bounds_are_read_as_people_write_them() {
        let check = |text: &str, expect: Bound| {
            let (name, read) = bound(text).unwrap();
            assert_eq!((name.as_str(), &read), ("path", &expect), "{text}");
            assert_eq!(bound(&where_of(&name, &read)), Ok((name, read)), "{text}");
        };
        check("path within /scratch", Bound::Within("/scratch".into()));
        check("  path   within   /a b ", Bound::Within("/a b".into()));
        check("path glob report-*", Bound::Glob("report-*".into()));
        check("path = 5", Bound::Equals(json!(5)));
        check("path = \"5\"", Bound::Equals(json!("5")));
        check("path = a draft", Bound::Equals(json!("a draft")));
        check("path = {\"a\": [1, true]}", Bound::Equals(json!({"a": [1, true]})));
        check("path any", Bound::Any(true));
        for wrong in ["", "path", "path within", "path =", "path any thing", "path under /a", "path=5"] {
            assert!(bound(wrong).unwrap_err().contains("expected `ARGUMENT within PATH`"), "{wrong}");
        }
    }
}
