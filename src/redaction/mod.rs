//! Sensitive values: found by value (detectors) and by place (pointers, schema marks, field names),
//! masked before anything is logged, stored, shown or prompted (I5). Pure.

/// The compiled `data.yaml`, or the built-in default.
#[derive(Debug, Default)]
pub struct DataRules {}

/// data.yaml as written.
#[derive(Debug, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {}

/// What is wrong in data.yaml.
#[derive(Debug)]
pub struct DataError {
    /// Where: `rules[0].on[1].tool`.
    pub path: String,
    /// What, with the offending text in backticks.
    pub message: String,
    /// What would have been right.
    pub expected: String,
}

impl DataRules {
    /// What counts where there is no data.yaml.
    pub fn built_in() -> Self {
        Self {}
    }

    /// Checks and compiles.
    pub fn compile(_spec: &DataSpec) -> Result<Self, Vec<DataError>> {
        Ok(Self {})
    }
}
