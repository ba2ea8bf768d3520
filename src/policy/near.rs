//! What somebody may have meant by a word that is not known.

use super::shown::short;

/// Words that people bring along from elsewhere, and the ones that mean it here.
const OTHER_WORDS: &[(&str, &str)] = &[
    // Keys.
    ("server", "upstream"),
    ("mcp_server", "upstream"),
    ("servers", "upstreams"),
    ("mcpservers", "upstreams"),
    ("effect", "decision"),
    ("outcome", "decision"),
    ("verdict", "decision"),
    ("when", "condition"),
    ("if", "condition"),
    ("expression", "condition"),
    ("match", "on"),
    ("on", "match"),
    ("selector", "on"),
    ("rationale", "description"),
    ("message", "reason"),
    ("approver", "approvers"),
    ("reviewers", "approvers"),
    ("limits", "constraints"),
    ("labels", "label"),
    ("capability", "capabilities"),
    ("scopes", "capabilities"),
    ("permissions", "capabilities"),
    ("users", "people"),
    ("args", "command"),
    ("arguments", "command"),
    ("environment", "env"),
    ("uri", "resource"),
    ("sla", "approval_sla"),
    ("ttl", "expires_in"),
    ("expiry", "expires_in"),
    ("expires", "expires_in"),
    ("period", "window"),
    ("max_cost", "max_cost_usd"),
    ("max_cost_usd", "max_cost"),
    // Values.
    ("BLOCK", "DENY"),
    ("REJECT", "DENY"),
    ("FORBID", "DENY"),
    ("PERMIT", "ALLOW"),
    ("APPROVE", "REQUIRE_APPROVAL"),
    ("APPROVAL", "REQUIRE_APPROVAL"),
    ("ASK", "REQUIRE_APPROVAL"),
    ("PENDING_APPROVAL", "REQUIRE_APPROVAL"),
    ("CONSTRAIN", "ALLOW_WITH_CONSTRAINTS"),
    ("RATE_LIMIT", "THROTTLE"),
    ("block", "deny"),
    ("allow", "permit"),
    ("dry_run", "shadow"),
    ("audit", "shadow"),
    ("email", "inbox"),
    ("web", "inbox"),
    ("monthly", "month"),
    ("daily", "day"),
    ("hourly", "hour"),
    ("total", "ever"),
];

/// The one of `words` that is meant by `written`: another spelling of it, a slip or two of the hand, or a word that means the
/// same elsewhere.
pub(super) fn nearest<'n>(written: &str, words: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    closest(written, words, OTHER_WORDS)
}

/// The same with other words of one's own.
pub(super) fn closest<'n>(
    written: &str,
    words: impl Iterator<Item = &'n str>,
    others: &[(&str, &str)],
) -> Option<&'n str> {
    let folded = fold(written);
    let meant: Vec<&str> =
        others.iter().filter(|(other, _)| fold(other) == folded).map(|(_, word)| *word).collect();
    let distance = |word: &str| match meant.contains(&word) {
        true => Some(1),
        false => slips(&folded, &fold(word)),
    };
    let near = words.filter_map(|word| Some((distance(word)?, word)));
    near.min_by_key(|(slips, _)| *slips).map(|(_, word)| word)
}

/// Whether one of two words is a slip of the other.
pub(super) fn is_near(a: &str, b: &str) -> bool {
    nearest(a, std::iter::once(b)).is_some()
}

/// `; did you mean …?`, where one of the words is near.
pub fn did_you_mean<'n>(written: &str, words: impl Iterator<Item = &'n str>) -> String {
    nearest(written, words).map(|near| format!("; did you mean `{}`?", short(near))).unwrap_or_default()
}

/// How many slips are between two words, where they are few for the length of the words.
fn slips(a: &str, b: &str) -> Option<usize> {
    let (shorter, longer) =
        (a.chars().count().min(b.chars().count()), a.chars().count().max(b.chars().count()));
    let most = match shorter {
        0..=2 => 0,
        3..=4 => 1,
        5..=9 => 2,
        _ => 3,
    };
    // No word is long enough for a comparison to take time.
    if longer > 128 || longer - shorter > most {
        return None;
    }
    let slips = strsim::osa_distance(a, b);
    (slips <= most).then_some(slips)
}

/// Case, quotes and what stands between words do not count.
fn fold(word: &str) -> String {
    let noise = |c: char| c.is_whitespace() || "-_.\"'`“”‘’".contains(c);
    word.chars().filter(|c| !noise(*c)).flat_map(char::to_lowercase).collect()
}
