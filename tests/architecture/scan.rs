//! Rust source as tokens with lines: enough to see paths, and not to be fooled by comments and strings.

/// One token. Comments and whitespace are none; the text of a literal is kept apart.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Ident(String),
    /// One character, or `::`, or `->`.
    Punct(&'static str),
    Text(String),
    Other,
}

impl Token {
    pub(crate) fn is(&self, punct: &str) -> bool {
        matches!(&self.kind, Kind::Punct(p) if *p == punct)
    }

    pub(crate) fn ident(&self) -> Option<&str> {
        match &self.kind {
            Kind::Ident(name) => Some(name),
            Kind::Punct(_) | Kind::Text(_) | Kind::Other => None,
        }
    }
}

const PUNCTS: &[&str] =
    &["::", "->", "{", "}", "(", ")", "[", "]", ",", ";", ":", "#", "*", "<", ">", "!", "$", ".", "=", "&"];

/// Tokens of a whole file.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut out = Vec::new();
    let (mut at, mut line) = (0, 1);
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let c = chars[at];
        let start = line;
        if c == '\n' {
            line += 1;
            at += 1;
        } else if c.is_whitespace() {
            at += 1;
        } else if c == '/' && peek(at + 1) == '/' {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if c == '/' && peek(at + 1) == '*' {
            let mut depth = 0;
            loop {
                match (peek(at), peek(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    (now, _) => {
                        line += usize::from(now == '\n');
                        at += 1;
                    }
                }
                if depth == 0 || at >= chars.len() {
                    break;
                }
            }
        } else if let Some((text, end)) = string(&chars, at) {
            line += text.matches('\n').count();
            out.push(Token { kind: Kind::Text(text), line: start });
            at = end;
        } else if c == '\'' {
            let lifetime = (peek(at + 1).is_alphabetic() || peek(at + 1) == '_') && peek(at + 2) != '\'';
            at += 1;
            if !lifetime {
                while at < chars.len() && chars[at] != '\'' {
                    at += if chars[at] == '\\' { 2 } else { 1 };
                }
                at += 1;
            } else {
                while peek(at).is_alphanumeric() || peek(at) == '_' {
                    at += 1;
                }
            }
            out.push(Token { kind: Kind::Other, line: start });
        } else if c.is_alphabetic() || c == '_' {
            let from = at;
            while peek(at).is_alphanumeric() || peek(at) == '_' {
                at += 1;
            }
            let raw = chars[from..at] == ['r'] && peek(at) == '#';
            if raw {
                // r#ident
                at += 1;
                continue;
            }
            out.push(Token { kind: Kind::Ident(chars[from..at].iter().collect()), line: start });
        } else {
            let known = PUNCTS.iter().find(|p| p.chars().enumerate().all(|(i, pc)| peek(at + i) == pc));
            at += known.map_or(1, |p| p.len());
            out.push(Token { kind: known.map_or(Kind::Other, |p| Kind::Punct(p)), line: start });
        }
    }
    out
}

/// A string literal at `at`, with any prefix: its text and where it ends.
fn string(chars: &[char], at: usize) -> Option<(String, usize)> {
    let mut from = at;
    let mut raw = false;
    while let Some(c) = chars.get(from) {
        match c {
            'b' | 'c' if from == at => from += 1,
            'r' if !raw => (raw, from) = (true, from + 1),
            _ => break,
        }
    }
    let hashes = chars[from..].iter().take_while(|c| raw && **c == '#').count();
    if chars.get(from + hashes) != Some(&'"') {
        return None;
    }
    let begin = from + hashes + 1;
    let mut end = begin;
    while end < chars.len() {
        if !raw && chars[end] == '\\' {
            end += 2;
        } else if chars[end] == '"'
            && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return Some((chars[begin..end].iter().collect(), end + 1 + hashes));
        } else {
            end += 1;
        }
    }
    Some((chars[begin..].iter().collect(), chars.len()))
}

