//! Query strings, read strictly: an unknown parameter, a repeated one and a bad value are told by name.

use super::error::ApiError;
use crate::{
    model::{
        AlertKind, AlertStatus, ApprovalId, ApprovalStatus, CallId, EventDecision, EventType, Moment,
        TraceId, in_order,
    },
    oversight::AlertFilter,
    pinning::ItemKind,
    redaction::display_text,
    series::{By, MOST_GROUPS, Measure, SeriesAsk, Step},
    store::{ApprovalFilter, EventQuery, GrantFilter, Pattern},
};
use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use jiff::{Timestamp, tz::TimeZone};

/// How many items a listing gives where nobody says.
pub(super) const DEFAULT_LIMIT: usize = 100;
/// The most it gives.
pub(super) const MAX_LIMIT: usize = 1000;

/// The parameters of `GET events`.
pub(super) const EVENT_PARAMS: &[&str] = &[
    "event_type",
    "trace_id",
    "agent_id",
    "workflow_id",
    "policy_id",
    "tool",
    "person",
    "user",
    "decision",
    "call_id",
    "approval_id",
    "grant_id",
    "since",
    "until",
    "after_seq",
    "before_seq",
    "tz",
    "limit",
];

/// The parameters of `GET approvals`.
pub(super) const APPROVAL_PARAMS: &[&str] = &["status", "agent_id", "before", "limit"];

/// The parameters of `GET grants`.
pub(super) const GRANT_PARAMS: &[&str] = &["status", "agent_id", "tool", "before", "limit"];
/// The parameters of `DELETE grants/{id}`.
pub(super) const REVOKE_PARAMS: &[&str] = &["reason"];
/// The parameters of `GET deadletters`.
pub(super) const DEAD_LETTER_PARAMS: &[&str] = &["status", "before_seq", "limit"];
/// The parameters of `GET labels`.
pub(super) const LABEL_PARAMS: &[&str] = &["workflow", "agent", "after", "limit"];

/// The parameters of `GET tools`, and those of them that say whose own lists are wanted.
pub(super) const TOOL_PARAMS: &[&str] = &["person", "agent", "after", "limit"];
pub(super) const OWNERS: &[&str] = &["person", "agent"];

/// The parameters of `GET pins`.
pub(super) const PIN_PARAMS: &[&str] = &["upstream", "kind", "after", "limit"];

/// A kind of item by its word.
pub(super) fn kind(value: &str) -> Result<ItemKind, ApiError> {
    word("kind", ItemKind::parse(value), &ItemKind::ALL)
}

pub(super) fn pairs(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, ApiError> {
    let mut seen: Vec<(String, String)> = Vec::new();
    for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if !known.contains(&&*name) {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(bad(&name, "is not a parameter of this path", &known));
        }
        if seen.iter().any(|(other, _)| *other == *name) {
            return Err(bad(&name, "is given twice", "it once"));
        }
        if value.is_empty() {
            return Err(bad(&name, "is empty", "a value"));
        }
        seen.push((name.into_owned(), value.into_owned()));
    }
    Ok(seen)
}

/// The parameters of `GET report/…`.
pub(super) const SPAN_PARAMS: &[&str] = &["since", "until", "tz"];

/// `since` and `until` of a report: the time that it is about.
pub(super) fn span(
    query: Option<&str>,
    now: Timestamp,
    usual: &str,
) -> Result<(Timestamp, Timestamp), ApiError> {
    span_of(&pairs(query, SPAN_PARAMS)?, now, usual)
}

fn span_of(
    pairs: &[(String, String)],
    now: Timestamp,
    usual: &str,
) -> Result<(Timestamp, Timestamp), ApiError> {
    let zone = zone(pairs)?;
    let given = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let since = time("since", given("since").unwrap_or(usual), &zone, now)?;
    let until = given("until").map(|text| time("until", text, &zone, now)).transpose()?.unwrap_or(now);
    in_order(Some(since), Some(until)).map_err(ApiError::BadRequest)?;
    Ok((since, until))
}

