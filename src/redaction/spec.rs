//! data.yaml as an admin writes it, before it is checked and compiled.

use super::token::TokenScope;
use crate::model::Sensitivity;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The whole file. Every part may be absent; an empty file is the built-in default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Labels for kinds of data, and how sensitive each is; also changes the level of a built-in one.
    pub classes: BTreeMap<String, Sensitivity>,
    /// Built-in detectors switched or put into another class, and own ones, by name.
    pub detectors: BTreeMap<String, DetectorSpec>,
    /// Names of fields whose values are sensitive, whatever they hold.
    pub fields: BTreeMap<String, FieldSpec>,
    /// What happens to what was found on its way; the first that matches and says something counts.
    pub rules: Vec<RuleSpec>,
    /// What is not sensitive although it looks so.
    pub allow: Vec<AllowSpec>,
    /// What data is labelled with by where it comes from, whatever is found in it.
    pub sources: Vec<SourceSpec>,
}

/// One entry of `detectors`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectorSpec {
    /// `false` switches it off.
    pub enabled: Option<bool>,
    /// The class of what it finds.
    pub class: Option<String>,
    /// For an own detector: a regular expression in ASCII.
    pub pattern: Option<String>,
}

/// One entry of `fields`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FieldSpec {
    /// `false`: a field of this name is not sensitive by its name.
    pub enabled: Option<bool>,
    /// The class of what it holds; `sensitive` where absent.
    pub class: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSpec {
    /// Named where the rule blocks, and in the vault of `tokenize`; else its position from 1.
    pub id: Option<String>,
    /// Which calls; any entry may match; absent: all.
    pub on: Vec<OnSpec>,
    /// Globs over detector names.
    pub detectors: Vec<String>,
    /// Class names.
    pub classes: Vec<String>,
    /// Places that are sensitive by this rule, whatever they hold.
    pub pointers: Vec<String>,
    /// What happens to arguments on their way to the upstream.
    pub arguments: Option<Action>,
    /// What happens to results on their way to the agent.
    pub results: Option<Action>,
    /// With `tokenize`: which calls get the value for its placeholder; any entry may match. Absent: those of `on`.
    pub permitted: Vec<OnSpec>,
    /// With `tokenize`: who may use a placeholder; absent: the agent that got it.
    pub scope: Option<TokenScope>,
}

/// One entry of `on`; all keys that are there must match.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnSpec {
    /// Glob over the upstream's name.
    pub upstream: Option<String>,
    /// Glob over the exposed tool name.
    pub tool: Option<String>,
    /// Pattern over a resource's URI, as policies have it.
    pub resource: Option<String>,
    /// Glob over the labels of tool and upstream.
    pub label: Option<String>,
}

/// One entry of `allow`: exactly one of `sha256`, `pointer` and `pattern`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AllowSpec {
    /// The SHA-256 of the whole value, in hex.
    pub sha256: Option<String>,
    /// A place; everything in it is allowed.
    pub pointer: Option<String>,
    /// A regular expression in ASCII that the whole value matches.
    pub pattern: Option<String>,
    /// For these detectors only (globs); absent: for all.
    pub detectors: Vec<String>,
    /// For these calls only; absent: for all.
    pub on: Vec<OnSpec>,
    /// Why; for people.
    pub reason: Option<String>,
}

/// One entry of `sources`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// Which calls' results; any entry may match.
    pub on: Vec<OnSpec>,
    /// Names of classes, and levels.
    pub labels: Vec<String>,
}

/// What happens to a sensitive value on its way. `tokenize` masks where no vault can keep the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It passes as it is.
    Keep,
    /// It becomes `[redacted:<detector>:<length>]`.
    Mask,
    /// It becomes `[hash:<detector>:<hex>]`, the same for the same value.
    Hash,
    /// It is taken out: the member, the element, or the piece of text.
    Drop,
    /// The call or the result is refused.
    Block,
    /// It becomes `[token:<detector>:<hex>]`, for which a permitted upstream gets the value.
    Tokenize,
}

impl Action {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Mask => "mask",
            Self::Hash => "hash",
            Self::Drop => "drop",
            Self::Block => "block",
            Self::Tokenize => "tokenize",
        }
    }
}

/// Which way a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Arguments,
    Results,
    Shown,
}
