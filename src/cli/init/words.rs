//! What others have named, in a form that can be written and shown.

/// A name that a table of an upstream can have.
pub(super) fn table_name(wanted: &str) -> String {
    let mut name: String = wanted
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '-' })
        .take(32)
        .collect();
    // Two of them stand between a server and its tools.
    while name.contains("__") {
        name = name.replace("__", "_");
    }
    let name = name.trim_matches(['-', '_', '.']).to_owned();
    match name.as_str() {
        "" => "server".to_owned(),
        reserved if reserved.eq_ignore_ascii_case("tollgate") => "server-tollgate".to_owned(),
        _ => name,
    }
}

/// Bounded, without what would move the cursor.
pub(super) fn one_line(name: &str, most: usize) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}
