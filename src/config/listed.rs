//! What upstreams are known to list, so that a name in servers.toml or in a policy that fits none of it is noticed: a table or a
//! rule for a tool that is not there protects nothing.

use super::{Config, CredentialOf, OauthGrant, ToolConfig, UpstreamConfig, UpstreamTransport};
use crate::{
    model::{CapabilityId, Glob, UpstreamName, UriPattern},
    policy::{
        Capability, KnownNames, KnownUpstream, PolicySet, counted_arguments, first_member,
        names::did_you_mean,
        no_argument,
        read::short,
        source::{Entry, Node, Report},
    },
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Agents that one lint names.
const MOST_NAMED: usize = 5;

/// What each upstream lists, as far as that is known.
pub type Listings = BTreeMap<UpstreamName, Listed>;

/// What one upstream lists, under its own names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its tools, each with the names of its arguments; `None` where it takes others too.
    pub tools: BTreeMap<String, Option<BTreeSet<String>>>,
    /// Its prompts.
    pub prompts: BTreeSet<String>,
    /// It has resources or templates, whose actions hold URIs.
    pub resources: bool,
}

/// Actions, labels and names that policies may speak of.
pub(super) fn known_names(config: &Config, listings: &Listings) -> KnownNames {
    let checks = config.checks.keys().map(ToString::to_string).collect();
    let mut known = KnownNames { checks: Some(checks), ..KnownNames::default() };
    let enabled = config.upstreams.values().map(|u| (&u.name, &u.prefix, &u.labels, &u.tools));
    let disabled = config.disabled.values().map(|u| (&u.name, &u.prefix, &u.labels, &u.tools));
    for (name, prefix, labels, tables) in enabled.chain(disabled) {
        known.labels.extend(labels.iter().map(|label| label.to_string()));
        known.labels.extend(tables.values().flat_map(|table| &table.labels).map(|label| label.to_string()));
        let prefix = match prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}{}", config.gateway.separator),
        };
        let action = |own: &str, table: Option<&ToolConfig>| {
            let stated: Option<&Arc<str>> = table.and_then(|table| table.action.as_ref());
            stated.map_or_else(|| format!("{name}:{own}"), |action| action.to_string())
        };
        let listed = listings.get(name);
        match listed {
            Some(listed) => {
                for (own, arguments) in &listed.tools {
                    let name = format!("{prefix}{own}");
                    known.actions.insert(action(own, tables.get(own)));
                    known.arguments.extend(arguments.clone().map(|arguments| (name.clone(), arguments)));
                    known.tools.insert(name);
                }
                known.actions.extend(listed.prompts.iter().map(|own| format!("{name}:{own}")));
                known.prompts.extend(listed.prompts.iter().map(|own| format!("{prefix}{own}")));
            }
            None => {
                for (own, table) in tables {
                    known.actions.insert(action(own, Some(table)));
                    known.tools.insert(format!("{prefix}{own}"));
                }
            }
        }
        let resources = listed.is_none_or(|listed| listed.resources);
        let upstream = KnownUpstream { prefix, is_listed: listed.is_some(), has_resources: resources };
        known.upstreams.insert(name.to_string(), upstream);
    }
    known
}

/// What can be told of which capability reaches an upstream.
struct Reach<'c> {
    prefix: String,
    listed: Option<&'c Listed>,
}

impl<'c> Reach<'c> {
    fn of(config: &Config, listings: &'c Listings, upstream: &UpstreamConfig) -> Self {
        let prefix = match &*upstream.prefix {
            "" => String::new(),
            prefix => format!("{prefix}{}", config.gateway.separator),
        };
        Self { prefix, listed: listings.get(&upstream.name) }
    }

    fn is_granted(&self, capability: &Capability) -> bool {
        let Self { prefix, listed } = self;
        let reaches = |glob: &Glob, names: Option<Vec<&String>>| match names {
            Some(names) => names.iter().any(|own| glob.matches(&format!("{prefix}{own}"))),
            None => {
                let head = glob.as_str().split('*').next().unwrap_or_default();
                head.starts_with(prefix) || prefix.starts_with(head) && glob.literal().is_none()
            }
        };
        let tools = || listed.map(|listed| listed.tools.keys().collect());
        let prompts = || listed.map(|listed| listed.prompts.iter().collect());
        // Whose a URI is cannot be told before it is listed, but for a capability that grants all of them.
        let resources = |pattern: &UriPattern| match listed {
            Some(listed) => listed.resources,
            None => matches!(pattern.path().as_str(), "*" | "**"),
        };
        capability.tools.iter().any(|glob| reaches(glob, tools()))
            || capability.prompts.iter().any(|glob| reaches(glob, prompts()))
            || capability.resources.iter().any(resources)
    }
}

/// Lints the upstreams of which no capability grants anything: nobody can use them.
pub(super) fn ungranted(
    root: &Node,
    config: &Config,
    listings: &Listings,
    set: &PolicySet,
    report: &mut Report<'_>,
) {
    for upstream in root.get("upstreams").map(Node::entries).unwrap_or_default() {
        let Some(enabled) = config.upstreams.get(upstream.key.as_str()) else { continue };
        let reach = Reach::of(config, listings, enabled);
        let lists_nothing =
            reach.listed.is_some_and(|listed| listed.tools.is_empty() && listed.prompts.is_empty());
        let granted = set.authority.capabilities.values().any(|capability| reach.is_granted(capability));
        if !granted && !lists_nothing {
            let shown = short(&upstream.key);
            report.lint(
                upstream.at,
                format!("no capability grants anything of upstream `{shown}`: no agent can use it"),
                format!(
                    "a capability in authority.yaml, like `tools: [\"{}*\"]`, or `enabled = false`",
                    reach.prefix
                ),
            );
        }
        nobodys(upstream, config, (enabled, &reach), set, report);
        unasked(upstream, enabled, report);
    }
}

