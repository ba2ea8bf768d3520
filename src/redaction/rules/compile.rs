//! data.yaml, checked and compiled.

use super::{
    Allow, Allowed, Calls, Class, DataError, Detector, Inner, MAX_ALLOW, MAX_CLASSES, MAX_FIELDS, MAX_MATCH,
    MAX_OWN, MAX_PATTERN, MAX_RULES, MAX_SOURCES, On, Rule, Source, TokenRule,
};
use crate::{
    model::{Glob, Sensitivity, UriPattern, UriPatternError, pointer::Pointer},
    redaction::{
        detector::{BUILT_IN, CLASSES, Kind},
        field::{FieldNames, plain},
        mask::MAX_NAME,
        scan::{Scanner, config, syntax},
        spec::{Action, DataSpec, OnSpec, RuleSpec},
    },
};
use regex_automata::meta;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

/// data.yaml on its way to rules; its errors are gathered.
pub(super) struct Compile {
    pub(super) errors: Vec<DataError>,
    pub(super) detectors: Vec<Detector>,
    pub(super) classes: Vec<Class>,
    pub(super) enabled: Vec<bool>,
}

const NAME_FORM: &str = "1 to 48 of a-z, 0-9, `_` and `-`";

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
}

fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

impl Compile {
    pub(super) fn built_in_classes() -> Vec<Class> {
        CLASSES.iter().map(|(name, level)| Class { name: Arc::from(*name), level: *level }).collect()
    }

    pub(super) fn built_in_detectors() -> Vec<Detector> {
        BUILT_IN
            .iter()
            .map(|(name, class)| Detector {
                name: Arc::from(*name),
                class: CLASSES.iter().position(|(known, _)| known == class).unwrap_or(0),
            })
            .collect()
    }

    fn error(&mut self, path: impl Into<String>, message: impl Into<String>, expected: impl Into<String>) {
        self.errors.push(DataError { path: path.into(), message: message.into(), expected: expected.into() });
    }

    fn limit(&mut self, path: &str, count: usize, most: usize) {
        if count > most {
            self.error(path, format!("{count} entries"), format!("at most {most}"));
        }
    }

    fn class(&mut self, path: String, name: &str) -> usize {
        if let Some(at) = self.classes.iter().position(|class| *class.name == *name) {
            return at;
        }
        let known: Vec<&str> = self.classes.iter().map(|class| &*class.name).collect();
        let expected = format!("a name under `classes`, or one of {}", known.join(", "));
        self.error(path, format!("no class is named `{}`", short(name)), expected);
        0
    }

    pub(super) fn all(&mut self, spec: &DataSpec) -> Option<Inner> {
        self.limit("fields", spec.fields.len(), MAX_FIELDS);
        self.limit("rules", spec.rules.len(), MAX_RULES);
        self.limit("allow", spec.allow.len(), MAX_ALLOW);
        self.limit("sources", spec.sources.len(), MAX_SOURCES);
        self.classes(spec);
        let own = self.detectors(spec);
        let fields = self.fields(spec);
        let rules: Vec<Rule> =
            spec.rules.iter().enumerate().take(MAX_RULES).map(|(at, _)| self.rule(spec, at)).collect();
        let allow: Vec<Allow> =
            (0..spec.allow.len().min(MAX_ALLOW)).filter_map(|at| self.allowance(spec, at)).collect();
        let sources: Vec<Source> =
            (0..spec.sources.len().min(MAX_SOURCES)).filter_map(|at| self.source(spec, at)).collect();
        if !self.errors.is_empty() {
            return None;
        }
        let names = self.detectors.iter().map(|detector| Box::from(&*detector.name)).collect();
        let own: Vec<(Kind, &str, usize)> =
            own.iter().map(|(kind, text, min)| (*kind, &**text, *min)).collect();
        match Scanner::compile(self.enabled.clone(), &own, names, fields) {
            Ok(scanner) => Some(Inner {
                detectors: self.detectors.clone(),
                classes: self.classes.clone(),
                scanner,
                rules,
                allow,
                sources,
            }),
            Err(message) => {
                self.error(
                    "detectors",
                    format!("the patterns together are too large: {message}"),
                    "fewer or smaller ones",
                );
                None
            }
        }
    }

    fn classes(&mut self, spec: &DataSpec) {
        self.limit("classes", spec.classes.len(), MAX_CLASSES - CLASSES.len());
        for (name, level) in &spec.classes {
            if !is_name(name) || Sensitivity::from_word(name).is_some() {
                let expected = format!("{NAME_FORM}, and no level");
                self.error(
                    format!("classes.{}", short(name)),
                    format!("`{}` cannot name a class", short(name)),
                    expected,
                );
                continue;
            }
            match self.classes.iter_mut().find(|class| *class.name == **name) {
                Some(class) => class.level = *level,
                None => self.classes.push(Class { name: Arc::from(&**name), level: *level }),
            }
        }
    }