/// The tokens without those of `#[cfg(test)]` items, and how many lines those take: tests may reach further than the
/// product.
pub(crate) fn without_tests(tokens: Vec<Token>) -> (Vec<Token>, usize) {
    let mut out = Vec::new();
    let mut lines = 0;
    let mut at = 0;
    while at < tokens.len() {
        let names: Vec<Option<&str>> = tokens[at..].iter().take(7).map(Token::ident).collect();
        let marked =
            names.len() == 7 && tokens[at].is("#") && names[2] == Some("cfg") && names[4] == Some("test");
        if !marked || !tokens[at + 5].is(")") || !tokens[at + 6].is("]") {
            out.push(tokens[at].clone());
            at += 1;
            continue;
        }
        // Up to the end of the item: its `;`, or the brace that closes it.
        let mut depth = 0usize;
        let first = tokens[at].line;
        at += 7;
        while let Some(token) = tokens.get(at) {
            // What is marked inside a block ends with that block at the latest.
            if token.is("}") && depth == 0 {
                break;
            }
            at += 1;
            if token.is("{") {
                depth += 1;
            } else if token.is("}") {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            } else if token.is(";") && depth == 0 {
                break;
            }
        }
        lines += tokens[at - 1].line - first + 1;
    }
    (out, lines)
}

/// A path as it is written, with every branch of a `use` tree spelled out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Path {
    pub(crate) parts: Vec<String>,
    pub(crate) line: usize,
    /// How many inline modules it stands in.
    pub(crate) depth: usize,
}

/// Every path of two parts or more, and every single name after `use`.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut out = Vec::new();
    let mut modules: Vec<usize> = Vec::new();
    let mut braces = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is("{") {
            braces += 1;
            let inline = at >= 2 && tokens[at - 2].ident() == Some("mod") && tokens[at - 1].ident().is_some();
            if inline {
                modules.push(braces);
            }
        } else if token.is("}") {
            if modules.last() == Some(&braces) {
                modules.pop();
            }
            braces = braces.saturating_sub(1);
        }
        let continued = at > 0 && tokens[at - 1].is("::") && at > 1 && tokens[at - 2].ident().is_some();
        let used = at > 0 && tokens[at - 1].ident() == Some("use");
        let opens = token.ident().is_some() && tokens.get(at + 1).is_some_and(|next| next.is("::"));
        if (opens && !continued) || used {
            let mut position = at;
            let before = out.len();
            tree(tokens, &mut position, &[], modules.len(), &mut out);
            // Inside a `use` tree the branches are met again by themselves: they are no paths of their own there.
            out[before..].iter_mut().for_each(|path: &mut Path| path.depth = modules.len());
        }
    }
    out
}

fn tree(tokens: &[Token], at: &mut usize, prefix: &[String], depth: usize, out: &mut Vec<Path>) {
    let mut parts = prefix.to_vec();
    let mut line = tokens.get(*at).map_or(0, |token| token.line);
    if tokens.get(*at).is_some_and(|token| token.is("::")) {
        *at += 1;
    }
    while let Some(token) = tokens.get(*at) {
        if let Some(name) = token.ident() {
            parts.push(name.to_owned());
            line = token.line;
            *at += 1;
        } else if token.is("*") {
            parts.push("*".to_owned());
            *at += 1;
            break;
        } else if token.is("{") {
            *at += 1;
            while tokens.get(*at).is_some_and(|token| !token.is("}")) {
                let begin = *at;
                tree(tokens, at, &parts, depth, out);
                // `as name`, and the comma.
                while tokens.get(*at).is_some_and(|token| !token.is(",") && !token.is("}")) {
                    *at += 1;
                }
                if tokens.get(*at).is_some_and(|token| token.is(",")) {
                    *at += 1;
                }
                if *at == begin {
                    return;
                }
            }
            *at += 1;
            return;
        } else {
            break;
        }
        if tokens.get(*at).is_some_and(|token| token.is("::")) {
            *at += 1;
        } else {
            break;
        }
    }
    if !parts.is_empty() {
        out.push(Path { parts, line, depth });
    }
}
