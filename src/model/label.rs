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

    /// The same, shared.
    pub fn shared(self) -> Arc<str> {
        static WORDS: LazyLock<[Arc<str>; 4]> = LazyLock::new(|| {
            [Sensitivity::Public, Sensitivity::Internal, Sensitivity::Confidential, Sensitivity::Restricted]
                .map(|level| level.as_str().into())
        });
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
