//! `[webhook]` and `[webhooks.NAME]`: who is told that approvals wait, and of alerts, and in which format. No message shows a URL or
//! a key: those of chat services are secrets.

use super::{
    EmailConfig, SecretUrl, Tells, WebhookConfig, WebhookTarget,
    input::{Input, expanded},
    is_loopback, secret_url,
};
use crate::policy::{
    Approver,
    names::{did_you_mean, group_or_person},
    read::{Fields, boolean, entries, fields, list_of, mismatch, short, text, word},
    source::{Entry, Node, Report},
};
use lettre::{Address, message::Mailbox};
use secrecy::SecretString;
use std::sync::Arc;

/// The most webhooks: each follows the record for itself.
const MOST: usize = 16;
/// What a person may have of addresses in one table.
const MOST_ADDRESSES: usize = 1_000;
/// Where PagerDuty takes events.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// The ports of mail submission, without and with TLS from the first byte on.
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Slack,
    Teams,
    Email,
    PagerDuty,
}

const FORMATS: &[(&str, Format)] = &[
    ("json", Format::Json),
    ("slack", Format::Slack),
    ("teams", Format::Teams),
    ("email", Format::Email),
    ("pagerduty", Format::PagerDuty),
];

const KEYS: &[&str] = &[
    "format",
    "url",
    "secret",
    "routing_key",
    "user",
    "password",
    "from",
    "to",
    "addresses",
    "tell",
    "for",
    "arguments",
    "link",
];

/// Keys that not every format has, with those that have them.
const OF: &[(&str, &[Format])] = &[
    ("secret", &[Format::Json]),
    ("routing_key", &[Format::PagerDuty]),
    ("user", &[Format::Email]),
    ("password", &[Format::Email]),
    ("from", &[Format::Email]),
    ("to", &[Format::Email]),
    ("addresses", &[Format::Email]),
    ("arguments", &[Format::Slack, Format::Teams, Format::Email]),
];

impl Format {
    fn as_str(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("json", |(word, _)| word)
    }
}

/// What of the file around it a table is held against.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) input: &'a Input<'a>,
    /// Whether it is known where people open the page.
    pub(super) has_page: bool,
}

/// All of them; `one` is `[webhook]`, the others are `[webhooks.NAME]`.
pub(super) fn read(
    one: Option<&Node>,
    named: &[Entry],
    around: Around<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<Arc<WebhookConfig>>> {
    if let Some(more) = named.get(MOST) {
        report.error(more.at, format!("there are {} webhooks", named.len()), "at most 16");
        return None;
    }
    let mut all = Vec::new();
    if let Some(node) = one {
        all.push(table("webhook", node, around, report).map(Arc::new));
    }
    for entry in named {
        all.push(one_named(entry, one.is_some(), around, report).map(Arc::new));
    }
    all.into_iter().collect()
}

fn one_named(
    entry: &Entry,
    has_one: bool,
    around: Around<'_>,
    report: &mut Report<'_>,
) -> Option<WebhookConfig> {
    let name = entry.key.as_str();
    let plain = !name.is_empty() && name.len() <= 64;
    if !plain || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
        let expected = "letters, digits, `-` and `_`: it is a part of a file's name";
        report.error(entry.at, format!("`{}` cannot name a webhook", short(name)), expected);
        return None;
    }
    if name == "webhook" && has_one {
        report.error(entry.at, "`webhook` is the name of the table [webhook]", "another name");
        return None;
    }
    table(name, &entry.value, around, report)
}