/// The parameters of `GET report/digest`.
pub(super) const DIGEST_PARAMS: &[&str] = &["since", "until", "tz", "format"];

/// The form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReportForm {
    Json,
    Markdown,
    Html,
}

/// `GET report/digest`: the time that it is about, and its form.
pub(super) fn digest(
    query: Option<&str>,
    now: Timestamp,
) -> Result<((Timestamp, Timestamp), ReportForm), ApiError> {
    let pairs = pairs(query, DIGEST_PARAMS)?;
    let form = pairs.iter().find(|(known, _)| known == "format").map(|(_, value)| value.as_str());
    Ok((span_of(&pairs, now, "7d")?, report_form(form)?))
}

/// `GET report/compliance`: its form.
pub(super) fn compliance(query: Option<&str>) -> Result<ReportForm, ApiError> {
    match pairs(query, &["format"])?.pop() {
        None => Ok(ReportForm::Json),
        Some((_, value)) => match report_form(Some(&value))? {
            ReportForm::Html => Err(bad("format", "is not a form it has", "json or markdown")),
            form => Ok(form),
        },
    }
}

/// `format`: JSON where it is not given.
fn report_form(given: Option<&str>) -> Result<ReportForm, ApiError> {
    match given {
        None | Some("json") => Ok(ReportForm::Json),
        Some("markdown") => Ok(ReportForm::Markdown),
        Some("html") => Ok(ReportForm::Html),
        Some(_) => Err(bad("format", "is not a form it has", "json, markdown or html")),
    }
}

/// The parameters of `GET series`.
pub(super) const SERIES_PARAMS: &[&str] = &["name", "by", "since", "until", "tz", "step", "groups"];

/// `GET series`: calls of the last hour, where nobody says.
pub(super) fn series(query: Option<&str>, now: Timestamp) -> Result<SeriesAsk, ApiError> {
    let pairs = pairs(query, SERIES_PARAMS)?;
    let given = |name: &str| pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let measure = given("name")
        .map_or(Ok(Measure::Calls), |value| word("name", Measure::parse(value), Measure::ALL))?;
    let by = given("by").map_or(Ok(By::None), |value| word("by", By::parse(value), By::ALL))?;
    let (since, until) = span_of(&pairs, now, "1h")?;
    let step = given("step").map(|value| {
        let known: Vec<&str> = Step::ALL.iter().map(|step| step.word).collect();
        Step::parse(value)
            .ok_or_else(|| bad("step", "is not a step it takes", &format!("one of {}", known.join(", "))))
    });
    let groups = given("groups").map(|value| {
        let number = value.parse::<usize>().ok().filter(|n| (1..=MOST_GROUPS).contains(n));
        number.ok_or_else(|| bad("groups", "is not a number it takes", &format!("1 to {MOST_GROUPS}")))
    });
    SeriesAsk::new((measure, by), (since, until), step.transpose()?, groups.transpose()?)
        .map_err(|error| ApiError::BadRequest(error.to_string()))
}

/// `key`: the counter of a budget, `*` where nobody says.
pub(super) fn key(query: Option<&str>) -> Result<String, ApiError> {
    let pairs = pairs(query, &["key"])?;
    Ok(pairs.into_iter().next().map_or_else(|| "*".to_owned(), |(_, value)| value))
}

fn bad(name: &str, what: &str, expected: &str) -> ApiError {
    let name: String = name.chars().take(40).collect();
    ApiError::BadRequest(format!("`{}` {what}: expected {expected}", display_text(&name, 64)))
}

