//! What a chat, a mailbox and a pager are told of an ask or an alert, each in its format: pure. Everything that an agent, an upstream
//! or a person wrote is bounded, has its hidden characters written out, and is escaped as its format has it.

mod mail;
mod pagerduty;
mod slack;
mod teams;

#[cfg(test)]
mod tests;

pub use mail::{Letter, letter};
pub use pagerduty::{event as pagerduty_event, resolution as pagerduty_resolution};
pub use slack::message as slack_message;
pub use teams::message as teams_message;

use crate::redaction::{display_text, visible_json};
use jiff::Timestamp;
use serde_json::Value;

/// Characters of a name.
const NAME: usize = 120;
/// Characters of a sentence.
const SENTENCE: usize = 600;
/// Characters of arguments, as JSON.
const ARGUMENTS: usize = 1_500;
/// Members of arguments, and depth, that are looked at.
const MOST_MEMBERS: usize = 40;

/// Something that people are told.
#[derive(Clone, Debug)]
pub struct Notice {
    /// `env` of the gateway.
    pub environment: String,
    /// Where it is looked at; none: nobody has said where the page is.
    pub link: Option<String>,
    /// What it is about.
    pub about: About,
}

/// What is told.
#[derive(Clone, Debug)]
pub enum About {
    /// People are asked, or what became of it.
    Ask(Box<Ask>),
    /// An alert.
    Alert(Alert),
    /// Nothing: somebody tries whether it arrives.
    Sample {
        /// The webhook's name.
        webhook: String,
    },
}

/// A call about which people are asked. What is in it is masked already.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Where it stands.
    pub stage: Stage,
    /// The approval.
    pub id: String,
    /// Who called.
    pub agent: String,
    /// For whom.
    pub user: Option<String>,
    /// In which workflow.
    pub workflow: Option<String>,
    /// What is called.
    pub tool: String,
    /// Whose.
    pub upstream: String,
    /// What the tool is taken for.
    pub risk: Risk,
    /// Whether anything is masked.
    pub masked: bool,
    /// Which policy asks.
    pub policy: String,
    /// Which rule of it.
    pub rule: Option<String>,
    /// Why, in its words.
    pub reason: String,
    /// The arguments; none: they are not shown here.
    pub arguments: Option<Value>,
    /// What it will probably cost, in USD; none: nothing.
    pub cost: Option<String>,
    /// Who may decide.
    pub approvers: Vec<String>,
    /// Until when.
    pub expires_at: Timestamp,
}

/// What a tool is taken for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Risk {
    /// It changes something.
    pub changes: bool,
    /// It may destroy something.
    pub destructive: bool,
    /// It reaches outside.
    pub open_world: bool,
}

/// Where an ask stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Somebody must decide.
    Asked,
    /// Nobody has decided in time.
    Escalated {
        /// In words.
        why: String,
    },
    /// Somebody has approved, and more must.
    Answered {
        /// Who.
        by: String,
    },
    /// It was approved.
    Approved {
        /// By whom last.
        by: String,
    },
    /// It was rejected.
    Rejected {
        /// By whom.
        by: String,
    },
    /// Nobody decided in time.
    Expired,
    /// Nobody has to decide any more.
    Withdrawn {
        /// Why.
        why: String,
    },
}

impl Stage {
    /// Whether people still have to do something.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Asked | Self::Escalated { .. } | Self::Answered { .. } => true,
            Self::Approved { .. } | Self::Rejected { .. } | Self::Expired | Self::Withdrawn { .. } => false,
        }
    }
}

/// An alert.
#[derive(Clone, Debug)]
pub struct Alert {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// How bad it is, as the bundle says.
    pub severity: String,
    /// What it says, without values.
    pub reason: String,
    /// About whom or what, by what that is.
    pub about: Vec<(&'static str, String)>,
}

/// A notice in the words that all formats share: nothing of it is escaped yet.
struct Words {
    title: String,
    sentence: String,
    rows: Vec<(&'static str, String)>,
    arguments: Option<String>,
    /// What the link says.
    link: &'static str,
    /// What else is to be known, in our own words but for ids.
    foot: String,
}

fn name(text: &str) -> String {
    display_text(text, NAME)
}

impl Notice {
    fn words(&self) -> Words {
        match &self.about {
            About::Ask(ask) => self.ask(ask),
            About::Alert(alert) => self.alert(alert),
            About::Sample { webhook } => Words {
                title: format!("Tollgate can reach this place ({})", name(&self.environment)),
                sentence: format!("Somebody tried the webhook {}: messages arrive here.", name(webhook)),
                rows: vec![],
                arguments: None,
                link: "Open the page",
                foot: "Nothing waits, and nothing has to be done.".to_owned(),
            },
        }
    }

