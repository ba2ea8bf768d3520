//! Regular expressions of schemas, with a cost that is known before one runs: ECMA's syntax, on an engine that takes linear
//! time where there is a small automaton, else on one that goes back and counts its steps.

use super::{backtrack::Backtracking, ecma, exceeded::Exceeded};
use regex_automata::{meta, nfa::thompson};

/// A longer expression is not read.
pub(super) const LONGEST: usize = 4_096;
/// All expressions of one schema, in states of the automata.
pub(super) const MOST_STATES: usize = 100_000;
/// All expressions of one schema.
pub(super) const MOST_PATTERNS: usize = 1_000;
/// The largest automaton of one expression: by its states as they are estimated, and in bytes.
const MOST_ESTIMATED: u64 = 12_000;
const SIZE_LIMIT: usize = 1 << 20;
/// So many states times bytes are one step of the budget.
const PER_STEP: u64 = 64;

/// A compiled expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Time is linear in the text.
    Linear { regex: meta::Regex, states: usize },
    /// With lookaround, references back, or more states than an automaton may have.
    Backtracking(Backtracking),
}

impl Pattern {
    /// Reads one as ECMA-262 writes it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("it has more than {LONGEST} bytes"));
        }
        let (part, groups) = ecma::parse(text)?;
        if part.states() <= MOST_ESTIMATED
            && let Some(linear) = part.to_hir().and_then(|hir| Self::linear(&hir))
        {
            return Ok(linear);
        }
        let program = Backtracking::compile(&part, groups);
        program.map(Self::Backtracking).ok_or_else(|| "its repetitions are too many to be checked".to_owned())
    }

    fn linear(hir: &regex_syntax::hir::Hir) -> Option<Self> {
        let config = thompson::Config::new().nfa_size_limit(Some(SIZE_LIMIT));
        let states = thompson::NFA::compiler().configure(config).build_from_hir(hir).ok()?.states().len();
        let config = meta::Config::new()
            .nfa_size_limit(Some(SIZE_LIMIT))
            .hybrid_cache_capacity(256 << 10)
            .onepass(false)
            .dfa(false);
        let regex = meta::Regex::builder().configure(config).build_from_hir(hir).ok()?;
        Some(Self::Linear { regex, states })
    }

    /// What it takes to hold it, in states.
    pub(super) fn states(&self) -> usize {
        match self {
            Self::Linear { states, .. } => *states,
            Self::Backtracking(program) => program.states(),
        }
    }

    /// Whether it matches anywhere in the text. `charge` is asked for steps before they are taken.
    pub(super) fn is_match(
        &self,
        text: &str,
        mut charge: impl FnMut(u64) -> Result<(), Exceeded>,
    ) -> Result<bool, Exceeded> {
        match self {
            Self::Linear { regex, states } => {
                charge(1 + (text.len() as u64).saturating_mul(*states as u64) / PER_STEP)?;
                Ok(regex.is_match(text))
            }
            Self::Backtracking(program) => program.is_match(text, &mut charge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let compiled = Pattern::compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}"));
        compiled.is_match(text, |_| Ok(())).unwrap()
    }

    /// R100: what people write in schemas, each with what JavaScript says of it.
    #[test]
    fn ecma_is_read_as_it_is_meant() {
        let long = |c: &str, n: usize| c.repeat(n);
        for (pattern, fits, not) in [
            (r"^[\p{L}\p{M}'’\-. ]{2,80}$", long("é", 80), long("é", 81)),
            (r"^[\p{L}\p{N}_ ]{1,400}$", long("Ж7", 200), "a+b".to_owned()),
            (r"^\S{3,900}$", long("ß", 900), "a b c".to_owned()),
            (r"^[^{}]{0,1500}$", String::new(), long("x", 1_501)),
            (r"^.{0,2048}$", long("…", 2_048), "a\rb".to_owned()),
            (r"^[\s\S]{1,4000}$", long("\n", 4_000), String::new()),
            (r"^[^]{3}$", "a\n\u{2028}".to_owned(), "ab".to_owned()),
            (r"^a[]?$", "a".to_owned(), "b".to_owned()),
            (r"^\d+$", "08".to_owned(), "٣".to_owned()),
            (r"^\w\W$", "aé".to_owned(), "éa".to_owned()),
            (r"^\s$", "\u{feff}".to_owned(), "\u{85}".to_owned()),
            (r"^[\w.-]+\/[\w\-]+\@\_$", "a.b/c-d@_".to_owned(), "a/b@".to_owned()),
            (r"^[\w-.]+$", "a-.b".to_owned(), "a,b".to_owned()),
            (r"^\u{1F600}\u0041\x42\cJ\0$", "😀AB\n\0".to_owned(), "AB".to_owned()),
            (r"^\uD83D\uDE00$", "😀".to_owned(), "😁".to_owned()),
            (r"^[\u{1F600}-\u{1F64F}]$", "😃".to_owned(), "a".to_owned()),
            (r"^(?<y>\d{4})-(?<m>\d\d)-\k<m>$", "2026-11-11".to_owned(), "2026-11-12".to_owned()),
            (r"^(?:(a)|b)*\1c$", "abc".to_owned(), "abac".to_owned()),
            (r"^(['\x22])(?:(?!\1).)*\1$", "'it\"s'".to_owned(), "'it's'".to_owned()),
            (r"^(?=.*[A-Z])(?!.*\s).{4,}$", "passWord".to_owned(), "pass Word".to_owned()),
            (r"(?<=\$)\d+(?!\d|\.)", "for $42".to_owned(), "for $42.".to_owned()),
            (r"(?<!\\)\*$", "a*".to_owned(), r"a\*".to_owned()),
            (r"\bcat\b", "a cat.".to_owned(), "concat".to_owned()),
            (r"^\Bé", "é".to_owned(), "a".to_owned()),
            (r"^{\d+}]$", "{1}]".to_owned(), "1".to_owned()),
            (r"^[a&&b~~[]+$", "a&b~[".to_owned(), "c".to_owned()),
            (r"^(?i:ab)c$", "ABc".to_owned(), "abC".to_owned()),
            (r"(?i)^straße$", "STRAßE".to_owned(), "strase".to_owned()),
            (r"(?m:^b$)", "a\rb".to_owned(), "ab".to_owned()),
            (r"(?s:a.b)", "a\nb".to_owned(), "ab".to_owned()),
            (r"^\p{Script=Greek}+\P{Lu}\p{Emoji}$", "αΩa😀".to_owned(), "αA😀".to_owned()),
            (r"^(?:a*)*$", "aaa".to_owned(), "b".to_owned()),
            (r"^(?:a?){30}a{30}$", long("a", 30), long("a", 29)),
            (r"^(?:[\p{L}]{1,60}\s){2,40}$", "wort und ".to_owned(), "wort".to_owned()),
            ("", String::new(), "\u{0}nothing is refused".to_owned()),
        ] {
            assert!(matches(pattern, &fits), "{pattern} {fits}");
            if !pattern.is_empty() {
                assert!(!matches(pattern, &not), "{pattern} {not}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_says_why() {
        for pattern in [
            "(",
            ")",
            "[a",
            "a**",
            "*a",
            "^*",
            "a{2,1}",
            r"\p{Nonsense}",
            r"\p",
            r"\k<a>",
            r"(a)\2",
            r"\Z",
            r"a\",
            r"\u12",
            r"\uD800",
            "[z-a]",
            "(?>a)",
            "(?P=n)",
            "a{,5}",
            "(?<>a)",
            r"((a{1,999}b){1,999}c){1,999}",
        ] {
            assert!(Pattern::compile(pattern).is_err(), "{pattern}");
        }
        let deep = format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000));
        assert!(Pattern::compile(&deep).is_err());
        assert!(Pattern::compile(&"a".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn steps_are_asked_for_before_they_are_taken() {
        for (pattern, text) in [
            (r"^(?:(?=b)b+)+$", format!("{}?", "b".repeat(4_000))),
            (r"^(.*)\1(.*)\2$", "ab".repeat(50_000)),
            (r"(?<=a.*)b", "c".repeat(100_000)),
            (r"^((?!x)[\s\S])*$", "y".repeat(2 << 20)),
        ] {
            let pattern = Pattern::compile(pattern).unwrap();
            let mut left = 500_000;
            let charge = |steps: u64| {
                left = u64::checked_sub(left, steps).ok_or(Exceeded)?;
                Ok(())
            };
            assert_eq!(pattern.is_match(&text, charge), Err(Exceeded));
        }
    }
}
