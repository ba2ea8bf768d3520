//! Every record that a test makes is held against the JSON Schema of records.

#![allow(dead_code, reason = "each test uses its part")]

use serde_json::Value;
use std::sync::LazyLock;

static SCHEMA: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(tollgate::evidence::EVENT_SCHEMA).unwrap();
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
});

static OCSF: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema = include_str!("../fixtures/ocsf-1.8.0-api-activity.json");
    jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap()
});

/// Fails on a record whose line for a SIEM is not what the published schema of OCSF says.
pub(crate) fn hold_ocsf(event: &tollgate::model::Event) {
    let line = tollgate::audit::ocsf(event);
    if let Some(error) = OCSF.iter_errors(&line).next() {
        panic!("`{}` of a line of OCSF is not as its schema says: {error}\n{line:#}", error.instance_path());
    }
}

/// Fails on a record that is not what the schema says.
pub(crate) fn hold(line: &str) {
    let record: Value = serde_json::from_str(line).unwrap();
    if let Some(error) = SCHEMA.iter_errors(&record).next() {
        panic!("`{}` of a record is not as its schema says: {error}\n{record:#}", error.instance_path());
    }
}
