//! A page of Markdown as its commands see it.

use super::root;
use std::path::Path;

/// What stands between two fences.
#[derive(Debug)]
pub(crate) struct Block {
    /// `docs/x.md:12`
    pub(crate) place: String,
    pub(crate) language: String,
    /// What stands behind the language.
    pub(crate) words: String,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn is_command(&self) -> bool {
        matches!(self.language.as_str(), "sh" | "console")
    }

    /// Why it is not run.
    pub(crate) fn excuse(&self) -> Option<&str> {
        self.words.strip_prefix("no-run:").map(str::trim)
    }
}

/// A value for commands that come: `NAME = ARGUMENTS | /pointer`.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) name: String,
    pub(crate) arguments: String,
    pub(crate) pointer: String,
}

/// What a page does, in its order.
#[derive(Debug)]
pub(crate) enum Part {
    Block(Block),
    Run(String),
    Until(String),
    Set(Value),
    Call { key: String, tool: String, arguments: String },
    Empty,
    Serve,
}

#[derive(Debug)]
pub(crate) struct Page {
    /// `docs/x.md`
    pub(crate) name: String,
    pub(crate) parts: Vec<Part>,
}

fn directive(text: &str, place: &str) -> Option<Part> {
    let (word, rest) = text.split_once(':')?;
    let rest = rest.trim();
    let bad = || -> ! { panic!("{place}: `{text}`") };
    Some(match word.trim() {
        "run" => Part::Run(rest.to_owned()),
        "until" => Part::Until(rest.to_owned()),
        "serve" => Part::Serve,
        "folder" if rest == "empty" => Part::Empty,
        "set" => {
            let Some((name, from)) = rest.split_once('=') else { bad() };
            let Some((arguments, pointer)) = from.rsplit_once('|') else { bad() };
            let [name, arguments, pointer] = [name, arguments, pointer].map(|text| text.trim().to_owned());
            Part::Set(Value { name, arguments, pointer })
        }
        "call" => {
            let words: Vec<&str> = rest.splitn(3, ' ').collect();
            let [key, tool, arguments] = words.as_slice() else { bad() };
            Part::Call {
                key: (*key).to_owned(),
                tool: (*tool).to_owned(),
                arguments: (*arguments).to_owned(),
            }
        }
        _ => return None,
    })
}

impl Page {
    pub(crate) fn read(path: &Path) -> Self {
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let text = std::fs::read_to_string(path).unwrap();
        let mut parts = Vec::new();
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let place = format!("{name}:{}", index + 1);
            let inner = line.trim_start();
            if let Some(info) = inner.strip_prefix("```") {
                let indent = line.len() - inner.len();
                let (language, words) = info.split_once(' ').unwrap_or((info, ""));
                let mut text = String::new();
                loop {
                    let (_, line) = lines.next().unwrap_or_else(|| panic!("{place}: the block does not end"));
                    if line.trim() == "```" {
                        break;
                    }
                    text.push_str(line.get(indent..).unwrap_or_default());
                    text.push('\n');
                }
                parts.push(Part::Block(Block {
                    place,
                    language: language.to_owned(),
                    words: words.trim().to_owned(),
                    text,
                }));
            } else if let Some(comment) = inner.strip_prefix("<!--") {
                let mut comment = comment.to_owned();
                while !comment.contains("-->") {
                    let (_, line) =
                        lines.next().unwrap_or_else(|| panic!("{place}: the comment does not end"));
                    comment.push('\n');
                    comment.push_str(line);
                }
                parts.extend(directive(comment.split("-->").next().unwrap().trim(), &place));
            }
        }
        Self { name, parts }
    }

    pub(crate) fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.parts.iter().filter_map(|part| match part {
            Part::Block(block) => Some(block),
            Part::Run(_) | Part::Until(_) | Part::Set(_) | Part::Call { .. } | Part::Empty | Part::Serve => {
                None
            }
        })
    }

    pub(crate) fn has_commands(&self) -> bool {
        self.blocks().any(|block| block.is_command() && block.excuse().is_none())
    }
}
