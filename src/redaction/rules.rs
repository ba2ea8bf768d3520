//! data.yaml checked and compiled: which detectors look, what their findings are called, and what
//! happens to them on their way.

mod compile;

use super::{
    detector::{BUILT_IN, CLASSES, Kind},
    field::FieldNames,
    inspected::Place,
    mask::{HashKey, digest},
    scan::Scanner,
    spec::{Action, DataSpec, Direction},
    token::{Caller, TokenScope},
};
use crate::model::{Glob, Sensitivity, UriPattern, pointer::Pointer};
use compile::Compile;
use regex_automata::{Anchored, Input, meta};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, LazyLock},
};

const MAX_OWN: usize = 64;
const MAX_FIELDS: usize = 512;
const MAX_RULES: usize = 256;
const MAX_ALLOW: usize = 1024;
const MAX_SOURCES: usize = 256;
/// With the built-in ones. What has reached a session is remembered by their names.
const MAX_CLASSES: usize = 64;
const MAX_PATTERN: usize = 256;
const MAX_MATCH: usize = 1024;

/// What is wrong in data.yaml.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{path}: {message} (expected {expected})")]
pub struct DataError {
    /// Where: `rules[0].on[1].tool`.
    pub path: String,
    /// What, with the offending text in backticks.
    pub message: String,
    /// What would have been right.
    pub expected: String,
}

/// A name of data of one kind, and how sensitive it is.
#[derive(Clone, Debug)]
pub(super) struct Class {
    pub(super) name: Arc<str>,
    pub(super) level: Sensitivity,
}

#[derive(Clone, Debug)]
pub(super) struct Detector {
    pub(super) name: Arc<str>,
    pub(super) class: usize,
}

#[derive(Clone, Debug)]
struct On {
    upstream: Option<Glob>,
    tool: Option<Glob>,
    resource: Option<UriPattern>,
    label: Option<Glob>,
}

/// Which calls a rule or an allowance concerns; empty: all.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls(Vec<On>);

impl Calls {
    pub(super) fn has(&self, upstream: &str, tool: &str, labels: &[Arc<str>]) -> bool {
        let matches = |glob: &Option<Glob>, text: &str| glob.as_ref().is_none_or(|glob| glob.matches(text));
        self.0.is_empty()
            || self.0.iter().any(|on| {
                matches(&on.upstream, upstream)
                    && matches(&on.tool, tool)
                    // Only a URI has a colon.
                    && on.resource.as_ref().is_none_or(|uri| tool.contains(':') && uri.concerns(tool))
                    && on.label.as_ref().is_none_or(|glob| labels.iter().any(|label| glob.matches(label)))
            })
    }

    pub(super) fn is_everywhere(&self) -> bool {
        self.0.is_empty()
    }
}

#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) id: Arc<str>,
    pub(super) on: Calls,
    /// By kind.
    kinds: Vec<bool>,
    pub(super) pointers: Vec<Pointer>,
    arguments: Option<Action>,
    results: Option<Action>,
    /// What it says of its placeholders; none where it makes none.
    pub(super) token: Option<TokenRule>,
}

impl Rule {
    pub(super) fn concerns(&self, kind: Kind) -> bool {
        self.kinds.get(usize::from(kind.0)).copied().unwrap_or(false)
    }

    pub(super) fn action(&self, direction: Direction) -> Option<Action> {
        match direction {
            Direction::Arguments => self.arguments,
            Direction::Results => self.results,
            Direction::Shown => None,
        }
    }
}

/// What a rule says of its placeholders.
#[derive(Clone, Debug)]
pub(super) struct TokenRule {
    /// Names the rule in the vault.
    pub(super) id: Arc<str>,
    pub(super) scope: TokenScope,
    /// Who may have the values; none: where the rule itself looks.
    pub(super) permitted: Option<Calls>,
}

impl TokenRule {
    pub(super) fn permits(&self, on: &Calls, place: &Place<'_>) -> bool {
        self.permitted.as_ref().unwrap_or(on).has(place.upstream, place.tool, place.labels)
    }

