//! What upstreams list, as it was when a person took it for what it is: pins, what differs from them, and what in a listed text
//! is meant for a model rather than for a reader. Pure: the gateway keeps pins in the store, the catalog judges by them.

mod book;
mod diff;
mod item;
mod observed;
mod reconcile;
mod scan;
mod shown;

pub use book::{Book, Held, HeldWhy, Pin, PinSettings, Record, Standing, key, marker};
pub use diff::{Difference, TextChange, differences, text_changes};
pub use item::{ItemKind, fingerprint, form, own_name};
pub use observed::Observed;
pub use reconcile::{Told, Write, Writes, reconcile};
pub use scan::{Finding, FindingKind, NamedItem, Names, kinds_of, scan_item};
pub use shown::{shown, shown_value};

use serde::{Deserialize, Serialize};

/// `new_tools`: what becomes of an item that appears after its upstream was pinned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NewItems {
    /// It is not listed until a person accepts it.
    Hidden,
    /// It is listed, and each call of it needs an approval until a person accepts it.
    Ask,
    /// It is pinned as it comes.
    #[default]
    Listed,
}

/// `findings`: what becomes of an item in which the scan finds something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFindings {
    /// It is shown by `servers inspect` and on the page.
    Tell,
    /// The same, and it is an alert.
    #[default]
    Alert,
    /// The same, and it is not listed until a person accepts it.
    Quarantine,
}
