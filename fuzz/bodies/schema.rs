//! Any schema with any arguments: the answer comes within its budget, and what the small budget knows the whole one says too.
//!
//! Input: the schema as JSON, a line `===`, the arguments as JSON.

use tollgate::{
    catalog::{ArgumentSchema, Budget, Misfit},
    model::json,
};

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Some((schema, arguments)) = text.split_once("\n===\n") else { return };
    let (Ok(schema), Ok(value)) = (json::parse(schema.as_bytes()), json::parse(arguments.as_bytes())) else {
        return;
    };
    let Ok(schema) = ArgumentSchema::compile(&schema, true) else { return };
    let answers = [Budget::SMALL, Budget::whole(arguments.len() as u64)].map(|budget| {
        let (found, steps) = schema.measured(&value, budget);
        assert!(steps <= budget.most_steps(), "{steps} steps with {budget:?}");
        if let Err(Misfit::Breaks(violations)) = &found {
            assert!(!violations.is_empty(), "refused without a reason");
            for violation in violations {
                assert!(value.pointer(&violation.path).is_some(), "{violation:?} names no place");
            }
        }
        match found {
            Ok(()) => Some(true),
            Err(Misfit::Breaks(_)) => Some(false),
            Err(Misfit::Exceeded) => None,
        }
    });
    let [small, whole] = answers;
    assert!(small.is_none() || small == whole, "{small:?} with a small budget, {whole:?} with the whole one");
}
