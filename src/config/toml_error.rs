//! What a parser of TOML complains about, in the words of whoever wrote the file. No message shows a value: it may be a secret.

/// What is wrong, where, and what would have been right.
pub(super) struct Told {
    pub(super) at: usize,
    pub(super) message: String,
    pub(super) expected: &'static str,
}

/// Says what the parser's complaint at a byte of the text means.
pub(super) fn explain(text: &str, said: &str, at: usize) -> Told {
    let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default();
    let number = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
    let indent = line.len() - line.trim_start().len();
    let told = |at: usize, message: &str, expected| Told { at, message: message.to_owned(), expected };
    let whole = line.trim();
    if let Some(found) = line.find(['“', '”', '„', '‘', '’']) {
        let quote: String = line.get(found..).and_then(|rest| rest.chars().next()).into_iter().collect();
        return told(
            start + found,
            &format!("`{quote}` is a typographic quote"),
            "`\"` on both sides of a text",
        );
    }
    if said.contains("escape") || said.contains("unicode") {
        let message = "`\\` in double quotes begins an escape, and this one is none";
        return told(at, message, "single quotes around the text, or `\\\\` for a backslash");
    }
    if let Some((opens, number)) = open_list(text, start) {
        let message = format!("the `[` that opens in line {number} is not closed");
        return told(opens, &message, "`]` at the end of the list");
    }
    if whole.starts_with('[') && !whole.contains(']') && !whole.contains('=') {
        let message = format!("the `[` that opens in line {number} is not closed");
        return told(start + indent, &message, "`]` behind the name of the table");
    }
    let Some((key, value)) = line.split_once('=') else {
        let yaml = whole.split_once(':').filter(|(key, _)| is_key(key));
        if let Some((key, _)) = yaml {
            return told(start + indent, &format!("`{key}:` is how YAML writes it"), "`key = value`");
        }
        return told(
            start + indent,
            "this line is no `key = value` and no table",
            "`key = value`, or `[table]`",
        );
    };
    in_value(text, said, at, start, (key, value))
}

/// What is wrong with a value: the complaint stands at a byte of it, and its line begins at `start`.
fn in_value(text: &str, said: &str, at: usize, start: usize, (key, value): (&str, &str)) -> Told {
    let told = |at: usize, message: &str, expected| Told { at, message: message.to_owned(), expected };
    let number = text.get(..start).map_or(1, |before| before.matches('\n').count() + 1);
    let indent = key.len() - key.trim_start().len();
    let value_at = start + key.len() + 1 + (value.len() - value.trim_start().len());
    let value = value.trim();
    if value.is_empty() || value.starts_with('#') {
        return told(start + indent, &format!("`{}` has no value", short_key(key)), "a value behind the `=`");
    }
    if value.starts_with('=') {
        return told(value_at, "`=` stands twice", "`key = value`");
    }
    if let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        let inner = value.get(1..).unwrap_or_default();
        let escaped = |rest: &str| quote == '"' && rest.ends_with('\\');
        let closed = inner.match_indices(quote).any(|(at, _)| !escaped(inner.get(..at).unwrap_or_default()));
        if !closed {
            let message = format!("the quote that opens in line {number} is not closed");
            return told(value_at, &message, "the same quote at the end of the text");
        }
    }
    let word: String = value.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
    if let Some(meant) = truth(&word) {
        return told(value_at, &format!("`{word}` is no value in TOML"), meant);
    }
    let count = |sign: char| text.get(start..).unwrap_or_default().chars().filter(|c| *c == sign).count();
    if value.starts_with('[') && said.contains("array") && count('[') > count(']') {
        let message = format!("the `[` that opens in line {number} is not closed");
        return told(value_at, &message, "`]` at the end of the list");
    }
    if value.starts_with('[') {
        return told(
            at,
            "the list cannot be read from here on",
            "a comma between two entries, `]` at the end",
        );
    }
    if value.starts_with('{') {
        return told(at, "the table cannot be read from here on", "`{ key = value, key = value }`");
    }
    if !value.starts_with(['"', '\''])
        && !value.starts_with(|c: char| c.is_ascii_digit() && value.parse::<f64>().is_ok())
    {
        return told(
            value_at,
            &format!("the text of `{}` has no quotes", short_key(key)),
            "`\"…\"` around the text",
        );
    }
    told(at, &format!("this cannot be read as TOML: {said}"), "`key = value`, with quotes around a text")
}

/// A list that begins in a line before and is open still: where, and in which line.
fn open_list(text: &str, start: usize) -> Option<(usize, usize)> {
    let before = text.get(..start)?;
    let assigned = before.rfind("= [")?;
    let opens = assigned + 2;
    let list = before.get(opens..)?;
    let count = |sign: char| list.matches(sign).count();
    let open = count('[') > count(']') && !list.contains('=');
    open.then(|| (opens, before.get(..opens).map_or(1, |head| head.matches('\n').count() + 1)))
}

/// `true` or `false` as others write it.
fn truth(word: &str) -> Option<&'static str> {
    match word {
        "True" | "TRUE" | "yes" | "Yes" | "on" => Some("`true`"),
        "False" | "FALSE" | "no" | "No" | "off" => Some("`false`"),
        _ => None,
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

fn short_key(key: &str) -> String {
    crate::policy::read::short(key.trim())
}