/// Lints what is reached with an account of the caller's own, where a caller has none.
fn nobodys(
    upstream: &Entry,
    config: &Config,
    (enabled, reach): (&UpstreamConfig, &Reach<'_>),
    set: &PolicySet,
    report: &mut Report<'_>,
) {
    let UpstreamTransport::Http { oauth: Some(oauth), .. } = &enabled.transport else { return };
    let shown = short(&upstream.key);
    match &oauth.grant {
        OauthGrant::AuthorizationCode(grant) if grant.per == CredentialOf::Person => {
            // Whom a token names is known when it comes.
            if config.auth.jwt.as_ref().is_some_and(|jwt| jwt.user_claim.is_some()) {
                return;
            }
            let granted = |id: &CapabilityId| {
                set.authority.capabilities.get(id).is_some_and(|capability| reach.is_granted(capability))
            };
            let agents = set.authority.agents.values();
            let unattended = agents.filter(|agent| agent.operator.is_none() && agent.capabilities.iter().any(granted));
            let names: Vec<String> = unattended.map(|agent| format!("`{}`", short(agent.id.as_str()))).collect();
            if names.is_empty() {
                return;
            }
            let more = names.len().saturating_sub(MOST_NAMED);
            let mut listed = names.iter().take(MOST_NAMED).cloned().collect::<Vec<_>>().join(", ");
            if more > 0 {
                listed.push_str(&format!(" and {more} more"));
            }
            report.lint(
                upstream.at,
                format!(
                    "upstream `{shown}` is reached with each person's own account (`per = \"person\"`), and nobody is known for whom \
                     these agents act: {listed}: their calls there are refused"
                ),
                "`operator` of each in authority.yaml, `user_claim` in `[auth.jwt]`, or over stdio `tollgate stdio --agent NAME \
                 --user PERSON`",
            );
        }
        OauthGrant::TokenExchange(..) if config.auth.jwt.is_none() => report.lint(
            upstream.at,
            format!(
                "upstream `{shown}` takes what callers' own access tokens are exchanged for (`grant = \"token_exchange\"`), and no \
                 agent can come with one: all calls there are refused"
            ),
            "`jwt` in `[auth]`, or another `grant`",
        ),
        OauthGrant::AuthorizationCode(_) | OauthGrant::ClientCredentials(_) | OauthGrant::TokenExchange(..) => {}
    }
}

/// Lints accounts of callers' own at a server without a prefix: whom a name is of is not known before somebody's account has
/// listed it.
fn unasked(upstream: &Entry, enabled: &UpstreamConfig, report: &mut Report<'_>) {
    let UpstreamTransport::Http { oauth: Some(oauth), .. } = &enabled.transport else { return };
    let OauthGrant::AuthorizationCode(grant) = &oauth.grant else { return };
    if grant.per == CredentialOf::Gateway || !enabled.prefix.is_empty() || !enabled.tools.is_empty() {
        return;
    }
    let shown = short(&upstream.key);
    report.lint(
        upstream.at,
        format!(
            "upstream `{shown}` is reached with accounts of callers' own and has no prefix: a call of a tool that nobody's account \
             has listed yet is unknown, and asks nobody to connect"
        ),
        format!("a `prefix`, or `[upstreams.{shown}.tools.NAME]` for what callers begin with"),
    );
}

/// Looks through the tables of tools.
pub(super) fn tables(root: &Node, listings: &Listings, report: &mut Report<'_>) {
    for upstream in root.get("upstreams").map(Node::entries).unwrap_or_default() {
        let Some(listed) = listings.get(upstream.key.as_str()) else { continue };
        let shown = short(&upstream.key);
        for table in upstream.value.get("tools").map(Node::entries).unwrap_or_default() {
            let tool = short(&table.key);
            let Some(arguments) = listed.tools.get(&table.key) else {
                let names = listed.tools.keys().map(String::as_str);
                report.doubt(
                    table.at,
                    format!(
                        "upstream `{shown}` lists no tool `{tool}`{}: nothing in this table applies",
                        did_you_mean(&table.key, names)
                    ),
                    format!("a tool that `tollgate servers inspect {shown}` lists"),
                );
                continue;
            };
            let Some(arguments) = arguments else { continue };
            for pointer in table.value.get("cost").into_iter().flat_map(counted_arguments) {
                let Some(first) = pointer.as_text().and_then(first_member) else { continue };
                if !arguments.contains(&first) {
                    let told = no_argument(&table.key, &first, arguments, 0);
                    report.doubt(pointer.start, told, "a pointer to an argument of the tool");
                }
            }
            for pointer in table.value.get("sensitive").map(Node::items).unwrap_or_default() {
                let Some(first) = pointer.as_text().and_then(first_member) else { continue };
                if !arguments.contains(&first) {
                    report.doubt(
                        pointer.start,
                        format!(
                            "tool `{tool}` takes no argument `{}`{}: nothing is masked by this",
                            short(&first),
                            did_you_mean(&first, arguments.iter().map(String::as_str))
                        ),
                        "a pointer to an argument of the tool",
                    );
                }
            }
        }
    }
}
