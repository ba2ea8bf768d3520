//! Regular expressions of schemas, with a cost that is known before one runs: ECMA's syntax, on an engine that takes linear
//! time where the expression allows it, else on one that gives up after so many steps.

use super::check::Exceeded;
use regex_automata::{meta, nfa::thompson};
use std::sync::OnceLock;

/// A longer expression is refused.
pub(super) const LONGEST: usize = 4_096;
/// All expressions of one schema, in states of the automata.
pub(super) const MOST_STATES: usize = 100_000;
/// All expressions of one schema.
pub(super) const MOST_PATTERNS: usize = 1_000;
/// The parts of an expression that needs backtracking are automata of their own, each of them this large at most; where it
/// cannot be told what they take together, so many states are counted for each byte of the expression.
const PART_LIMIT: usize = 256 << 10;
const PART_STATES: usize = 256;
/// The largest automaton of one expression, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// Steps back that most matches need at most, and that no match gets more of.
const FEW: usize = 64;
const MANY: usize = 10_000;
/// So many states times bytes are one step of the budget.
const PER_STEP: u64 = 64;

/// A compiled expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Time is linear in the text.
    Linear { regex: meta::Regex, states: usize },
    /// With lookaround or references back.
    Backtracking {
        text: Box<str>,
        states: usize,
        quick: Box<fancy_regex::Regex>,
        thorough: OnceLock<Option<fancy_regex::Regex>>,
    },
}

impl Pattern {
    /// Reads one as ECMA-262 writes it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let shown = || text.chars().take(80).collect::<String>();
        if text.len() > LONGEST {
            return Err(format!("the pattern `{}…` has more than {LONGEST} bytes", shown()));
        }
        let wrong = || format!("`{}` is no regular expression, or a too large one", shown());
        let translated = jsonschema_regex::to_rust_regex(text).map_err(|()| wrong())?;
        let states = linear_states(&translated);
        // No other engine needs to try.
        if matches!(states, Err(NoAutomaton::TooLarge)) {
            return Err(wrong());
        }
        if let Ok(states) = states {
            let config = meta::Config::new()
                .nfa_size_limit(Some(SIZE_LIMIT))
                .hybrid_cache_capacity(256 << 10)
                .onepass(false)
                .dfa(false);
            let regex = meta::Regex::builder().configure(config).build(&translated).map_err(|_| wrong())?;
            return Ok(Self::Linear { regex, states });
        }
        let states = states_of_parts(&translated);
        if states > MOST_STATES {
            return Err(format!("the pattern `{}…` needs more than {MOST_STATES} states", shown()));
        }
        let quick = backtracking(&translated, FEW).ok_or_else(wrong)?;
        Ok(Self::Backtracking {
            text: translated.into_owned().into(),
            states,
            quick: Box::new(quick),
            thorough: OnceLock::new(),
        })
    }

    /// What it takes to hold it, in states.
    pub(super) fn states(&self) -> usize {
        match self {
            Self::Linear { states, .. } | Self::Backtracking { states, .. } => *states,
        }
    }

    /// Whether it matches anywhere in the text. `charge` is asked for steps before they are taken.
    pub(super) fn is_match(
        &self,
        text: &str,
        mut charge: impl FnMut(u64) -> Result<(), Exceeded>,
    ) -> Result<bool, Exceeded> {
        let bytes = text.len() as u64;
        match self {
            Self::Linear { regex, states } => {
                charge(1 + bytes.saturating_mul(*states as u64) / PER_STEP)?;
                Ok(regex.is_match(text))
            }
            Self::Backtracking { text: expression, quick, thorough, .. } => {
                // Each step back can look at all that is left of the text.
                let cost = |steps: usize| (steps as u64).saturating_mul(16 + bytes / 4) / PER_STEP;
                charge(1 + cost(FEW))?;
                if let Ok(matches) = quick.is_match(text) {
                    return Ok(matches);
                }
                charge(cost(MANY))?;
                let thorough = thorough.get_or_init(|| backtracking(expression, MANY));
                let thorough = thorough.as_ref().ok_or(Exceeded)?;
                thorough.is_match(text).map_err(|_| Exceeded)
            }
        }
    }
}

/// Why an expression has no automaton that takes linear time.
enum NoAutomaton {
    /// It has one beyond [`SIZE_LIMIT`].
    TooLarge,
    /// It needs backtracking, or is wrong.
    NotLinear,
}

/// The states of an automaton that takes linear time, where there is one.
fn linear_states(expression: &str) -> Result<usize, NoAutomaton> {
    let config = thompson::Config::new().nfa_size_limit(Some(SIZE_LIMIT));
    let nfa = thompson::NFA::compiler().configure(config).build(expression);
    nfa.map(|nfa| nfa.states().len()).map_err(|error| match error.size_limit() {
        Some(_) => NoAutomaton::TooLarge,
        None => NoAutomaton::NotLinear,
    })
}

/// The states that the parts between lookaround take: those of the same expression without it, twice because there are
/// two of each.
fn states_of_parts(expression: &str) -> usize {
    let plain = ["(?=", "(?!", "(?<=", "(?<!", "(?>"]
        .iter()
        .fold(expression.to_owned(), |expression, look| expression.replace(look, "(?:"));
    match linear_states(&plain) {
        Ok(states) => states.saturating_mul(2).saturating_add(expression.len()),
        Err(_) => expression.len().saturating_mul(PART_STATES),
    }
}

fn backtracking(expression: &str, steps: usize) -> Option<fancy_regex::Regex> {
    fancy_regex::RegexBuilder::new(expression)
        .backtrack_limit(steps)
        .delegate_size_limit(PART_LIMIT)
        .delegate_dfa_size_limit(PART_LIMIT)
        .build()
        .ok()
}
