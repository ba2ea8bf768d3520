//! Whether this machine's kernel gives what `contain` asks for: tried without starting any server.

use crate::{
    config::{Config, contain_place, contained},
    model::{Problem, Severity},
    upstream::contain,
};
use std::path::Path;

/// One problem for each upstream that cannot be contained as its table says: a lint where it is started all the same.
pub(super) async fn problems(path: &Path, config: &Config) -> Vec<Problem> {
    let Ok(own_binary) = std::env::current_exe() else { return Vec::new() };
    let mut problems = Vec::new();
    for (name, limits) in contained(&config.upstreams) {
        let Some(upstream) = config.upstreams.get(name) else { continue };
        let (severity, message) = match contain::tried(upstream, &own_binary).await {
            None => continue,
            Some(Ok(stands)) if stands.missing.is_empty() => continue,
            Some(Ok(stands)) => {
                let missing = stands.missing.join("; ");
                match limits.best_effort {
                    true => {
                        (Severity::Lint, format!("upstream `{name}` is contained in part only: {missing}"))
                    }
                    false => {
                        (Severity::Error, format!("upstream `{name}` cannot be contained here: {missing}"))
                    }
                }
            }
            Some(Err(why)) => (Severity::Error, format!("upstream `{name}` is not started: {why}")),
        };
        let expected = match severity {
            Severity::Lint => "a kernel that gives all of it",
            Severity::Error => "a kernel that gives it, less to ask for, or best_effort = true in `contain`",
        };
        let expected = expected.to_owned();
        problems.push(Problem {
            place: contain_place(path, name),
            severity,
            message,
            expected,
            strict: false,
        });
    }
    problems
}
