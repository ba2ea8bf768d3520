//! How sensitive data is; the order is the order of strictness.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    sync::{Arc, LazyLock},
};

/// A data label, weakest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sensitivity {
    /// Anyone may see it.
    Public,
    /// The default.
    #[default]
    Internal,
    /// Personal data and the like.
    Confidential,
    /// Secrets, and what the bundle marks so.
    Restricted,
}

impl Sensitivity {
    /// The word in files, conditions and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }

    /// Every level, weakest first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The level that a word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Its place among all, from 0.
    pub fn rank(self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Internal => 1,
            Self::Confidential => 2,
            Self::Restricted => 3,
        }
    }

    /// The same, shared.
    pub fn shared(self) -> Arc<str> {
        static WORDS: LazyLock<[Arc<str>; 4]> =
            LazyLock::new(|| Sensitivity::ALL.map(|level| level.as_str().into()));
        let [public, internal, confidential, restricted] = &*WORDS;
        match self {
            Self::Public => public,
            Self::Internal => internal,
            Self::Confidential => confidential,
            Self::Restricted => restricted,
        }
        .clone()
    }
}

impl fmt::Display for Sensitivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
