//! Finding a tool by what it is for: BM25 over names, titles, descriptions and parameters (Robertson and Zaragoza, "The
//! Probabilistic Relevance Framework", 2009).

use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// How soon more of the same word adds little.
const K1: f64 = 1.2;
/// How much a long text counts for less.
const B: f64 = 0.75;
/// What a word in the name counts for, and in title and parameters' names.
const NAME: f64 = 3.0;
const TITLE: f64 = 2.0;
/// What a word counts for that is only begun with.
const BEGUN: f64 = 0.4;
/// Texts are read up to so many words: an upstream cannot make its tool's text endless.
const MOST_WORDS: usize = 2_000;
/// A query's words beyond these add nothing.
const MOST_ASKED: usize = 32;

/// The words of many tools.
#[derive(Debug, Default)]
pub struct Index {
    tools: Vec<Words>,
    /// In how many tools each word stands.
    found_in: HashMap<Arc<str>, usize>,
    average: f64,
}

#[derive(Debug, Default)]
struct Words {
    weights: HashMap<Arc<str>, f64>,
    length: f64,
}

impl Index {
    /// Over tools as they are listed; results name them by their place.
    pub fn new<'t>(tools: impl IntoIterator<Item = &'t Value>) -> Self {
        let mut index = Self::default();
        let mut known: HashSet<Arc<str>> = HashSet::new();
        for tool in tools {
            let mut words = Words::default();
            let mut add = |text: &str, weight: f64| {
                for word in split(text).take(MOST_WORDS) {
                    let word = match known.get(word.as_str()) {
                        Some(word) => Arc::clone(word),
                        None => {
                            let word: Arc<str> = word.into();
                            known.insert(Arc::clone(&word));
                            word
                        }
                    };
                    *words.weights.entry(word).or_default() += weight;
                    words.length += weight;
                }
            };
            let text = |value: &Value, member: &str| {
                value.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            add(&text(tool, "name"), NAME);
            add(&text(tool, "title"), TITLE);
            add(&text(tool, "description"), 1.0);
            let parameters = tool.pointer("/inputSchema/properties").and_then(Value::as_object);
            for (name, schema) in parameters.into_iter().flatten() {
                add(name, TITLE);
                add(&text(schema, "description"), 1.0);
            }
            for word in words.weights.keys() {
                *index.found_in.entry(Arc::clone(word)).or_default() += 1;
            }
            index.tools.push(words);
        }
        let all: f64 = index.tools.iter().map(|words| words.length).sum();
        index.average = all / (index.tools.len().max(1) as f64);
        index
    }

    /// The places of the tools that fit best, and how well; at most so many. Of those that fit alike the first comes first.
    pub fn search(&self, query: &str, most: usize) -> Vec<(usize, f64)> {
        let mut asked: Vec<String> = Vec::new();
        for word in split(query) {
            if !asked.contains(&word) && asked.len() < MOST_ASKED {
                asked.push(word);
            }
        }
        let mut terms: Vec<(&Arc<str>, f64)> = Vec::new();
        for word in &asked {
            match self.found_in.get_key_value(word.as_str()) {
                Some((word, _)) => terms.push((word, 1.0)),
                None if word.len() >= 3 => {
                    terms.extend(
                        self.found_in.keys().filter(|k| k.starts_with(word.as_str())).map(|k| (k, BEGUN)),
                    );
                }
                None => {}
            }
        }
        // Sums of floats depend on their order, and a map has none.
        terms.sort_by(|a, b| a.0.cmp(b.0));
        let count = self.tools.len() as f64;
        let mut found: Vec<(usize, f64)> = Vec::new();
        for (place, words) in self.tools.iter().enumerate() {
            let score: f64 = terms
                .iter()
                .filter_map(|(word, share)| {
                    let weight = words.weights.get(&***word)?;
                    let found_in = self.found_in.get(&***word).copied().unwrap_or(1) as f64;
                    let rarity = (1.0 + (count - found_in + 0.5) / (found_in + 0.5)).ln();
                    let length = 1.0 - B + B * words.length / self.average.max(1.0);
                    Some(share * rarity * weight * (K1 + 1.0) / (weight + K1 * length))
                })
                .sum();
            if score > 0.0 {
                found.push((place, score));
            }
        }
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }
}

/// Words in lower case, singular where that is plain: `listFiles`, `list_files` and "lists the files" share two.
fn split(text: &str) -> impl Iterator<Item = String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut last_lower = false;
    let mut end = |word: &mut String| {
        if !word.is_empty() {
            words.push(singular(std::mem::take(word)));
        }
    };
    for c in text.chars() {
        if !c.is_alphanumeric() {
            end(&mut word);
            last_lower = false;
            continue;
        }
        if c.is_uppercase() && last_lower {
            end(&mut word);
        }
        last_lower = c.is_lowercase() || c.is_numeric();
        word.extend(c.to_lowercase());
    }
    end(&mut word);
    words.into_iter()
}

fn singular(mut word: String) -> String {
    if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tools() -> Vec<Value> {
        let tool = |name: &str, description: &str, parameters: &[&str]| {
            let properties: serde_json::Map<String, Value> =
                parameters.iter().map(|p| ((*p).to_owned(), json!({"type": "string"}))).collect();
            json!({"name": name, "description": description, "inputSchema": {"properties": properties}})
        };
        vec![
            tool("files__read_file", "Reads a text file from disk", &["path"]),
            tool("files__list_directory", "Lists what is in a folder", &["path"]),
            tool("git__createPullRequest", "Opens a pull request on a repository", &["title", "branch"]),
            tool("mail__send", "Sends an e-mail message to somebody", &["to", "subject", "body"]),
            tool("crm__find_customer", "Looks a customer up by e-mail address", &["email"]),
        ]
    }

    #[test]
    fn the_best_comes_first() {
        let tools = tools();
        let index = Index::new(&tools);
        let check = |query: &str, expect: Option<&str>| {
            let found = index.search(query, 3);
            let name = found.first().map(|(place, _)| tools[*place]["name"].as_str().unwrap());
            assert_eq!(name, expect, "{query}: {found:?}");
        };
        check("read a file", Some("files__read_file"));
        check("pull requests", Some("git__createPullRequest"));
        check("create PR branch", Some("git__createPullRequest"));
        check("send mail", Some("mail__send"));
        check("customers by email", Some("crm__find_customer"));
        check("list the folder", Some("files__list_directory"));
        check("direct", Some("files__list_directory"));
        check("subject", Some("mail__send"));
        check("quantum", None);
        check("", None);
        check("…!?", None);
    }

    #[test]
    fn results_are_bounded_and_in_a_fixed_order() {
        let same: Vec<Value> = (0..20).map(|n| json!({"name": format!("a{n}__same")})).collect();
        let index = Index::new(&same);
        let places: Vec<usize> = index.search("same", 5).into_iter().map(|(place, _)| place).collect();
        assert_eq!(places, [0, 1, 2, 3, 4]);
        assert_eq!(Index::default().search("same", 5), []);
        let long = "word ".repeat(10_000);
        assert_eq!(Index::new([&json!({"name": "x", "description": long})]).search(&long, 5).len(), 1);
    }
}
