//! What a refused call brought, as much of it as is recorded.

use super::content_hash;
use crate::model::{text, text::Object};
use serde_json::Value;

/// What a refused call brought is recorded up to so many bytes of its JSON text: nothing of it was dispatched.
pub const LONGEST_REFUSED: usize = 16 << 10;

/// The member that stands for the arguments of a refused call where they are cut.
pub const CUT_ARGUMENTS: &str = "arguments_cut";

/// Writes a value under its name, or as much of its text as is recorded of a refused call under `cut`, with the length and
/// the SHA-256 of the whole.
pub(super) fn write_cut(detail: &mut Object<'_>, name: &'static str, cut: &'static str, value: &Value) {
    let whole = text::of(value);
    if whole.len() <= LONGEST_REFUSED {
        detail.member(name).extend_from_slice(whole.as_bytes());
        return;
    }
    let mut told = Object::new(detail.member(cut));
    told.text("text", whole.get(..whole.floor_char_boundary(LONGEST_REFUSED)));
    told.natural("bytes", Some(whole.len() as u64));
    told.text("sha256", Some(&content_hash(&whole)));
    told.end();
}