fn table(name: &str, node: &Node, around: Around<'_>, report: &mut Report<'_>) -> Option<WebhookConfig> {
    let input = around.input;
    let map = fields(node, name, KEYS, report)?;
    let format = match map.get("format") {
        None => Format::Json,
        Some(_) => map.read("format", report, word(FORMATS))?,
    };
    let mut fits = true;
    for (key, formats) in OF {
        if let Some(node) = map.get(key).filter(|_| !formats.contains(&format)) {
            let of: Vec<&str> = formats.iter().map(|format| format.as_str()).collect();
            report.error(
                node.start,
                format!("`{key}` says nothing of a webhook with the format `{}`", format.as_str()),
                format!("format = \"{}\" beside it, or no `{key}`", of.join("\" or \"")),
            );
            fits = false;
        }
    }
    let link = link(&map, input, report);
    let target = target(name, format, &map, input, report);
    let tells = tells(format, &map, report);
    let audience = map.read("for", report, |node, key, report| {
        let read =
            list_of(node, key, report, |item, key, report| group_or_person(item, key, input.names, report));
        if node.items().is_empty() {
            report.error(node.start, "`for` is empty", "at least one group or person, or no `for`: for all");
        }
        read
    });
    let arguments = map.read("arguments", report, boolean).unwrap_or(true);
    let config = WebhookConfig {
        name: name.into(),
        target: target?,
        tells: tells?,
        audience: audience.unwrap_or_default(),
        arguments,
        link: link?,
    };
    doubts(&config, format, &map, around, report);
    fits.then_some(config)
}

fn link(map: &Fields<'_>, input: &Input<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    let link = expanded(map, "link", input, report)?;
    if let (Some(link), Some(node)) = (&link, map.get("link"))
        && !url::Url::parse(link).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
    {
        mismatch(node, "link", "the http or https URL of the inbox page", report);
        return None;
    }
    Some(link)
}

/// What is told where nobody says: a pager only of what nobody has decided in time, people of asks.
fn tells(format: Format, map: &Fields<'_>, report: &mut Report<'_>) -> Option<Tells> {
    const WORDS: &[(&str, Tells)] =
        &[("asks", Tells::ASKS), ("escalations", Tells::ESCALATIONS), ("alerts", Tells::ALERTS)];
    let Some(node) = map.get("tell") else {
        return Some(match format {
            Format::Json => Tells::ALL,
            Format::Slack | Format::Teams | Format::Email => Tells::ASKS.and(Tells::ESCALATIONS),
            Format::PagerDuty => Tells::ESCALATIONS,
        });
    };
    let read = list_of(node, "tell", report, word(WORDS))?;
    if node.items().is_empty() {
        report.error(node.start, "`tell` is empty", "asks, escalations, alerts, or some of them");
    }
    (read.len() == node.items().len()).then(|| read.into_iter().fold(Tells::default(), Tells::and))
}

fn target(
    name: &str,
    format: Format,
    map: &Fields<'_>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<WebhookTarget> {
    let whose = match name {
        "webhook" => "the webhook".to_owned(),
        name => format!("the webhook `{name}`"),
    };
    let what = "where notifications are sent";
    match format {
        Format::Json => {
            let (url, secret) = secret_url::signed(map, &whose, what, input, report);
            Some(WebhookTarget::Json { url: url?, secret: secret? })
        }
        Format::Slack => Some(WebhookTarget::Slack {
            url: secret_url::url(map, &whose, "the incoming webhook's URL", input, report)?,
        }),
        Format::Teams => Some(WebhookTarget::Teams {
            url: secret_url::url(map, &whose, "the workflow's URL", input, report)?,
        }),
        Format::PagerDuty => {
            let url = match map.get("url") {
                None => url::Url::parse(PAGERDUTY).ok().map(SecretUrl),
                Some(_) => secret_url::url(map, &whose, what, input, report),
            };
            let routing_key = routing_key(map, &whose, input, report);
            Some(WebhookTarget::PagerDuty { url: url?, routing_key: routing_key? })
        }
        Format::Email => email(map, &whose, input, report).map(|email| WebhookTarget::Email(Arc::new(email))),
    }
}

