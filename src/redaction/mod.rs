//! Sensitive values: found by value (detectors) and by place (pointers, schema marks, field names),
//! masked before anything is logged, stored, shown or prompted. Pure.
//!
//! Without data.yaml every detector looks, nothing is changed on its way to an upstream or an agent,
//! and everything recorded or shown is masked: `[redacted:email:17]` says what it was and how long.
//!
//! # data.yaml
//!
#![doc = concat!("```yaml\n", include_str!("example.yaml"), "```\n")]
//!
//! Pointers name a place in the arguments; in a result they name a place in the result, in its
//! `structuredContent`, and in a text that is JSON. `*` stands for any member or element.
//!
//! # Encodings
//!
//! A text is read as what it means before detectors look: JSON strings and other backslash escapes, percent, HTML
//! entities, quoted-printable, base64, hex, compatibility forms, look-alikes and characters that nobody sees, four layers deep, and no
//! more bytes than four times those of the text. What is found in a layer is masked in the text as it stands. What still
//! is encoded then counts as sensitive (`too_deep`): it is masked in records, and the strictest of the rules that concern
//! the call holds for it.
//!
//! # What is not found
//!
//! Hex strings by themselves (commits, digests and UUIDs are hex); secrets that are cut in pieces, spread over several
//! values, encrypted, compressed, or written in an encoding of other kinds (base32, ROT13, numbers of characters);
//! what stands in an image. docs/detectors.md names all, and how well each detector does.

mod address;
mod assign;
mod claims;
mod code;
mod credentials;
mod cut;
mod decode;
mod detector;
mod digits;
mod display;
mod entry;
mod escape;
mod field;
mod form;
mod inspected;
mod lanes;
mod mask;
mod number;
mod pass;
mod phone;
mod random;
mod reveal;
mod rules;
mod runs;
mod said;
mod scan;
mod schema;
mod shapes;
mod spec;
mod starts;
mod survey;
mod token;
mod walk;
mod withheld;

#[cfg(test)]
mod tests;

pub use claims::Claims;
pub use cut::cut_value;
pub use decode::readings;
pub use display::{display_text, hidden_as, is_hidden, visible, visible_json};
pub use entry::Entry;
pub use inspected::{Inspected, Outbound, Place};
pub use mask::masks;
pub use reveal::{MAX_REVEALED, placeholders, reveal, reveal_uri, unmint};
pub use rules::{DataError, DataRules};
pub use said::Said;
pub use schema::SchemaMarks;
pub use spec::{Action, AllowSpec, DataSpec, DetectorSpec, FieldSpec, OnSpec, RuleSpec, SourceSpec};
pub use token::{Caller, TokenScope, Tokenized};
pub use withheld::{own_words, withheld, without_queries, without_said};
