//! Starts the servers once and looks at their tools: which only read, which change something, and which destroy it. It is a
//! proposal, by what the server says and by what the tool is called; a person confirms it.

use super::gather::Upstream;
use serde_json::Value;

/// What is known of a server's tools.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Looked {
    pub(super) tools: Vec<Proposal>,
    /// It lists prompts.
    pub(super) prompts: bool,
}

impl Looked {
    /// Of what a server lists.
    pub(super) fn at(tools: &[Value], prompts: bool) -> Self {
        Self { tools: tools.iter().filter_map(propose).collect(), prompts }
    }

    pub(super) fn has(&self, tool: &str) -> bool {
        self.tools.iter().any(|one| one.tool == tool)
    }

    /// With the server's own marks alone: what a name alone suggests is asked about.
    pub(super) fn marked_only(&mut self) {
        self.tools.iter_mut().filter(|one| one.by == By::Name && one.read_only).for_each(Proposal::ask);
    }

    /// Without what a person does not agree to: that is asked about.
    fn without(&mut self, asked: impl Fn(&str) -> bool) {
        self.tools.iter_mut().filter(|one| asked(&one.tool)).for_each(Proposal::ask);
    }
}

/// What a person says of the proposals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    /// As they are.
    Proposed,
    /// With the servers' own marks alone.
    Marks,
    /// Each tool is asked about.
    All,
    /// These are asked about: the place of the server, and the tool.
    Without(Vec<(usize, String)>),
}

impl Wanted {
    /// Reads an answer; one that is not understood wholly is no consent. The error says what to say instead.
    pub(super) fn read(
        answer: &str,
        upstreams: &[Upstream],
        looked: &[Option<Looked>],
    ) -> Result<Self, String> {
        let words: Vec<&str> = answer.split([' ', ',', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => return Ok(Self::Proposed),
            [word] if word.eq_ignore_ascii_case("marks") => return Ok(Self::Marks),
            [word] if word.eq_ignore_ascii_case("all") => return Ok(Self::All),
            _ => {}
        }
        let (mut tools, mut unknown) = (Vec::new(), Vec::new());
        for word in words {
            let before = tools.len();
            for (place, (upstream, looked)) in upstreams.iter().zip(looked).enumerate() {
                let Some(looked) = looked else { continue };
                // As its server calls it, or as agents see it.
                let exposed =
                    word.strip_prefix(upstream.name.as_str()).and_then(|rest| rest.strip_prefix("__"));
                let named = [Some(word), exposed].into_iter().flatten().filter(|tool| looked.has(tool));
                tools.extend(named.map(|tool| (place, tool.to_owned())));
            }
            if tools.len() == before {
                unknown.push(word);
            }
        }
        match unknown.as_slice() {
            [] => Ok(Self::Without(tools)),
            [word] if ["n", "no", "q", "quit"].iter().any(|no| word.eq_ignore_ascii_case(no)) => Err(
                "Nothing is taken over by that: `all` lets a person be asked about each tool, and Ctrl-C ends this with nothing written."
                    .to_owned(),
            ),
            unknown => Err(format!("There is no tool {} in the table.", unknown.join(", "))),
        }
    }

    pub(super) fn apply(&self, looked: &mut [Option<Looked>]) {
        for (place, one) in looked.iter_mut().enumerate() {
            let Some(one) = one else { continue };
            match self {
                Self::Proposed => {}
                Self::Marks => one.marked_only(),
                Self::All => one.without(|_| true),
                Self::Without(tools) => {
                    one.without(|tool| tools.iter().any(|(of, named)| *of == place && named == tool))
                }
            }
        }
    }
}

/// What a tool is proposed to be taken for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Proposal {
    pub(super) tool: String,
    pub(super) read_only: bool,
    /// `None`: nothing is known, so it counts as destructive.
    pub(super) destructive: Option<bool>,
    pub(super) labels: Vec<&'static str>,
    /// What says so.
    by: By,
    why: String,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Mark,
    Name,
    Nothing,
}

impl Proposal {
    fn ask(&mut self) {
        self.read_only = false;
        self.destructive = None;
        self.labels.retain(|label| *label == EXTERNAL);
        "a person is asked about it".clone_into(&mut self.why);
    }

    /// A row for people: the tool, what it is taken for, and why.
    pub(super) fn row(&self, server: &str) -> Vec<String> {
        let taken = match (self.read_only, self.destructive) {
            (true, _) => "reads: nobody is asked",
            (false, Some(true)) => "destroys: asked",
            (false, Some(false)) => "writes: asked",
            (false, None) => "unknown: asked",
        };
        vec![server.to_owned(), self.tool.clone(), taken.to_owned(), self.labels.join(" "), self.why.clone()]
    }
}