    /// Own detectors with their patterns and shortest matches.
    fn detectors(&mut self, spec: &DataSpec) -> Vec<(Kind, String, usize)> {
        let mut own = Vec::new();
        for (name, detector) in &spec.detectors {
            let path = format!("detectors.{}", short(name));
            let class = detector.class.as_ref().map(|class| self.class(format!("{path}.class"), class));
            let built_in = BUILT_IN.iter().position(|(known, _)| known == name);
            match (built_in, &detector.pattern) {
                (Some(_), Some(_)) => {
                    let message = format!("`{name}` is built in and has its own pattern");
                    self.error(format!("{path}.pattern"), message, "no `pattern` here, or another name");
                }
                (Some(at), None) => {
                    if let Some(slot) = self.enabled.get_mut(at) {
                        *slot = detector.enabled.unwrap_or(true);
                    }
                    if let (Some(class), Some(slot)) = (class, self.detectors.get_mut(at)) {
                        slot.class = class;
                    }
                }
                (None, None) => {
                    let message =
                        format!("no detector named `{}` is built in, and it has no pattern", short(name));
                    let known: Vec<&str> = BUILT_IN.iter().map(|(name, _)| *name).collect();
                    self.error(path, message, format!("a `pattern`, or one of {}", known.join(", ")));
                }
                (None, Some(_)) if !is_name(name) => {
                    self.error(path, format!("`{}` cannot name a detector", short(name)), NAME_FORM);
                }
                (None, Some(pattern)) => {
                    if own.len() == MAX_OWN {
                        self.error(
                            "detectors",
                            format!("more than {MAX_OWN} own detectors"),
                            format!("at most {MAX_OWN}"),
                        );
                        return own;
                    }
                    let shortest = self.pattern(&format!("{path}.pattern"), pattern, true);
                    let kind = Kind(u16::try_from(self.detectors.len()).unwrap_or(u16::MAX));
                    let class = class.unwrap_or_else(|| self.class(path, "sensitive"));
                    self.detectors.push(Detector { name: Arc::from(&**name), class });
                    self.enabled.push(detector.enabled.unwrap_or(true));
                    own.extend(shortest.map(|shortest| (kind, pattern.clone(), shortest)));
                }
            }
        }
        own
    }

    /// Checks a pattern, and gives its shortest match.
    fn pattern(&mut self, path: &str, pattern: &str, bounded: bool) -> Option<usize> {
        if pattern.len() > MAX_PATTERN || !pattern.is_ascii() {
            let message = format!("`{}` is too long or not ASCII", short(pattern));
            self.error(path, message, format!("at most {MAX_PATTERN} characters, ASCII only"));
            return None;
        }
        let parsed = match regex_automata::util::syntax::parse_with(pattern, &syntax()) {
            Ok(parsed) => parsed,
            Err(error) => {
                let message = format!("`{pattern}` is not a regular expression: {error}");
                self.error(path, message, "a regular expression without look-around and back references");
                return None;
            }
        };
        let (min, max) = (parsed.properties().minimum_len(), parsed.properties().maximum_len());
        let fits = |max: Option<usize>| max.is_some_and(|max| max <= MAX_MATCH);
        if bounded && (min.unwrap_or(0) < 3 || !fits(max)) {
            let message = format!("`{pattern}` can match too little or too much");
            self.error(
                path,
                message,
                format!("matches of 3 to {MAX_MATCH} bytes: write `{{1,64}}` for `+` and `*`"),
            );
            return None;
        }
        if let Err(error) = meta::Regex::builder().syntax(syntax()).configure(config()).build(pattern) {
            self.error(path, format!("`{pattern}` is too large: {error}"), "smaller repetitions");
            return None;
        }
        min.or(Some(0))
    }

    fn fields(&mut self, spec: &DataSpec) -> FieldNames {
        let mut fields = FieldNames::new();
        for (name, field) in spec.fields.iter().take(MAX_FIELDS) {
            let path = format!("fields.{}", short(name));
            if plain(name).is_empty() || name.len() > 64 {
                self.error(
                    path,
                    format!("`{}` cannot name a field", short(name)),
                    "a name of letters and digits",
                );
                continue;
            }
            if field.enabled == Some(false) {
                fields.add_own(name, None);
                continue;
            }
            let class = field.class.as_deref().unwrap_or("sensitive");
            let class = self.class(format!("{path}.class"), class);
            fields.add_own(name, Some(self.field_detector(class)));
        }
        fields
    }