    fn ask(&self, ask: &Ask) -> Words {
        let title = match &ask.stage {
            Stage::Asked => "Approval wanted",
            Stage::Escalated { .. } => "Approval still wanted",
            Stage::Answered { .. } => "Approved by one, more must",
            Stage::Approved { .. } => "Approved",
            Stage::Rejected { .. } => "Rejected",
            Stage::Expired => "Nobody decided in time",
            Stage::Withdrawn { .. } => "No decision needed any more",
        };
        let (agent, tool) = (name(&ask.agent), name(&ask.tool));
        let sentence = match &ask.stage {
            Stage::Asked => format!("{agent} wants to call {tool}."),
            Stage::Escalated { why } => {
                format!("{agent} wants to call {tool}, and {}.", display_text(why, SENTENCE))
            }
            Stage::Answered { by } => format!("{} has approved {tool} of {agent}; it takes more.", name(by)),
            Stage::Approved { by } => format!("{} has approved {tool} of {agent}.", name(by)),
            Stage::Rejected { by } => format!("{} has rejected {tool} of {agent}.", name(by)),
            Stage::Expired => format!("Nobody decided about {tool} of {agent}: it was not called."),
            Stage::Withdrawn { why } => {
                format!("Nobody has to decide about {tool} of {agent}: {}.", display_text(why, SENTENCE))
            }
        };
        let open = ask.stage.is_open();
        let mut foot = match (open, self.link.is_some()) {
            (true, true) => "The link opens this ask once you have signed in. An answer or a reaction here decides nothing.",
            (true, false) => {
                "Open Tollgate's page and look for the id, or run `tollgate approvals show` with it. \
                 An answer or a reaction here decides nothing."
            }
            (false, _) => "There is nothing left to do.",
        }
        .to_owned();
        foot = format!("{foot} Approval {}.", name(&ask.id));
        Words {
            title: format!("{title} ({})", name(&self.environment)),
            sentence,
            rows: if open { rows(ask) } else { Vec::new() },
            arguments: ask.arguments.as_ref().filter(|_| open && ask.stage != Stage::Expired).map(shown),
            link: if open { "Open this ask" } else { "Open the page" },
            foot,
        }
    }

    fn alert(&self, alert: &Alert) -> Words {
        let mut rows = vec![("Kind", name(&alert.kind)), ("Severity", name(&alert.severity))];
        rows.extend(alert.about.iter().map(|(label, value)| (*label, name(value))));
        Words {
            title: format!("Alert: {} ({})", name(&alert.kind), name(&self.environment)),
            sentence: display_text(&alert.reason, SENTENCE),
            rows,
            arguments: None,
            link: "Open the alerts",
            foot: format!("Alert {}. `tollgate alerts ack` says that you have seen it.", name(&alert.id)),
        }
    }
}

fn rows(ask: &Ask) -> Vec<(&'static str, String)> {
    let mut rows =
        vec![("Agent", name(&ask.agent)), ("Tool", name(&ask.tool)), ("Server", name(&ask.upstream))];
    let mut risk = Vec::new();
    match (ask.risk.destructive, ask.risk.changes) {
        (true, _) => risk.push("may destroy something"),
        (false, true) => risk.push("changes something"),
        (false, false) => risk.push("only reads"),
    }
    if ask.risk.open_world {
        risk.push("reaches outside");
    }
    if ask.masked {
        risk.push("has masked values");
    }
    rows.push(("Risk", risk.join(", ")));
    rows.extend(ask.user.as_deref().map(|user| ("For", name(user))));
    rows.extend(ask.workflow.as_deref().map(|workflow| ("Workflow", name(workflow))));
    let rule = ask.rule.as_deref().map(|rule| format!(" / {}", name(rule))).unwrap_or_default();
    rows.push(("Policy", format!("{}{rule}", name(&ask.policy))));
    rows.push(("Why", display_text(&ask.reason, SENTENCE)));
    rows.extend(ask.cost.as_deref().map(|cost| ("Cost", format!("about {cost} USD"))));
    if !ask.approvers.is_empty() {
        rows.push(("Who decides", display_text(&ask.approvers.join(", "), NAME * 2)));
    }
    rows.push(("Until", ask.expires_at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()));
    rows
}

/// Arguments as JSON, a member on a line, within a bound; the page has all of it.
fn shown(arguments: &Value) -> String {
    let brief = brief(arguments, 4);
    let text = serde_json::to_string_pretty(&brief).unwrap_or_default();
    let mut out = String::new();
    let visible = visible_json(&text);
    let total = visible.chars().count();
    out.extend(visible.chars().take(ARGUMENTS));
    if total > ARGUMENTS || brief != *arguments {
        out.push_str("\n… (cut: the page shows all of it)");
    }
    out
}

/// As much of a value as a message shows.
fn brief(value: &Value, depth: usize) -> Value {
    match value {
        Value::String(text) if text.chars().count() > 300 => {
            Value::String(text.chars().take(300).chain(['…']).collect())
        }
        Value::Array(_) | Value::Object(_) if depth == 0 => Value::String("…".to_owned()),
        Value::Array(items) => items.iter().take(MOST_MEMBERS).map(|item| brief(item, depth - 1)).collect(),
        Value::Object(members) => {
            let key = |key: &str| key.chars().take(NAME).collect::<String>();
            members
                .iter()
                .take(MOST_MEMBERS)
                .map(|(name, item)| (key(name), brief(item, depth - 1)))
                .collect()
        }
        plain => plain.clone(),
    }
}

/// Escapes character by character, and cuts where the result would be longer than `most` UTF-16 units: a format's bound is held, and
/// nothing is cut in the middle of an escape.
fn escaped(text: &str, most: usize, escape: impl Fn(char, &mut String)) -> String {
    let size = |text: &str| text.encode_utf16().count();
    let mut out = String::new();
    let mut used = 0;
    let mut piece = String::new();
    let mut cut_at = None;
    for c in text.chars() {
        piece.clear();
        escape(c, &mut piece);
        let units = size(&piece);
        // Room for the sign of a cut.
        if used + units < most {
            cut_at = Some(out.len() + piece.len());
        }
        if used + units > most {
            out.truncate(cut_at.unwrap_or_default().min(out.len()));
            out.push('…');
            return out;
        }
        used += units;
        out.push_str(&piece);
    }
    out
}