const EXTERNAL: &str = "external";

/// Words in names of tools.
const READS: &[&str] = &[
    "get",
    "list",
    "ls",
    "search",
    "read",
    "find",
    "fetch",
    "query",
    "describe",
    "show",
    "view",
    "lookup",
    "count",
    "check",
    "status",
    "info",
    "inspect",
    "tree",
    "diff",
    "browse",
    "summarize",
    "explain",
    "validate",
    "preview",
    "resolve",
];
const WRITES: &[&str] = &[
    "write", "create", "add", "update", "set", "put", "post", "send", "edit", "insert", "upsert", "move",
    "rename", "copy", "upload", "publish", "save", "append", "patch", "modify", "change", "replace",
    "commit", "push", "merge", "deploy", "run", "execute", "exec", "start", "stop", "restart", "invite",
    "assign", "comment", "reply", "submit", "apply", "install", "enable", "disable", "import", "mail",
    "notify", "transfer", "pay", "buy", "order", "cancel", "close",
];
const DESTROYS: &[&str] = &[
    "delete",
    "drop",
    "remove",
    "rm",
    "destroy",
    "purge",
    "wipe",
    "truncate",
    "erase",
    "kill",
    "terminate",
    "uninstall",
    "revoke",
    "reset",
    "overwrite",
    "unlink",
    "shred",
    "archive",
    "clear",
    "flush",
    "prune",
    "rollback",
    "ban",
];
const SENDS: &[&str] =
    &["send", "post", "publish", "mail", "email", "notify", "tweet", "sms", "reply", "invite"];

