//! Registers: small keyed state that people or the gateway set, the same for all processes, which outlasts restarts and
//! retention.

use serde_json::Value;
use std::sync::Arc;

/// Which register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Register {
    /// What is frozen, by what is frozen.
    Freeze,
    /// Tools, prompts and resources as a person accepted them, or as they were seen first.
    Pin,
    /// Data labels that have reached an agent or workflow.
    Labels,
    /// When a person last took labels away: whoever knows some of before forgets them.
    LabelsCleared,
    /// Side effects that failed or whose outcome is unknown, as far as a person has looked at them.
    DeadLetter,
    /// What placeholders stand for, encrypted.
    Vault,
    /// From when on budgets count, where a person reset them.
    Budget,
    /// How far the record was delivered, by the delivery's name.
    Delivery,
    /// How far webhooks were told, by their names, and of which asks, by name and ask.
    Webhook,
    /// Legal holds, by their ids: records that retention must not remove.
    Hold,
    /// Alerts, and what makes it take more to raise one.
    Alert,
    /// Incidents.
    Incident,
    /// How far the record was looked through for alerts, and what was usual then.
    Watch,
    /// When duties were done.
    Duty,
    /// What people found in calls that they looked at afterwards.
    Review,
    /// Who is connected to which upstream; the credentials themselves are in the vault.
    Connection,
}

/// What a register may hold at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterBounds {
    /// Entries.
    pub entries: usize,
    /// Bytes of all keys and values together.
    pub bytes: usize,
}

impl Register {
    /// Every register.
    pub const ALL: &[Self] = &[
        Self::Freeze,
        Self::Pin,
        Self::Labels,
        Self::LabelsCleared,
        Self::DeadLetter,
        Self::Vault,
        Self::Budget,
        Self::Delivery,
        Self::Webhook,
        Self::Hold,
        Self::Alert,
        Self::Incident,
        Self::Watch,
        Self::Duty,
        Self::Review,
        Self::Connection,
    ];

    /// Its word in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Freeze => "freeze",
            Self::Pin => "pin",
            Self::Labels => "labels",
            Self::LabelsCleared => "labels_cleared",
            Self::DeadLetter => "dead_letter",
            Self::Vault => "vault",
            Self::Budget => "budget",
            Self::Delivery => "delivery",
            Self::Webhook => "webhook",
            Self::Hold => "hold",
            Self::Alert => "alert",
            Self::Incident => "incident",
            Self::Watch => "watch",
            Self::Duty => "duty",
            Self::Review => "review",
            Self::Connection => "connection",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|register| register.as_str() == text)
    }

    /// What it may hold. All of it is in the memory of each process, and is written again with each segment of the journal.
    pub fn bounds(self) -> RegisterBounds {
        let (entries, bytes) = match self {
            Self::Freeze => (1_000, 1 << 20),
            Self::Pin => (50_000, 16 << 20),
            Self::Labels => (20_000, 16 << 20),
            Self::LabelsCleared => (10, 1 << 10),
            Self::DeadLetter => (20_000, 8 << 20),
            Self::Vault => (50_000, 16 << 20),
            Self::Budget => (10_000, 2 << 20),
            Self::Delivery => (100, 64 << 10),
            Self::Webhook => (5_000, 1 << 20),
            Self::Hold => (1_000, 8 << 20),
            Self::Alert => (4_000, 16 << 20),
            Self::Incident => (2_000, 16 << 20),
            Self::Watch => (4, 2 << 20),
            Self::Duty => (1_000, 2 << 20),
            Self::Review => (10_000, 8 << 20),
            Self::Connection => (50_000, 16 << 20),
        };
        RegisterBounds { entries, bytes }
    }

    /// Whether a change wakes those who wait for changes ([`super::Store::register_changes`]). Of what changes with calls
    /// nobody is told: whoever needs it reads it.
    pub fn wakes(self) -> bool {
        match self {
            Self::Freeze
            | Self::Pin
            | Self::LabelsCleared
            | Self::DeadLetter
            | Self::Budget
            | Self::Connection => true,
            Self::Labels
            | Self::Vault
            | Self::Delivery
            | Self::Webhook
            | Self::Hold
            | Self::Alert
            | Self::Incident
            | Self::Watch
            | Self::Duty
            | Self::Review => false,
        }
    }
}

/// Bytes of the longest key.
pub const LONGEST_KEY: usize = 1_024;

/// A change of one entry.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterChange {
    /// Of which register.
    pub register: Register,
    /// Of which entry: some text without control characters, at most [`LONGEST_KEY`] bytes.
    pub key: String,
    /// The version that it must have; 0: there must be none. `None`: whatever it is.
    pub expected: Option<u64>,
    /// What it becomes; `None` removes it.
    pub value: Option<Value>,
}

impl RegisterChange {
    /// Sets an entry, whatever it was.
    pub fn set(register: Register, key: impl Into<String>, value: Value) -> Self {
        Self { register, key: key.into(), expected: None, value: Some(value) }
    }

    /// Removes an entry, whatever it was.
    pub fn remove(register: Register, key: impl Into<String>) -> Self {
        Self { register, key: key.into(), expected: None, value: None }
    }

    /// The same only where the entry has this version; 0: where there is none.
    #[must_use]
    pub fn at(self, expected: u64) -> Self {
        Self { expected: Some(expected), ..self }
    }
}

/// An entry that something was decided on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterRead {
    /// Of which register.
    pub register: Register,
    /// Which entry.
    pub key: String,
    /// The version that it had; 0: there was none.
    pub version: u64,
}

/// One entry as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterEntry {
    /// By what it is found.
    pub key: Arc<str>,
    /// Grows with every change; no entry of the store ever has a version again that one of this key had.
    pub version: u64,
    /// What it is.
    pub value: Arc<Value>,
}