    /// Own fields are found by `field_<class>`.
    fn field_detector(&mut self, class: usize) -> Kind {
        let class_name = self.classes.get(class).map_or("sensitive", |class| &*class.name);
        let name = format!("field_{}", class_name.chars().take(MAX_NAME - 6).collect::<String>());
        let at = match self
            .detectors
            .iter()
            .position(|detector| *detector.name == *name && detector.class == class)
        {
            Some(at) => at,
            None => {
                self.detectors.push(Detector { name: Arc::from(name), class });
                self.enabled.push(true);
                self.detectors.len() - 1
            }
        };
        Kind(u16::try_from(at).unwrap_or(u16::MAX))
    }

    fn glob(&mut self, path: String, text: &str) -> Option<Glob> {
        match Glob::parse(text) {
            Ok(glob) => Some(glob),
            Err(error) => {
                self.error(path, error.to_string(), "a glob");
                None
            }
        }
    }

    fn uri(&mut self, path: String, text: &str) -> Option<UriPattern> {
        match UriPattern::parse(text) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = match error {
                    UriPatternError::NotGlob => "is no glob",
                    UriPatternError::NoUri => "matches no URI in its canonical form",
                };
                let message = format!("`{}` {why}", short(text));
                self.error(path, message, "a pattern over URIs, like `file:///srv/hr/**`");
                None
            }
        }
    }

    fn calls(&mut self, path: &str, key: &str, on: &[OnSpec]) -> Calls {
        let mut calls = Vec::new();
        for (at, entry) in on.iter().enumerate() {
            let mut glob = |named: &str, text: &Option<String>| {
                let text = text.as_ref()?;
                self.glob(format!("{path}{key}[{at}].{named}"), text)
            };
            let entry = On {
                upstream: glob("upstream", &entry.upstream),
                tool: glob("tool", &entry.tool),
                label: glob("label", &entry.label),
                resource: entry
                    .resource
                    .as_ref()
                    .and_then(|text| self.uri(format!("{path}{key}[{at}].resource"), text)),
            };
            calls.push(entry);
        }
        Calls(calls)
    }

    /// Which kinds globs over detector names mean.
    fn kinds(&mut self, path: &str, globs: &[String], kinds: &mut [bool]) {
        for (at, text) in globs.iter().enumerate() {
            let path = format!("{path}.detectors[{at}]");
            let Some(glob) = self.glob(path.clone(), text) else { continue };
            let mut any = false;
            for (slot, detector) in kinds.iter_mut().zip(&self.detectors) {
                let hit = glob.matches(&detector.name);
                *slot |= hit;
                any |= hit;
            }
            if !any {
                self.error(
                    path,
                    format!("no detector is named `{}`", short(text)),
                    "a detector's name or a glob over names",
                );
            }
        }
    }

    fn pointer(&mut self, path: String, text: &str) -> Option<Pointer> {
        match Pointer::parse(text) {
            Ok(pointer) => Some(pointer),
            Err(error) => {
                self.error(path, error.to_string(), "a JSON pointer");
                None
            }
        }
    }

    /// What a rule says of its placeholders, and what it says of them in vain.
    fn token(&mut self, spec: &DataSpec, at: usize, rule: &RuleSpec) -> Option<TokenRule> {
        let path = format!("rules[{at}]");
        let tokenizes = |rule: &RuleSpec| [rule.arguments, rule.results].contains(&Some(Action::Tokenize));
        if !tokenizes(rule) {
            let idle = [("permitted", !rule.permitted.is_empty()), ("scope", rule.scope.is_some())];
            for (key, _) in idle.into_iter().filter(|(_, is_there)| *is_there) {
                self.error(
                    format!("{path}.{key}"),
                    format!("`{key}` does nothing here"),
                    "`tokenize` for `arguments` or `results`: it says who gets the value for its placeholder",
                );
            }
            return None;
        }
        if let Some(id) = &rule.id
            && spec.rules.iter().take(at).any(|other| tokenizes(other) && other.id.as_ref() == Some(id))
        {
            self.error(
                format!("{path}.id"),
                format!("another rule that tokenizes is `{}` too", short(id)),
                "an id of its own: placeholders are kept under it",
            );
        }
        // A rule without a name is known by what it says, so that another one in its place gives away none of its values.
        let unnamed = || format!("~{}", hex::encode(Sha256::digest(format!("{rule:?}"))));
        Some(TokenRule {
            id: rule.id.clone().unwrap_or_else(unnamed).into(),
            scope: rule.scope.unwrap_or_default(),
            permitted: (!rule.permitted.is_empty())
                .then(|| self.calls(&format!("{path}.permitted"), "", &rule.permitted)),
        })
    }

    fn rule(&mut self, spec: &DataSpec, at: usize) -> Rule {
        let path = format!("rules[{at}]");
        let position = (at + 1).to_string();
        let Some(rule) = spec.rules.get(at) else {
            return Rule {
                id: Arc::from(position),
                on: Calls::default(),
                kinds: Vec::new(),
                pointers: Vec::new(),
                arguments: None,
                results: None,
                token: None,
            };
        };
        if rule.arguments.is_none() && rule.results.is_none() {
            self.error(
                &path,
                "the rule says nothing",
                "`arguments` or `results` with keep, mask, hash, drop, tokenize or block",
            );
        }
        let everything = rule.detectors.is_empty() && rule.classes.is_empty() && rule.pointers.is_empty();
        let mut kinds = vec![everything; self.detectors.len()];
        self.kinds(&path, &rule.detectors, &mut kinds);
        for (class_at, class) in rule.classes.iter().enumerate() {
            let class = self.class(format!("{path}.classes[{class_at}]"), class);
            for (slot, detector) in kinds.iter_mut().zip(&self.detectors) {
                *slot |= detector.class == class;
            }
        }
        let mut pointers = Vec::new();
        for (pointer_at, text) in rule.pointers.iter().enumerate() {
            pointers.extend(self.pointer(format!("{path}.pointers[{pointer_at}]"), text));
        }
        Rule {
            id: Arc::from(rule.id.as_deref().unwrap_or(&position)),
            on: self.calls(&path, ".on", &rule.on),
            kinds,
            pointers,
            arguments: rule.arguments,
            results: rule.results,
            token: self.token(spec, at, rule),
        }
    }

    fn allowance(&mut self, spec: &DataSpec, at: usize) -> Option<Allow> {
        let path = format!("allow[{at}]");
        let allow = spec.allow.get(at)?;
        let what = match (&allow.sha256, &allow.pointer, &allow.pattern) {
            (Some(hex), None, None) => {
                let mut bytes = [0; 32];
                if hex::decode_to_slice(hex, &mut bytes).is_err() {
                    let message = format!("`{}` is not a SHA-256", short(hex));
                    self.error(
                        format!("{path}.sha256"),
                        message,
                        "64 hex digits: printf %s VALUE | sha256sum",
                    );
                    return None;
                }
                Allowed::Digest(bytes)
            }
            (None, Some(pointer), None) => Allowed::At(self.pointer(format!("{path}.pointer"), pointer)?),
            (None, None, Some(pattern)) => {
                self.pattern(&format!("{path}.pattern"), pattern, false)?;
                let whole = format!("(?:{pattern})\\z");
                let built = meta::Regex::builder().syntax(syntax()).configure(config()).build(&whole);
                Allowed::Pattern(Box::new(built.ok()?))
            }
            _ => {
                self.error(
                    path,
                    "not exactly one of the three is there",
                    "one of `sha256`, `pointer`, `pattern`",
                );
                return None;
            }
        };
        let mut kinds = vec![allow.detectors.is_empty(); self.detectors.len()];
        self.kinds(&path, &allow.detectors, &mut kinds);
        Some(Allow { what, on: self.calls(&path, ".on", &allow.on), kinds })
    }

    /// One entry of `sources`.
    fn source(&mut self, spec: &DataSpec, at: usize) -> Option<Source> {
        let path = format!("sources[{at}]");
        let source = spec.sources.get(at)?;
        if source.labels.is_empty() {
            self.error(&path, "the source has no labels", "`labels` with names of classes or levels");
        }
        let (mut level, mut classes) = (None, Vec::new());
        for (label_at, label) in source.labels.iter().enumerate() {
            match Sensitivity::from_word(label) {
                Some(named) => level = level.max(Some(named)),
                None => classes.push(self.label(format!("{path}.labels[{label_at}]"), label)),
            }
        }
        Some(Source { on: self.calls(&path, ".on", &source.on), level, classes })
    }

    /// A class that stands among labels, where a level could stand too.
    fn label(&mut self, path: String, name: &str) -> usize {
        let known = self.classes.iter().position(|class| *class.name == *name);
        known.unwrap_or_else(|| {
            let levels = Sensitivity::ALL.map(Sensitivity::as_str).join(", ");
            let classes: Vec<&str> = self.classes.iter().map(|class| &*class.name).collect();
            let expected =
                format!("a level ({levels}), a name under `classes`, or one of {}", classes.join(", "));
            self.error(path, format!("no class and no level is named `{}`", short(name)), expected);
            0
        })
    }
}