/// The words of a name, however they are joined.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut was_lower = false;
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || (was_lower && c.is_uppercase());
        if begins {
            words.push(String::new());
        }
        was_lower = c.is_lowercase() || c.is_numeric();
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What a listed tool is taken for.
fn propose(listed: &Value) -> Option<Proposal> {
    let tool = listed.get("name")?.as_str()?.to_owned();
    let mark = |name: &str| listed.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool);
    let words = words(&tool);
    let has = |known: &[&str]| words.iter().find(|word| known.contains(&word.as_str()));
    // The verb stands first or last.
    let verb = |known: &[&str]| {
        [words.first(), words.last()].into_iter().flatten().find(|word| known.contains(&word.as_str()))
    };
    let named = |word: &String| format!("`{word}` in its name");
    let (marked_read, marked_destroys) = (mark("readOnlyHint"), mark("destructiveHint"));
    let (read_only, destructive, by, why) = match (marked_read, verb(DESTROYS), has(DESTROYS), has(WRITES)) {
        (Some(true), Some(word), _, _) => (
            false,
            Some(true),
            By::Name,
            format!("{}, though its server says that it only reads", named(word)),
        ),
        (Some(true), None, _, _) => (true, None, By::Mark, "its server says that it only reads".to_owned()),
        (Some(false) | None, _, _, _) if marked_destroys == Some(true) => {
            (false, Some(true), By::Mark, "its server says that it destroys".to_owned())
        }
        (Some(false) | None, _, Some(word), _) => (false, Some(true), By::Name, named(word)),
        (Some(false) | None, _, None, _) if marked_destroys == Some(false) && marked_read == Some(false) => {
            (false, Some(false), By::Mark, "its server says that it writes and destroys nothing".to_owned())
        }
        (Some(false) | None, _, None, Some(word)) => (false, Some(false), By::Name, named(word)),
        (Some(false), _, None, None) => {
            (false, None, By::Mark, "its server says that it does not only read".to_owned())
        }
        (None, _, None, None) => match has(READS) {
            Some(word) => (true, None, By::Name, format!("{}; its server does not say", named(word))),
            None => (false, None, By::Nothing, "neither its server nor its name says".to_owned()),
        },
    };
    let mut labels = match (read_only, destructive) {
        (true, _) => vec!["read"],
        (false, Some(true)) => vec!["write", "destructive"],
        (false, Some(false)) => vec!["write"],
        (false, None) => vec![],
    };
    let sends = !read_only && has(SENDS).is_some();
    if sends || (!read_only && mark("openWorldHint") == Some(true)) {
        labels.push(EXTERNAL);
    }
    Some(Proposal { tool, read_only, destructive, labels, by, why })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn marks_and_names_say_what_a_tool_is_taken_for() {
        let check = |tool: Value, read_only: bool, destructive: Option<bool>, by: By, labels: &[&str]| {
            let proposal = propose(&tool).unwrap();
            let said = (proposal.read_only, proposal.destructive, proposal.by, proposal.labels.as_slice());
            assert_eq!(said, (read_only, destructive, by, labels), "{tool}");
        };
        let marked = |name: &str, marks: Value| json!({"name": name, "annotations": marks});
        let plain = |name: &str| json!({ "name": name });
        check(marked("x", json!({"readOnlyHint": true})), true, None, By::Mark, &["read"]);
        check(marked("get_update_status", json!({"readOnlyHint": true})), true, None, By::Mark, &["read"]);
        // What a name plainly says is not overruled by a mark that costs nothing.
        let lies = marked("drop_table", json!({"readOnlyHint": true}));
        check(lies, false, Some(true), By::Name, &["write", "destructive"]);
        check(plain("list_files"), true, None, By::Name, &["read"]);
        check(plain("searchIssues"), true, None, By::Name, &["read"]);
        check(plain("search_and_replace"), false, Some(false), By::Name, &["write"]);
        check(plain("deleteFile"), false, Some(true), By::Name, &["write", "destructive"]);
        check(plain("notes-remove"), false, Some(true), By::Name, &["write", "destructive"]);
        check(plain("send_email"), false, Some(false), By::Name, &["write", "external"]);
        check(plain("frobnicate"), false, None, By::Nothing, &[]);
        check(marked("f", json!({"readOnlyHint": false})), false, None, By::Mark, &[]);
        check(
            marked("get_x", json!({"destructiveHint": true, "openWorldHint": true})),
            false,
            Some(true),
            By::Mark,
            &["write", "destructive", "external"],
        );
        let harmless = marked("mkdir", json!({"readOnlyHint": false, "destructiveHint": false}));
        check(harmless, false, Some(false), By::Mark, &["write"]);
    }

    #[test]
    fn what_is_not_agreed_to_is_asked_about() {
        let tools = [json!({"name": "list_a"}), json!({"name": "b", "annotations": {"readOnlyHint": true}})];
        let mut looked = Looked::at(&tools, false);
        let reads = |looked: &Looked| looked.tools.iter().map(|one| one.read_only).collect::<Vec<_>>();
        assert_eq!(reads(&looked), [true, true]);
        looked.marked_only();
        assert_eq!(reads(&looked), [false, true]);
        looked.without(|tool| tool == "b");
        assert_eq!(reads(&looked), [false, false]);
        assert!(looked.has("b") && !looked.has("c"));
    }

    /// What is not understood is no consent.
    #[test]
    fn an_answer_names_tools_of_the_table_or_is_asked_for_again() {
        let server = |name: &str| {
            let command = vec!["x".to_owned()];
            let (env, cwd, env_file) = (std::collections::BTreeMap::new(), None, None);
            Upstream::of(name, super::super::read::Server::Command { command, env, cwd, env_file })
        };
        let upstreams = [server("fast"), server("slow"), server("off")];
        let tools = [json!({"name": "search"}), json!({"name": "list_a"})];
        let looked = [Some(Looked::at(&tools, false)), Some(Looked::at(&tools[..1], false)), None];
        let read = |answer: &str| Wanted::read(answer, &upstreams, &looked);
        let without = |tools: &[(usize, &str)]| {
            Ok(Wanted::Without(tools.iter().map(|(place, tool)| (*place, (*tool).to_owned())).collect()))
        };
        assert_eq!((read(""), read(" , ")), (Ok(Wanted::Proposed), Ok(Wanted::Proposed)));
        assert_eq!(
            (read("marks"), read("Marks"), read("ALL")),
            (Ok(Wanted::Marks), Ok(Wanted::Marks), Ok(Wanted::All))
        );
        assert_eq!(read("search"), without(&[(0, "search"), (1, "search")]));
        assert_eq!(read("fast__search"), without(&[(0, "search")]));
        assert_eq!(read("slow__search, list_a"), without(&[(1, "search"), (0, "list_a")]));
        for no in ["n", "No", "q"] {
            assert!(read(no).unwrap_err().contains("Ctrl-C"), "{no}");
        }
        for typo in ["serch", "search serch", "slow__list_a", "off__search", "marks search", "y"] {
            let told = read(typo).unwrap_err();
            assert!(
                told.contains("no tool")
                    && told.contains(typo.split(' ').find(|word| *word != "search").unwrap()),
                "{told}"
            );
        }
        let mut one = looked.clone();
        read("fast__search").unwrap().apply(&mut one);
        let reads = |looked: &Option<Looked>| looked.as_ref().unwrap().tools[0].read_only;
        assert_eq!((reads(&one[0]), reads(&one[1])), (false, true));
        read("all").unwrap().apply(&mut one);
        assert!(one.iter().flatten().all(|looked| looked.tools.iter().all(|tool| !tool.read_only)));
    }
}
