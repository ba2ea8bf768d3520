//! Finding a tool by what it is for: BM25 over names, titles, descriptions and parameters (Robertson and Zaragoza, "The
//! Probabilistic Relevance Framework", 2009).

use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
};

/// How soon more of the same word adds little.
const K1: f64 = 1.2;
/// How much a long text counts for less.
const B: f64 = 0.75;
/// What a word in the name counts for, and in title and parameters' names.
const NAME: f64 = 3.0;
const TITLE: f64 = 2.0;
/// What a word counts for that only begins with the asked one, or is its beginning; and how many letters they share at least.
const BEGUN: f64 = 0.4;
const SHORTEST_BEGINNING: usize = 3;
const SHORTEST_STEM: usize = 4;
/// The words that one tool is found by, at most and at least: an upstream cannot make its tools' texts endless.
const MOST_WORDS: usize = 2_000;
const LEAST_WORDS: usize = 50;
/// All tools share so many, each alike.
const ALL_WORDS: usize = 1_000_000;
/// What is longer is no word.
const LONGEST_WORD: usize = 64;
/// A query's words beyond these add nothing.
const MOST_ASKED: usize = 32;
/// Words of the index that may stand for one asked word, in the order of the alphabet.
const MOST_BEGUN: usize = 256;

/// The words of many tools.
#[derive(Debug, Default)]
pub struct Index {
    /// Where each word stands: in which tools, and for how much.
    words: BTreeMap<Box<str>, Vec<(usize, f64)>>,
    /// How long each tool's text is.
    lengths: Vec<f64>,
    average: f64,
}

impl Index {
    /// Over tools as they are listed; results name them by their place.
    pub fn new<'t>(tools: impl IntoIterator<Item = &'t Value>) -> Self {
        let tools: Vec<&Value> = tools.into_iter().collect();
        let each = (ALL_WORDS / tools.len().max(1)).clamp(LEAST_WORDS, MOST_WORDS);
        let mut index = Self::default();
        for (place, tool) in tools.into_iter().enumerate() {
            let mut weights: HashMap<String, f64> = HashMap::new();
            let mut length = 0.0;
            let mut left = each;
            let mut add = |text: &str, weight: f64| {
                for word in split(text).take(left) {
                    left -= 1;
                    *weights.entry(word).or_default() += weight;
                    length += weight;
                }
            };
            let text = |value: &'t Value, member: &str| -> &'t str {
                value.get(member).and_then(Value::as_str).unwrap_or_default()
            };
            add(text(tool, "name"), NAME);
            add(text(tool, "title"), TITLE);
            add(text(tool, "description"), 1.0);
            let parameters = tool.pointer("/inputSchema/properties").and_then(Value::as_object);
            for (name, schema) in parameters.into_iter().flatten().take(each) {
                add(name, TITLE);
                add(text(schema, "description"), 1.0);
            }
            for (word, weight) in weights {
                index.words.entry(word.into()).or_default().push((place, weight));
            }
            index.lengths.push(length);
        }
        index.average = index.lengths.iter().sum::<f64>() / (index.lengths.len().max(1) as f64);
        index
    }

    /// The places of the tools that fit best, and how well; at most so many. Of those that fit alike the first comes first.
    pub fn search(&self, query: &str, most: usize) -> Vec<(usize, f64)> {
        let mut asked: Vec<String> = Vec::new();
        for word in split(query).take(MOST_ASKED * MOST_ASKED) {
            if asked.len() < MOST_ASKED && !asked.contains(&word) {
                asked.push(word);
            }
        }
        let mut scores = vec![0.0; self.lengths.len()];
        let mut best = vec![0.0_f64; self.lengths.len()];
        for word in &asked {
            best.fill(0.0);
            // Of all that stands for one asked word the best counts: many beginnings do not add up.
            for term in self.terms(word) {
                for (place, weight) in term.places {
                    let length = self.lengths.get(*place).copied().unwrap_or_default();
                    let length = K1 * (1.0 - B + B * length / self.average.max(1.0));
                    let score = term.worth * weight * (K1 + 1.0) / (weight + length);
                    if let Some(best) = best.get_mut(*place) {
                        *best = best.max(score);
                    }
                }
            }
            for (score, best) in scores.iter_mut().zip(&best) {
                *score += best;
            }
        }
        let mut found: Vec<(usize, f64)> =
            scores.into_iter().enumerate().filter(|(_, score)| *score > 0.0).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        found.truncate(most);
        found
    }

    /// What stands for an asked word: itself, and for less what it begins or begins with (`repo`, `repository`).
    fn terms(&self, asked: &str) -> Vec<Term<'_>> {
        let exact = self.words.get(asked).map(|places| self.rarity(places.len()));
        // A rare word is no better than the one that was asked for.
        let begun = |places: &Vec<(usize, f64)>| {
            let rarity = self.rarity(places.len());
            BEGUN * exact.map_or(rarity, |exact| rarity.min(exact))
        };
        let mut terms = Vec::new();
        if let (Some(places), Some(worth)) = (self.words.get(asked), exact) {
            terms.push(Term { places, worth });
        }
        let beginnings = asked.char_indices().map(|(end, _)| end).filter(|end| *end >= SHORTEST_STEM);
        for known in beginnings.filter_map(|end| asked.get(..end)) {
            terms.extend(self.words.get(known).map(|places| Term { places, worth: begun(places) }));
        }
        if asked.len() >= SHORTEST_BEGINNING {
            let from = (Bound::Excluded(asked), Bound::Unbounded);
            let longer = self.words.range::<str, _>(from).take(MOST_BEGUN);
            let longer = longer.take_while(|(known, _)| known.starts_with(asked));
            terms.extend(longer.map(|(_, places)| Term { places, worth: begun(places) }));
        }
        terms
    }

    fn rarity(&self, found_in: usize) -> f64 {
        let (all, found_in) = (self.lengths.len() as f64, found_in as f64);
        (1.0 + (all - found_in + 0.5) / (found_in + 0.5)).ln()
    }

    /// How many places are noted.
    #[cfg(test)]
    fn noted(&self) -> usize {
        self.words.values().map(Vec::len).sum()
    }
}

