//! A text of a record that is read without a copy of it.

use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt};

/// A text that is borrowed where it has no escapes. serde makes a copy of every `Option<Cow<str>>`.
#[derive(Clone, Debug)]
pub struct BorrowedText<'b>(pub Cow<'b, str>);

impl<'de: 'b, 'b> Deserialize<'de> for BorrowedText<'b> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = BorrowedText<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(BorrowedText(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(BorrowedText(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}