    /// Whether the value goes on as it is, since its upstream may have it.
    pub(super) fn passes(&self, on: &Calls, place: &Place<'_>, direction: Direction) -> bool {
        direction == Direction::Arguments && self.permits(on, place)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Allowed {
    Digest([u8; 32]),
    At(Pointer),
    Pattern(Box<meta::Regex>),
}

#[derive(Clone, Debug)]
pub(super) struct Allow {
    pub(super) what: Allowed,
    pub(super) on: Calls,
    kinds: Vec<bool>,
}

impl Allow {
    pub(super) fn concerns(&self, kind: Kind) -> bool {
        self.kinds.get(usize::from(kind.0)).copied().unwrap_or(false)
    }

    /// Whether this whole value is allowed, wherever it stands.
    pub(super) fn has_value(&self, value: &str) -> bool {
        match &self.what {
            Allowed::Digest(expected) => digest(value) == *expected,
            Allowed::Pattern(regex) => {
                let input = Input::new(value.as_bytes()).anchored(Anchored::Yes);
                regex.search(&input).is_some_and(|hit| hit.end() == value.len())
            }
            Allowed::At(_) => false,
        }
    }
}

/// `sources`: what comes from somewhere is labelled whatever is found in it.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) on: Calls,
    pub(super) level: Option<Sensitivity>,
    /// Places among the classes.
    pub(super) classes: Vec<usize>,
}

/// The compiled data.yaml, or the built-in default. Cheap to clone.
#[derive(Clone)]
pub struct DataRules {
    pub(super) inner: Arc<Inner>,
    pub(super) key: Option<HashKey>,
    /// For whom placeholders are made; nobody: values are masked in their place.
    pub(super) caller: Option<Arc<Caller>>,
}

pub(super) struct Inner {
    pub(super) detectors: Vec<Detector>,
    pub(super) classes: Vec<Class>,
    pub(super) scanner: Scanner,
    pub(super) rules: Vec<Rule>,
    pub(super) allow: Vec<Allow>,
    pub(super) sources: Vec<Source>,
}

impl fmt::Debug for DataRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataRules")
            .field("detectors", &self.inner.detectors.len())
            .field("rules", &self.inner.rules.len())
            .field("allow", &self.inner.allow.len())
            .finish_non_exhaustive()
    }
}

impl Default for DataRules {
    fn default() -> Self {
        Self::built_in()
    }
}

static BUILT_IN_RULES: LazyLock<DataRules> = LazyLock::new(|| {
    // The built-in patterns are constant and tested; were they not to compile, everything is masked.
    DataRules::compile(&DataSpec::default()).unwrap_or_else(|_| DataRules {
        inner: Arc::new(Inner {
            detectors: Compile::built_in_detectors(),
            classes: Compile::built_in_classes(),
            scanner: Scanner::of_everything(FieldNames::new()),
            rules: Vec::new(),
            allow: Vec::new(),
            sources: Vec::new(),
        }),
        key: None,
        caller: None,
    })
});

impl DataRules {
    /// What holds without data.yaml: every detector looks, nothing is changed on its way, and what is
    /// recorded or shown is masked.
    pub fn built_in() -> Self {
        BUILT_IN_RULES.clone()
    }

    /// Checks and compiles data.yaml; all errors together.
    pub fn compile(spec: &DataSpec) -> Result<Self, Vec<DataError>> {
        let mut compile = Compile {
            errors: Vec::new(),
            detectors: Compile::built_in_detectors(),
            classes: Compile::built_in_classes(),
            enabled: vec![true; BUILT_IN.len()],
        };
        let inner = compile.all(spec);
        match inner {
            Some(inner) if compile.errors.is_empty() => {
                Ok(Self { inner: Arc::new(inner), key: None, caller: None })
            }
            Some(_) | None => Err(compile.errors),
        }
    }

    /// The same with the store's key for `hash` and `tokenize`. Without a key they mask.
    #[must_use]
    pub fn with_key(mut self, key: [u8; 32]) -> Self {
        self.key = Some(HashKey::new(key));
        self
    }

    /// Whether a rule says `hash` or `tokenize`.
    pub fn needs_key(&self) -> bool {
        let keyed = [Some(Action::Hash), Some(Action::Tokenize)];
        self.inner.rules.iter().any(|rule| keyed.contains(&rule.arguments) || keyed.contains(&rule.results))
    }

    /// The names of the classes that are there without data.yaml.
    pub fn built_in_classes() -> impl Iterator<Item = &'static str> {
        CLASSES.iter().map(|(name, _)| *name)
    }

    /// The name of every detector with its class and level, for people.
    pub fn detectors(&self) -> impl Iterator<Item = (&str, &str, Sensitivity)> {
        self.inner.detectors.iter().filter_map(|detector| {
            let class = self.inner.classes.get(detector.class)?;
            Some((&*detector.name, &*class.name, class.level))
        })
    }
}

/// What the classes of these findings say together.
pub(super) fn labels(inner: &Inner, kinds: impl Iterator<Item = Kind>) -> BTreeMap<Arc<str>, Sensitivity> {
    kinds
        .filter_map(|kind| inner.detectors.get(usize::from(kind.0)))
        .filter_map(|detector| inner.classes.get(detector.class))
        .map(|class| (class.name.clone(), class.level))
        .collect()
}
