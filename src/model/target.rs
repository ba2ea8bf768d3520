//! What calls name: a tool, a prompt, or a URI.

/// What is called, without the query of a URI: that is what was asked there.
#[must_use]
pub fn without_query(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) if target.contains(':') => {
            format!("{path}?[withheld:string:{}]", query.chars().count())
        }
        Some(_) | None => target.to_owned(),
    }
}
