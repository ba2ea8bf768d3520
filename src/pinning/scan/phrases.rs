//! Words that tell a model what to do, in several languages, as patterns that are matched in one pass.
//!
//! What servers say of their own use ("call this first", "you must pass the id") is no finding: a finding speaks to a model
//! about other instructions, about the person, or about what it should read and carry away.

use super::{FindingKind, Found, plain::plain, wordings::RULES};
use regex_automata::{Input, meta::Regex, util::syntax};
use std::sync::OnceLock;

/// Parameters that servers have no use for but to learn what else is going on.
const PARAMETERS: &[&str] = &[
    "sidenote",
    "side_note",
    "chain_of_thought",
    "conversation_so_far",
    "full_conversation",
    "full_context",
    "entire_conversation",
    "tool_call_history",
    "tools_list",
    "list_of_tools",
    "available_tools_list",
    "previous_tool_results",
    "previous_messages_verbatim",
    "leaked_data",
    "exfil",
    "ssh_key_content",
    "ssh_key_contents",
    "ssh_private_key_content",
    "env_file_contents",
    "entire_chat_history",
    "full_chat_history",
    "whole_conversation",
    "complete_conversation",
    "conversation_transcript_verbatim",
    "system_prompt_verbatim",
    "hidden_reasoning",
    "internal_reasoning",
    "user_secrets",
    "user_credentials_found",
];

fn build() -> Option<Regex> {
    let patterns: Vec<&str> = RULES.iter().map(|rule| rule.pattern).collect();
    let syntax = syntax::Config::new().unicode(false).utf8(false).case_insensitive(false);
    Regex::builder().syntax(syntax).build_many(&patterns).ok()
}

/// All patterns as one; none only where the table itself is wrong, which a test would tell.
fn patterns() -> Option<&'static Regex> {
    static PATTERNS: OnceLock<Option<Regex>> = OnceLock::new();
    PATTERNS.get_or_init(build).as_ref()
}

/// Matches of a text that are looked at.
const MOST_MATCHES: usize = 8;

/// The longest name that is read as the words that it is made of, in bytes.
const LONGEST_NAME: usize = 512;

/// What a text says to a model; a text that is a name says what its words say.
pub(super) fn scan(text: &str, found: &mut Vec<Found>) {
    read(text, found);
    if let Some(words) = words_of(text) {
        let known = found.len();
        read(&words, found);
        // Where in the name they stand tells nobody anything: the name is shown from its beginning.
        found.iter_mut().skip(known).for_each(|found| found.place = 0);
    }
}

/// The words that a name is made of: `ignore_previous-instructions`, `ignorePreviousInstructions`. None where it is no name, or
/// one word.
fn words_of(name: &str) -> Option<String> {
    if name.len() > LONGEST_NAME || name.contains(char::is_whitespace) {
        return None;
    }
    let mut words = String::with_capacity(name.len() + 16);
    let mut before = ' ';
    for c in name.chars() {
        match c {
            '_' | '-' | '.' | '/' | ':' | '+' | '~' | '\u{2010}'..='\u{2015}' => words.push(' '),
            c => {
                if c.is_uppercase() && before.is_lowercase() {
                    words.push(' ');
                }
                words.push(c);
            }
        }
        before = c;
    }
    words.contains(' ').then_some(words)
}

/// What a text says to a model, in its own letters, in Latin ones, and with its lines joined.
fn read(text: &str, found: &mut Vec<Found>) {
    let Some(patterns) = patterns() else { return };
    let (own, from) = plain(text, false);
    search(patterns, &own, &from, found);
    // A line that ends within a sentence ends no sentence.
    if let Some(joined) = joined(&own) {
        search(patterns, &joined, &from, found);
    }
    if !text.is_ascii() {
        // The same words with letters of another script among them.
        let (latin, from) = plain(text, true);
        if latin != own {
            search(patterns, &latin, &from, found);
        }
    }
}

/// A text whose lines go on in the next one, where some do: the line feed is a space, so that every place stays.
fn joined(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let goes_on = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(at + 1);
        let ends = |b: &u8| matches!(b, b'.' | b'!' | b'?' | b':' | b';' | b'\n' | b'>' | b']' | b'}');
        let begins =
            |b: &u8| matches!(b, b'-' | b'*' | b'#' | b'\n' | b'<' | b'[' | b'{') || b.is_ascii_digit();
        before.is_some_and(|b| !ends(b)) && after.is_some_and(|b| !begins(b))
    };
    let mut joined: Option<String> = None;
    for (at, _) in text.match_indices('\n').filter(|(at, _)| goes_on(*at)) {
        joined.get_or_insert_with(|| text.to_owned()).replace_range(at..=at, " ");
    }
    joined
}

fn search(patterns: &Regex, text: &str, from: &[u32], found: &mut Vec<Found>) {
    for matched in patterns.find_iter(Input::new(text)).take(MOST_MATCHES) {
        let Some(rule) = RULES.get(matched.pattern().as_usize()) else { continue };
        if found.iter().any(|known| known.what == rule.what) {
            continue;
        }
        let place = from.get(matched.start()).copied().unwrap_or_default();
        let place = usize::try_from(place).unwrap_or_default();
        found.push(Found { kind: rule.kind, what: rule.what.to_owned(), place, excerpt: None });
    }
}

/// What a parameter's name asks for.
pub(super) fn scan_parameter(name: &str, found: &mut Vec<Found>) {
    let (plain, _) = plain(name.get(..super::cut(name, 128)).unwrap_or_default(), true);
    let snake = plain.replace(['-', ' '], "_");
    if PARAMETERS.contains(&snake.as_str()) || PARAMETERS.iter().any(|known| known.replace('_', "") == snake)
    {
        let what = "a parameter that asks for what the tool does not need".to_owned();
        found.push(Found { kind: FindingKind::Exfiltration, what, place: 0, excerpt: None });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_are_right() {
        let patterns = build().unwrap();
        assert_eq!(patterns.pattern_len(), RULES.len());
        assert!(!patterns.is_match(""));
    }

    /// `\b` knows ASCII alone: beside another letter it never matches.
    #[test]
    fn no_word_boundary_stands_beside_a_letter_beyond_ascii() {
        for rule in RULES {
            for (at, _) in rule.pattern.match_indices("\\b(") {
                let group = rule.pattern.get(at + 3..).unwrap();
                let (mut depth, mut end) = (0, 0);
                for (place, c) in group.char_indices() {
                    match c {
                        '(' => depth += 1,
                        ')' if depth == 0 => {
                            end = place;
                            break;
                        }
                        ')' => depth -= 1,
                        _ => {}
                    }
                }
                let (words, after) = group.split_at(end);
                let is_closed = after.starts_with(")\\b");
                for word in words.split('|') {
                    let begins = word.chars().next().is_none_or(|c| c.is_ascii());
                    let ends = word.chars().last().is_none_or(|c| c.is_ascii());
                    assert!(begins && (ends || !is_closed), "`{word}` of {}", rule.pattern);
                }
            }
        }
    }
}