fn routing_key(
    map: &Fields<'_>,
    whose: &str,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<SecretString> {
    let expected = "\"${NAME}\" of the environment: the integration key of an Events API v2 integration";
    let node = map.required("routing_key", expected, report)?;
    let written = expanded(map, "routing_key", input, report).flatten()?;
    if written.len() != 32 || !written.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let why = format!("`routing_key` of {whose} is none (not shown: it is a secret)");
        report.error(node.start, why, "the 32 letters and digits of an Events API v2 integration");
        return None;
    }
    Some(SecretString::from(written))
}

fn email(map: &Fields<'_>, whose: &str, input: &Input<'_>, report: &mut Report<'_>) -> Option<EmailConfig> {
    const EXPECTED: &str = "smtps://HOST[:PORT], or smtp://HOST[:PORT] (STARTTLS)";
    let server = map.required("url", EXPECTED, report).and_then(|node| {
        let written = expanded(map, "url", input, report).flatten()?;
        let url = url::Url::parse(&written).ok().filter(|url| {
            matches!(url.scheme(), "smtp" | "smtps") && url.username().is_empty() && url.password().is_none()
        });
        let url = url.filter(|url| matches!(url.path(), "" | "/") && url.query().is_none());
        let host = url.as_ref().and_then(|url| url.host_str()).filter(|host| !host.is_empty());
        if let (Some(url), Some(host)) = (&url, host) {
            let from_start = url.scheme() == "smtps";
            let port = url.port().unwrap_or(if from_start { SUBMISSIONS } else { SUBMISSION });
            let here = url::Url::parse(&format!("http://{host}")).is_ok_and(|url| is_loopback(&url));
            return Some((host.trim_matches(['[', ']']).to_owned(), port, from_start, here));
        }
        let why = format!("`url` of {whose} is no mail server (not shown: it may hold a secret)");
        report.error(node.start, why, EXPECTED);
        None
    });
    let user = expanded(map, "user", input, report)?;
    let password = expanded(map, "password", input, report)?.map(SecretString::from);
    for (key, other, lacks) in [
        ("user", "password", user.is_some() && password.is_none()),
        ("password", "user", user.is_none() && password.is_some()),
    ] {
        if let Some(node) = map.get(key).filter(|_| lacks) {
            report.error(
                node.start,
                format!("`{key}` of {whose} stands alone"),
                format!("`{other}` beside it"),
            );
        }
    }
    let from = map.required("from", "the address that mails come from", report);
    let from = from.and_then(|node| {
        let written = expanded(map, "from", input, report).flatten()?;
        let read = written.parse::<Mailbox>().ok();
        if read.is_none() {
            mismatch(
                node,
                "from",
                "an address like tollgate@acme.example, or `Tollgate <tollgate@acme.example>`",
                report,
            );
        }
        read
    });
    let to =
        map.read("to", report, |node, key, report| list_of(node, key, report, address)).unwrap_or_default();
    let addresses = addresses(map, input, report)?;
    if map.lacks("to") && map.lacks("addresses") {
        report.error(
            map.at,
            format!("{whose} goes to nobody"),
            "`to = [\"…@…\"]`, or `addresses = { alice = \"…@…\" }` for people and groups",
        );
        return None;
    }
    let (host, port, tls_from_start, loopback) = server?;
    let login = user.zip(password);
    Some(EmailConfig { host, port, tls_from_start, loopback, login, from: from?, to, addresses })
}

fn address(node: &Node, key: &str, report: &mut Report<'_>) -> Option<Address> {
    let written = text(node, key, report)?;
    let read = written.parse::<Address>().ok();
    if read.is_none() {
        mismatch(node, key, "a mail address like alice@acme.example", report);
    }
    read
}

