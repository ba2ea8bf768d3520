//! Places in a condition's source. The parser gives none for what it has parsed, so the checker
//! walks its tree in the order of the source and follows it through the tokens.

use super::{
    ConditionError,
    error::{At, error},
    syntax::{foreign, in_other_words, unreadable},
};
use cel::parser::pratt_parser::{Lexer, Token, TokenKind};

/// A longer condition is refused.
pub(super) const MAX_SOURCE: usize = 2048;
/// The parser calls itself for each `?`.
const MAX_TERNARIES: usize = 24;

/// The tokens of a source, and how far the walk has come.
#[derive(Debug)]
pub(super) struct Tokens<'s> {
    source: &'s str,
    tokens: Vec<Token>,
    next: usize,
}

impl<'s> Tokens<'s> {
    /// Splits a source that is short enough.
    pub(super) fn read(source: &'s str) -> Result<Self, ConditionError> {
        if source.len() > MAX_SOURCE {
            return Err(ConditionError {
                offset: 0,
                offending: source.chars().take(40).collect(),
                message: format!("the condition is {} bytes long", source.len()),
                expected: format!("at most {MAX_SOURCE} bytes"),
            });
        }
        let mut lexer = Lexer::new(source);
        let mut tokens = Vec::new();
        loop {
            let token = lexer.lex();
            match token.kind {
                TokenKind::TokEnd => break,
                TokenKind::TokWhitespace | TokenKind::TokComment => {}
                TokenKind::TokError => {
                    let at = At { start: token.start, end: token.end };
                    return Err(unreadable(source, at));
                }
                _ => tokens.push(token),
            }
        }
        let this = Self { source, tokens, next: 0 };
        if this.tokens.is_empty() {
            return Err(this.error(
                At::default(),
                "the `condition` is empty",
                "a condition in CEL, like \"env == 'production'\"",
            ));
        }
        foreign(source, &this.tokens)?;
        let questions = this.tokens.iter().filter(|t| t.kind == TokenKind::TokQuestion);
        if let Some(token) = questions.clone().nth(MAX_TERNARIES) {
            let at = At { start: token.start, end: token.end };
            return Err(this.error(at, "too many `?`", &format!("at most {MAX_TERNARIES}")));
        }
        Ok(this)
    }

    /// Moves behind the next token of that kind and text.
    pub(super) fn take(&mut self, wanted: impl Fn(TokenKind, &str) -> bool) -> At {
        let found = self.tokens.iter().enumerate().skip(self.next).find(|(_, token)| {
            wanted(token.kind, self.source.get(token.start..token.end).unwrap_or_default())
        });
        let Some((index, token)) = found else { return At { start: 0, end: self.source.len() } };
        self.next = index + 1;
        At { start: token.start, end: token.end }
    }

    /// Moves behind the next token that is this name, escaped or not.
    pub(super) fn take_name(&mut self, name: &str) -> At {
        self.take(|_, text| {
            text == name || text.strip_prefix('`').and_then(|t| t.strip_suffix('`')) == Some(name)
        })
    }

    /// The same part with the brackets that belong to it.
    pub(super) fn closed(&self, at: At) -> At {
        let mut at = at;
        for _ in 0..self.tokens.len() {
            let mut open: usize = 0;
            let mut missing: usize = 0;
            for token in self.tokens.iter().filter(|t| t.start >= at.start && t.end <= at.end) {
                if opens(token.kind) {
                    open += 1;
                } else if closes(token.kind) {
                    match open.checked_sub(1) {
                        Some(rest) => open = rest,
                        None => missing += 1,
                    }
                }
            }
            let behind = self.tokens.iter().find(|t| t.start >= at.end);
            let before = self.tokens.iter().rev().find(|t| t.end <= at.start);
            match (open > 0, missing > 0, behind, before) {
                (true, _, Some(token), _) if closes(token.kind) => at.end = token.end,
                (_, true, _, Some(token)) if opens(token.kind) => at.start = token.start,
                _ => break,
            }
        }
        at
    }

    /// The sign in front, where there is one.
    pub(super) fn signed(&self, at: At) -> At {
        let before = self.tokens.iter().rev().find(|t| t.end <= at.start);
        match before {
            Some(token) if token.kind == TokenKind::TokMinus => At { start: token.start, end: at.end },
            _ => at,
        }
    }

    /// The same part with the `has(` and `)` around it.
    pub(super) fn asked(&self, at: At) -> At {
        let mut before = self.tokens.iter().rev().filter(|token| token.end <= at.start);
        let open = before.next().filter(|token| opens(token.kind));
        let has = before.next().filter(|token| self.source.get(token.start..token.end) == Some("has"));
        let close = self.tokens.iter().find(|token| token.start >= at.end).filter(|token| closes(token.kind));
        match (open, has, close) {
            (Some(_), Some(has), Some(close)) => At { start: has.start, end: close.end },
            _ => at,
        }
    }

    /// The same part with the `!` in front, and the brackets between them.
    pub(super) fn negated(&self, at: At) -> At {
        let mut at = at;
        for _ in 0..self.tokens.len() {
            let before = self.tokens.iter().rev().find(|token| token.end <= at.start);
            let behind = self.tokens.iter().find(|token| token.start >= at.end);
            match (before, behind) {
                (Some(token), _) if self.source.get(token.start..token.end) == Some("!") => {
                    return At { start: token.start, end: at.end };
                }
                (Some(open), Some(close)) if opens(open.kind) && closes(close.kind) => {
                    at = At { start: open.start, end: close.end };
                }
                _ => break,
            }
        }
        at
    }

    /// An error at that part.
    pub(super) fn error(&self, at: At, message: &str, expected: &str) -> ConditionError {
        error(self.source, at, message, expected)
    }

    /// An error of the parser, which counts lines and columns (in bytes) from 1.
    pub(super) fn syntax_error(&self, line: isize, column: isize, message: &str) -> ConditionError {
        let line = usize::try_from(line).unwrap_or(0).saturating_sub(1);
        let column = usize::try_from(column).unwrap_or(0).saturating_sub(1);
        let before: usize = self.source.split_inclusive('\n').take(line).map(str::len).sum();
        let start = before + column;
        let token = self.tokens.iter().find(|t| t.end > start).or(self.tokens.last());
        let at = token.map_or(At::default(), |t| At { start: t.start, end: t.end });
        let text: String = at.of(self.source).chars().take(80).collect();
        let (plain, expected) = in_other_words(&text, message);
        error(self.source, at, &plain, expected)
    }
}

fn opens(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::TokLeftParen | TokenKind::TokLeftBracket | TokenKind::TokLeftBrace)
}

fn closes(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::TokRightParen | TokenKind::TokRightBracket | TokenKind::TokRightBrace)
}
