//! What a person writes for the record: a reason, a comment, a note. People paste secrets by mistake, so that what builds a
//! record takes this alone, and there is one way to make it.

use super::rules::DataRules;
use std::{fmt, ops::Deref};

/// A person's text as it may be recorded, stored and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said(Box<str>);

impl DataRules {
    /// A person's text without blanks around it, masked, and then cut to so many characters: half a secret is not known for one.
    #[must_use]
    pub fn said(&self, text: &str, most: usize) -> Said {
        let masked = self.redact_text(text.trim());
        let end = masked.char_indices().nth(most).map_or(masked.len(), |(at, _)| at);
        Said(masked.get(..end).unwrap_or_default().into())
    }
}

impl Deref for Said {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Said> for String {
    fn from(said: Said) -> Self {
        said.0.into()
    }
}