/// Of people and groups, by their names.
fn addresses(
    map: &Fields<'_>,
    input: &Input<'_>,
    report: &mut Report<'_>,
) -> Option<Vec<(Approver, Address)>> {
    let Some(node) = map.get("addresses") else { return Some(Vec::new()) };
    let written = entries(node, "addresses", report)?;
    if let Some(more) = written.get(MOST_ADDRESSES) {
        report.error(more.at, format!("`addresses` has {} entries", written.len()), "at most 1000");
        return None;
    }
    let one = |entry: &Entry, report: &mut Report<'_>| {
        let named = Node {
            start: entry.at,
            end: entry.at,
            kind: crate::policy::source::Kind::Text(entry.key.clone()),
        };
        let who = group_or_person(&named, "addresses", input.names, report);
        Some((who?, address(&entry.value, &entry.key, report)?))
    };
    let read: Vec<_> = written.iter().filter_map(|entry| one(entry, report)).collect();
    (read.len() == written.len()).then_some(read)
}

/// What works, and will not do what is meant.
fn doubts(
    config: &WebhookConfig,
    format: Format,
    map: &Fields<'_>,
    around: Around<'_>,
    report: &mut Report<'_>,
) {
    let at = map.get("url").or_else(|| map.get("routing_key")).map_or(map.at, |node| node.start);
    let url = match &config.target {
        WebhookTarget::Json { url, .. }
        | WebhookTarget::Slack { url }
        | WebhookTarget::Teams { url }
        | WebhookTarget::PagerDuty { url, .. } => Some(&url.0),
        WebhookTarget::Email(_) => None,
    };
    let is_at = |hosts: &[&str]| url.is_some_and(|url| is_of(url, hosts));
    let fitting: [(&[&str], &str); 3] =
        [(SLACK, "slack"), (TEAMS, "teams"), (&["pagerduty.com"], "pagerduty")];
    let fitting = fitting.iter().find(|(hosts, _)| format == Format::Json && is_at(hosts));
    if let Some((_, fitting)) = fitting {
        let expected = format!("format = \"{fitting}\"");
        report.lint(at, "the webhook sends signed JSON, which this service does not show", expected);
        return;
    }
    let nowhere = match format {
        Format::Json => is_at(CHATS),
        Format::Slack | Format::Teams | Format::Email | Format::PagerDuty => !around.has_page,
    };
    if config.link.is_none() && nowhere {
        report.lint(
            at,
            "the webhook tells a chat of approvals, and not where they are decided: an answer there decides nothing",
            "public_url = \"https://…\" in [admin], the page as people reach it, or `link` beside it",
        );
    }
    if format == Format::Teams && is_at(&["webhook.office.com", "outlook.office.com"]) {
        report.lint(
            at,
            "the URL is that of an Office 365 connector, and Microsoft has retired those",
            "the URL of a workflow: in Teams, Workflows, `Post to a channel when a webhook request is received`",
        );
    }
}

const SLACK: &[&str] = &["slack.com", "slack-gov.com"];
const TEAMS: &[&str] = &["webhook.office.com", "logic.azure.com", "api.powerplatform.com"];
/// Chats that have a format of their own, which is none of ours.
const CHATS: &[&str] = &[
    "discord.com",
    "discordapp.com",
    "chat.googleapis.com",
    "webexapis.com",
    "api.telegram.org",
    "hooks.zapier.com",
];

/// Whether a URL is that of one of these, or of a host below one.
fn is_of(url: &url::Url, hosts: &[&str]) -> bool {
    let host = url.host_str().unwrap_or_default();
    hosts.iter().any(|one| host == *one || host.strip_suffix(one).is_some_and(|rest| rest.ends_with('.')))
}

/// The name of a webhook that was asked for, or what there is in its place.
pub fn webhook_named<'c>(
    all: &'c [Arc<WebhookConfig>],
    name: &str,
) -> Result<&'c Arc<WebhookConfig>, String> {
    all.iter().find(|one| &*one.name == name).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|one| &*one.name).collect();
        let near = did_you_mean(name, names.iter().copied());
        let there = match names.as_slice() {
            [] => "none".to_owned(),
            names => names.join(", "),
        };
        format!("there is no webhook `{}`{near}; servers.toml has: {there}", short(name))
    })
}
