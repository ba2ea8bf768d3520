//! What a person may do, in one word.

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Decides approvals, and sees whole what they may decide.
    Approver,
    /// Administers; does not decide.
    Admin,
    /// Reads the record, without the values of arguments.
    Auditor,
    /// Reads the record with them.
    AuditorFull,
    /// Reads counts: reports, series and how upstreams stand.
    Viewer,
}

/// Each role with its word.
pub const ROLES: &[(&str, Role)] = &[
    ("approver", Role::Approver),
    ("admin", Role::Admin),
    ("auditor", Role::Auditor),
    ("auditor-full", Role::AuditorFull),
    ("viewer", Role::Viewer),
];

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Approver, Self::Admin, Self::Auditor, Self::AuditorFull, Self::Viewer];

    /// Its word in authority.yaml and in events.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Approver => "approver",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
            Self::AuditorFull => "auditor-full",
            Self::Viewer => "viewer",
        }
    }

    /// The role of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }

    /// Some of them as words of a sentence: any of them will do.
    #[must_use]
    pub fn any_of(roles: &[Self]) -> String {
        let words: Vec<String> = roles.iter().map(|role| format!("`{}`", role.as_str())).collect();
        match words.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            Some((only, _)) => only.clone(),
            None => "that nobody has".to_owned(),
        }
    }

    /// Whether it reads records of calls at all, be it without the values of arguments.
    #[must_use]
    pub fn reads_records(self) -> bool {
        match self {
            Self::Approver | Self::Admin | Self::Auditor | Self::AuditorFull => true,
            Self::Viewer => false,
        }
    }

    /// Whether it sees the values of arguments in all records.
    #[must_use]
    pub fn sees_values(self) -> bool {
        match self {
            Self::Admin | Self::AuditorFull => true,
            Self::Approver | Self::Auditor | Self::Viewer => false,
        }
    }
}
