//! Links that lead to one ask. A link is no credential: whoever opens it must sign in, and may then do what they may do anyway. It is
//! sealed with a key of the store, so that nobody can make one that leads elsewhere, and ends with what it leads to.

use super::StateSeal;
use crate::model::ApprovalId;
use jiff::Timestamp;
use std::time::Duration;

/// What such a seal is for, and the form of what it holds.
const PURPOSE: &[u8] = b"tollgate ask link 1";
/// How long a link that is over can be told from one that was never made.
const REMEMBERED: Duration = Duration::from_secs(30 * 86_400);
/// The longest that is looked at.
const LONGEST: usize = 1_024;

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AskLink {
    /// To this ask.
    To(ApprovalId),
    /// Nowhere any more.
    Over,
}

/// Whether a text can be what stands in a link.
pub fn is_ask_token(token: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !token.is_empty() && token.len() <= LONGEST && token.bytes().all(fits)
}

/// The part of a link that says where it leads, until then.
pub fn ask_token(
    seal: &dyn StateSeal,
    id: &ApprovalId,
    until: Timestamp,
    now: Timestamp,
) -> Result<String, String> {
    let left = Duration::try_from(until.duration_since(now)).unwrap_or_default();
    seal.seal(&format!("{} {id}", until.as_second()), PURPOSE, left.saturating_add(REMEMBERED))
}

/// Where it leads. None: nobody here made it, or it was changed, or it was over long ago.
pub fn open_ask_token(seal: &dyn StateSeal, token: &str, now: Timestamp) -> Option<AskLink> {
    let text = is_ask_token(token).then(|| seal.open(token, PURPOSE))??;
    let (until, id) = text.split_once(' ')?;
    let until: i64 = until.parse().ok()?;
    Some(if now.as_second() < until { AskLink::To(ApprovalId::from(id)) } else { AskLink::Over })
}