/// A word of the index that stands for an asked one.
struct Term<'i> {
    places: &'i [(usize, f64)],
    worth: f64,
}

/// Words in lower case without their endings: `listFiles`, `list_files` and "lists the files" share two. What is written
/// like `GitHub` is its parts and also the whole.
fn split(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|chunk| !chunk.is_empty()).flat_map(|chunk| {
        let mut parts = parts(chunk);
        if parts.len() > 1 {
            parts.push(parts.concat());
        }
        parts.into_iter().map(stem)
    })
}

/// `parseJSONFile` → parse, json, file; `URLs` is one word.
fn parts(chunk: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut capitals = 0;
    let mut last_small = false;
    let mut chars = chunk.chars().take(LONGEST_WORD).peekable();
    while let Some(c) = chars.next() {
        let ends_capitals =
            capitals >= 2 && chars.peek().is_some_and(|next| next.is_lowercase() && *next != 's');
        if c.is_uppercase() && (last_small || ends_capitals) && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
        }
        capitals = if c.is_uppercase() { capitals + 1 } else { 0 };
        last_small = c.is_lowercase() || c.is_numeric();
        part.extend(c.to_lowercase());
    }
    parts.push(part);
    parts
}

/// Takes off the endings of English plurals, and the mute `e` that stands before one or not: `caches` is `cache`, `patches`
/// is `patch`, `directories` is `directory`.
fn stem(mut word: String) -> String {
    if word.len() > 4 && word.ends_with("ies") {
        word.truncate(word.len() - 3);
        word.push('y');
        return word;
    }
    if word.len() > 3 && word.ends_with('s') && !word.ends_with("ss") {
        word.pop();
    }
    if word.len() > 3 && word.ends_with('e') {
        word.pop();
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(name: &str, description: &str, parameters: &[&str]) -> Value {
        let properties: serde_json::Map<String, Value> =
            parameters.iter().map(|p| ((*p).to_owned(), json!({"type": "string"}))).collect();
        json!({"name": name, "description": description, "inputSchema": {"properties": properties}})
    }

    fn tools() -> Vec<Value> {
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

    /// Tools as public servers describe them, and what an agent would ask for.
    #[test]
    fn what_is_meant_stands_among_the_first() {
        const TOOLS: &[(&str, &str, &[&str])] = &[
            (
                "files__read_text_file",
                "Read the complete contents of a file from the file system as text",
                &["path", "head", "tail"],
            ),
            (
                "files__write_file",
                "Create a new file or completely overwrite an existing file with new content",
                &["path", "content"],
            ),
            ("files__edit_file", "Make line-based edits to a text file", &["path", "edits", "dryRun"]),
            ("files__create_directory", "Create a new directory or ensure a directory exists", &["path"]),
            (
                "files__list_directory",
                "Get a detailed listing of all files and directories in a specified path",
                &["path"],
            ),
            ("files__move_file", "Move or rename files and directories", &["source", "destination"]),
            (
                "files__search_files",
                "Recursively search for files and directories matching a pattern",
                &["path", "pattern", "excludePatterns"],
            ),
            (
                "github__create_issue",
                "Create a new issue in a GitHub repository",
                &["owner", "repo", "title", "body", "labels"],
            ),
            (
                "github__list_issues",
                "List issues in a GitHub repository with filtering options",
                &["owner", "repo", "state"],
            ),
            (
                "github__add_issue_comment",
                "Add a comment to an existing issue",
                &["owner", "repo", "issue_number", "body"],
            ),
            (
                "github__create_pull_request",
                "Create a new pull request in a GitHub repository",
                &["owner", "repo", "title", "head", "base"],
            ),
            ("github__merge_pull_request", "Merge a pull request", &["owner", "repo", "pull_number"]),
            ("github__search_code", "Search for code across GitHub repositories", &["q"]),
            (
                "github__fork_repository",
                "Fork a GitHub repository to your account or organization",
                &["owner", "repo"],
            ),
            (
                "github__create_branch",
                "Create a new branch in a GitHub repository",
                &["owner", "repo", "branch"],
            ),
            ("slack__post_message", "Post a new message to a Slack channel", &["channel_id", "text"]),
            (
                "slack__reply_to_thread",
                "Reply to a specific message thread in Slack",
                &["channel_id", "thread_ts", "text"],
            ),
            (
                "slack__list_channels",
                "List public channels in the workspace with pagination",
                &["limit", "cursor"],
            ),
            (
                "slack__get_users",
                "Get a list of all users in the workspace with their basic profile information",
                &["limit"],
            ),
            ("pg__query", "Run a read-only SQL query against the PostgreSQL database", &["sql"]),
            ("pg__describe_table", "Show the columns of a table and their types", &["schema", "table"]),
            (
                "calendar__createEvent",
                "Creates a calendar event with attendees",
                &["summary", "start", "end", "attendees"],
            ),
            ("calendar__listEvents", "Lists upcoming events", &["timeMin", "timeMax"]),
            ("calendar__deleteEvent", "Deletes an event from the calendar", &["eventId"]),
            ("mail__send", "Sends an email", &["to", "subject", "body", "attachments"]),
            ("mail__search", "Searches the mailbox", &["query", "from", "before"]),
            ("stripe__create_refund", "Refund a payment in full or in part", &["payment_intent", "amount"]),
            ("stripe__list_invoices", "List the invoices of a customer", &["customer", "status"]),
            ("browser__navigate", "Open a URL in the browser", &["url"]),
            ("browser__screenshot", "Take a screenshot of the current page", &["fullPage"]),
            (
                "k8s__scale_deployment",
                "Set the number of replicas of a Kubernetes deployment",
                &["namespace", "name", "replicas"],
            ),
            ("k8s__get_pod_logs", "Fetch the logs of a pod", &["namespace", "pod", "tailLines"]),
        ];
        const ASKED: &[(&str, &str)] = &[
            ("read a file", "files__read_text_file"),
            ("show the contents of config.yaml", "files__read_text_file"),
            ("rename a file", "files__move_file"),
            ("make a folder directory", "files__create_directory"),
            ("find files by pattern", "files__search_files"),
            ("overwrite file content", "files__write_file"),
            ("open a GitHub issue", "github__create_issue"),
            ("comment on an issue", "github__add_issue_comment"),
            ("merging pull requests", "github__merge_pull_request"),
            ("create PR pull request", "github__create_pull_request"),
            ("search repositories for code", "github__search_code"),
            ("fork repo", "github__fork_repository"),
            ("send a slack message to a channel", "slack__post_message"),
            ("reply in a thread", "slack__reply_to_thread"),
            ("who is in the workspace", "slack__get_users"),
            ("sql query on postgres", "pg__query"),
            ("table columns", "pg__describe_table"),
            ("schedule an event with attendees", "calendar__createEvent"),
            ("upcoming events", "calendar__listEvents"),
            ("cancel delete calendar event", "calendar__deleteEvent"),
            ("send email with attachment", "mail__send"),
            ("search my mail", "mail__search"),
            ("refund a customer's payment", "stripe__create_refund"),
            ("unpaid invoices", "stripe__list_invoices"),
            ("go to a url", "browser__navigate"),
            ("screenshot", "browser__screenshot"),
            ("scale kubernetes replicas", "k8s__scale_deployment"),
            ("pod log tail", "k8s__get_pod_logs"),
        ];
        let tools: Vec<Value> =
            TOOLS.iter().map(|(name, text, parameters)| tool(name, text, parameters)).collect();
        let index = Index::new(&tools);
        let mut first = 0;
        for (query, expect) in ASKED {
            let found = index.search(query, 3);
            let names: Vec<&str> = found.iter().map(|(place, _)| TOOLS[*place].0).collect();
            assert!(names.contains(expect), "{query}: {names:?}");
            first += usize::from(names[0] == *expect);
        }
        // The other three ask with words that stand in no text of the tool ("open", "who"): there are no synonyms here.
        assert!(first >= 25, "{first} of {} stand first", ASKED.len());
    }

    /// What people call things and how programs write it are seldom the same.
    #[test]
    fn words_are_found_however_they_are_spelled() {
        let check = |tool: Value, query: &str| {
            let other = json!({"name": "x__other", "description": "Something else"});
            let found = Index::new([&other, &tool]).search(query, 2);
            assert_eq!(found.first().map(|(place, _)| *place), Some(1), "{query}: {found:?}");
        };
        check(json!({"name": "a__b", "description": "Opens an issue on GitHub"}), "github issues");
        check(json!({"name": "parseJSONFile"}), "json");
        check(json!({"name": "parseJSONFile"}), "file");
        check(json!({"name": "fetch", "description": "Takes URLs"}), "url");
        check(json!({"name": "get_directory"}), "directories");
        check(json!({"name": "patch"}), "patches");
        check(json!({"name": "list_repos"}), "repository");
        check(json!({"name": "list_repositories"}), "repo");
        check(json!({"name": "send"}), "sending");
        check(json!({"name": "OAuth2Token"}), "oauth2");
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

    /// Tools with endless texts, and words that all begin alike.
    #[test]
    fn an_upstream_cannot_make_the_index_or_a_search_endless() {
        let alike: Vec<Value> = (0..3_000)
            .map(|n| {
                let words: Vec<String> = (0..1_000).map(|m| format!("abcd{n:04}{m:04}")).collect();
                json!({"name": format!("t{n}"), "description": words.join(" ")})
            })
            .collect();
        let index = Index::new(&alike);
        assert!(index.noted() <= ALL_WORDS, "{}", index.noted());
        assert!(index.terms("abc").len() <= MOST_BEGUN);
        let asked: Vec<String> = (0..40).map(|n| format!("abcd{n:04}")).collect();
        let found = index.search(&asked.join(" "), 50);
        assert_eq!(found.len(), MOST_ASKED, "of the asked words the first 32 count");
        // Each tool has its share, also the last.
        assert_eq!(index.search("abcd29990001", 1).first().map(|(place, _)| *place), Some(2_999));
        let parameters: serde_json::Map<String, Value> =
            (0..50_000).map(|n| (format!("p{n}"), json!({"description": "more and more"}))).collect();
        let wide = json!({"name": "x", "inputSchema": {"properties": parameters}});
        assert!(Index::new([&wide]).noted() <= MOST_WORDS);
    }
}