fn words<T: std::fmt::Display>(all: &[T]) -> String {
    all.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn word<T: std::fmt::Display>(name: &str, found: Option<T>, all: &[T]) -> Result<T, ApiError> {
    found.ok_or_else(|| bad(name, "is not a word it takes", &format!("one of {}", words(all))))
}

pub(super) fn limit(value: &str) -> Result<usize, ApiError> {
    let number = value.parse::<usize>().ok().filter(|n| (1..=MAX_LIMIT).contains(n));
    number.ok_or_else(|| bad("limit", "is not a number it takes", &format!("1 to {MAX_LIMIT}")))
}

/// `tz`: whose days and times those are that name no zone. Without it they are of UTC: who asks need not be where the gateway is.
fn zone(pairs: &[(String, String)]) -> Result<TimeZone, ApiError> {
    let Some((name, value)) = pairs.iter().find(|(name, _)| name == "tz") else { return Ok(TimeZone::UTC) };
    TimeZone::get(value).map_err(|_| bad(name, "is not a time zone", "one like Europe/Berlin, or UTC"))
}

fn time(name: &str, value: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp, ApiError> {
    Moment::parse(value, zone).map(|moment| moment.at(now)).map_err(|_| {
        let expected = "one like 2026-11-20T08:00:00Z (in a URL a `+` is written %2B), a day of `tz` or UTC like 2026-11-20, \
                        or how long ago, like 7d";
        bad(name, "is not a time", expected)
    })
}

fn pattern(name: &str, value: &str) -> Result<Option<Pattern>, ApiError> {
    let expected = "a name, or at most 512 characters in which `*` and `**` are the only wildcards";
    Pattern::parse(value).map(Some).map_err(|_| bad(name, "is not a glob", expected))
}

/// What is called: of a URI without a query every query.
fn target(name: &str, value: &str) -> Result<Option<Pattern>, ApiError> {
    pattern(name, value)?;
    Ok(Pattern::parse_target(value).ok())
}

fn seq(name: &str, value: &str) -> Result<i64, ApiError> {
    let seq = value.parse::<i64>().ok().filter(|seq| *seq >= 0);
    seq.ok_or_else(|| bad(name, "is not a seq", "a whole number from 0"))
}

/// The part of a path that names something.
pub(super) struct Segment(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Path::<String>::from_request_parts(parts, state).await.map(|Path(text)| Self(text)).map_err(|_| {
            ApiError::BadRequest("the path cannot be read: expected percent-encoded UTF-8".to_owned())
        })
    }
}

/// Reads a path's trace id, in both forms.
pub(super) fn trace(value: &str) -> Result<TraceId, ApiError> {
    TraceId::parse(value).ok_or_else(|| bad("trace_id", "is not a trace id", "32 hex digits, or a UUID"))
}

/// No parameter at all.
pub(super) fn none(query: Option<&str>) -> Result<(), ApiError> {
    pairs(query, &[]).map(|_| ())
}

/// `GET events`: newest first; in chain order from `after_seq` where that is given.
pub(super) fn events(query: Option<&str>, now: Timestamp) -> Result<EventQuery, ApiError> {
    let mut wanted = EventQuery { newest_first: true, limit: DEFAULT_LIMIT, ..EventQuery::default() };
    let pairs = pairs(query, EVENT_PARAMS)?;
    let zone = zone(&pairs)?;
    for (name, value) in pairs {
        match name.as_str() {
            "tz" => {}
            "event_type" => {
                wanted.event_type = Some(word(&name, EventType::parse(&value), EventType::ALL)?);
            }
            "trace_id" => wanted.trace_id = Some(trace(&value)?),
            "agent_id" => wanted.agent_id = pattern(&name, &value)?,
            "workflow_id" => wanted.workflow_id = pattern(&name, &value)?,
            "policy_id" => wanted.policy_id = pattern(&name, &value)?,
            "tool" => wanted.tool = target(&name, &value)?,
            "person" => wanted.person = pattern(&name, &value)?,
            "user" => wanted.user = pattern(&name, &value)?,
            "decision" => {
                wanted.decision = Some(word(&name, EventDecision::parse(&value), EventDecision::ALL)?);
            }
            "call_id" => wanted.call_id = Some(CallId::from(value)),
            "approval_id" => wanted.approval_id = Some(value.into()),
            "grant_id" => wanted.grant_id = Some(value.into()),
            "since" => wanted.since = Some(time(&name, &value, &zone, now)?),
            "until" => wanted.until = Some(time(&name, &value, &zone, now)?),
            "after_seq" => {
                wanted.after_seq = Some(seq(&name, &value)?);
                wanted.newest_first = false;
            }
            "before_seq" => wanted.until_seq = Some(seq(&name, &value)?.saturating_sub(1)),
            _ => wanted.limit = limit(&value)?,
        }
    }
    in_order(wanted.since, wanted.until).map_err(ApiError::BadRequest)?;
    Ok(wanted)
}

/// A `tool` of somebody who sees no values of arguments: with the query of a URI they could be tried.
pub(super) fn without_query(tool: Option<&Pattern>) -> Result<(), ApiError> {
    match tool.is_some_and(Pattern::names_query) {
        true => {
            Err(bad("tool", "names the query of a URI, which is withheld from your role", "it without one"))
        }
        false => Ok(()),
    }
}

/// The parameters of `GET policies/history` and `GET traces/{trace_id}`.
pub(super) const HISTORY_PARAMS: &[&str] = &["limit", "before_seq"];

/// `GET policies/history`: how many, and before which record.
pub(super) fn history(query: Option<&str>) -> Result<(usize, Option<i64>), ApiError> {
    records(query, DEFAULT_LIMIT)
}

/// `GET traces/{trace_id}`: the same.
pub(super) fn trace_page(query: Option<&str>) -> Result<(usize, Option<i64>), ApiError> {
    records(query, MAX_LIMIT)
}

fn records(query: Option<&str>, usual: usize) -> Result<(usize, Option<i64>), ApiError> {
    let mut wanted = (usual, None);
    for (name, value) in pairs(query, HISTORY_PARAMS)? {
        match name.as_str() {
            "before_seq" => wanted.1 = Some(seq(&name, &value)?),
            _ => wanted.0 = limit(&value)?,
        }
    }
    Ok(wanted)
}

/// `GET approvals`: `status` takes one word or several with commas; `before` is the cursor, an approval of the list.
pub(super) fn approvals(query: Option<&str>) -> Result<ApprovalFilter, ApiError> {
    let mut wanted = ApprovalFilter { limit: DEFAULT_LIMIT, ..ApprovalFilter::default() };
    for (name, value) in pairs(query, APPROVAL_PARAMS)? {
        match name.as_str() {
            "status" => {
                for part in value.split(',') {
                    wanted.status.push(word(&name, ApprovalStatus::parse(part), ApprovalStatus::ALL)?);
                }
            }
            "agent_id" => wanted.agent = pattern(&name, &value)?,
            "before" => wanted.before = Some(ApprovalId::from(value)),
            _ => wanted.limit = limit(&value)?,
        }
    }
    Ok(wanted)
}

/// `GET grants`, and whether those that have ended are wanted too.
pub(super) fn grants(query: Option<&str>) -> Result<(GrantFilter, bool), ApiError> {
    let mut wanted = GrantFilter { limit: DEFAULT_LIMIT, ..GrantFilter::default() };
    let mut all = false;
    for (name, value) in pairs(query, GRANT_PARAMS)? {
        match name.as_str() {
            "status" => {
                all = match value.as_str() {
                    "live" => false,
                    "all" => true,
                    _ => return Err(bad(&name, "is not a word it takes", "live or all")),
                };
            }
            "agent_id" => wanted.agent = pattern(&name, &value)?,
            "tool" => wanted.tool = target(&name, &value)?,
            "before" => wanted.before = Some(value.into()),
            _ => wanted.limit = limit(&value)?,
        }
    }
    Ok((wanted, all))
}

/// The parameters of `GET alerts`.
pub(super) const ALERT_PARAMS: &[&str] = &["status", "kind", "before", "limit"];

/// `GET alerts`: `status` and `kind` take one word or several with commas; `before` is the cursor, an alert of the list.
pub(super) fn alerts(query: Option<&str>) -> Result<AlertFilter, ApiError> {
    let mut wanted = AlertFilter { limit: DEFAULT_LIMIT, ..AlertFilter::default() };
    for (name, value) in pairs(query, ALERT_PARAMS)? {
        match name.as_str() {
            "status" => {
                for part in value.split(',') {
                    wanted.status.push(word(&name, AlertStatus::parse(part), AlertStatus::ALL)?);
                }
            }
            "kind" => {
                for part in value.split(',') {
                    wanted.kind.push(word(&name, AlertKind::parse(part), AlertKind::ALL)?);
                }
            }
            "before" => wanted.before = Some(value),
            _ => wanted.limit = limit(&value)?,
        }
    }
    Ok(wanted)
}

/// The parameters of `GET incidents`.
pub(super) const INCIDENT_PARAMS: &[&str] = &["before", "limit"];

/// `GET incidents`: how many, and behind which one of the list.
pub(super) fn incidents(query: Option<&str>) -> Result<(usize, Option<String>), ApiError> {
    let mut wanted = (DEFAULT_LIMIT, None);
    for (name, value) in pairs(query, INCIDENT_PARAMS)? {
        match name.as_str() {
            "before" => wanted.1 = Some(value),
            _ => wanted.0 = limit(&value)?,
        }
    }
    Ok(wanted)
}

/// The parameters of `GET samples`.
pub(super) const SAMPLE_PARAMS: &[&str] = &["status", "since", "tz", "before_seq", "limit"];

/// How many of a listing, and those of before which record.
pub(super) type Part = (usize, Option<i64>);

/// `GET samples`: since when, whether those that somebody has looked at are wanted too, and which part.
pub(super) fn samples(query: Option<&str>, now: Timestamp) -> Result<((Timestamp, bool), Part), ApiError> {
    let pairs = pairs(query, SAMPLE_PARAMS)?;
    let zone = zone(&pairs)?;
    let (mut since, mut all, mut part) = (time("since", "7d", &zone, now)?, false, (DEFAULT_LIMIT, None));
    for (name, value) in pairs {
        match name.as_str() {
            "tz" => {}
            "status" if value == "open" => all = false,
            "status" if value == "all" => all = true,
            "status" => return Err(bad(&name, "is not a word it takes", "open or all")),
            "since" => since = time(&name, &value, &zone, now)?,
            "before_seq" => part.1 = Some(seq(&name, &value)?),
            _ => part.0 = limit(&value)?,
        }
    }
    Ok(((since, all), part))
}

/// Whether all dead letters are wanted, or those that are open; and which part.
pub(super) fn dead_letters(query: Option<&str>) -> Result<(bool, Part), ApiError> {
    let mut wanted = (false, (DEFAULT_LIMIT, None));
    for (name, value) in pairs(query, DEAD_LETTER_PARAMS)? {
        match (name.as_str(), value.as_str()) {
            ("status", "open") => wanted.0 = false,
            ("status", "all") => wanted.0 = true,
            ("status", _) => return Err(bad(&name, "is not a word it takes", "open or all")),
            ("before_seq", _) => wanted.1.1 = Some(seq(&name, &value)?),
            _ => wanted.1.0 = limit(&value)?,
        }
    }
    Ok(wanted)
}

/// Why something is done.
pub(super) fn reason(query: Option<&str>) -> Result<Option<String>, ApiError> {
    Ok(pairs(query, REVOKE_PARAMS)?.pop().map(|(_, reason)| reason))
}
