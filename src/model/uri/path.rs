//! Paths: dot segments resolved, and the `within` rule of conditions.

use super::{
    UriError, Why,
    escape::{self, Part},
};

/// A canonical path, and why it could be read in another way.
pub(super) struct Path {
    pub(super) text: String,
    pub(super) doubt: Option<Why>,
}

/// The path of a URI in its canonical form. Without a slash at its beginning it is not taken apart by every parser: then
/// dot segments are an error.
pub(super) fn canonical(raw: &str) -> Result<Path, Why> {
    let (decoded, rounds) = escape::decode(raw)?;
    if decoded.contains('\\') {
        return Err(Why::Backslash);
    }
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    let mut doubt = (rounds > 1).then_some(Why::ManyTimes);
    if slashes(raw) != slashes(&decoded) || decoded.contains(['?', '#']) {
        doubt = Some(Why::Separator);
    }
    let rooted = decoded.starts_with('/');
    if rooted && decoded.contains("//") {
        doubt = doubt.or(Some(Why::Empty));
    }
    let rest = decoded.strip_prefix('/').unwrap_or(&decoded);
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let mut names: Vec<&str> = Vec::new();
    for name in rest.split('/').filter(|_| !rest.is_empty()) {
        match name {
            "." | ".." if !rooted => return Err(Why::Dots),
            "." => {}
            ".." => {
                names.pop().ok_or(Why::Climbs)?;
            }
            // `fetch:https://host/page`
            "" if !rooted && names.last().is_some_and(|before| before.ends_with(':')) => names.push(name),
            "" => doubt = doubt.or(Some(Why::Empty)),
            // Some servers drop `;` and what follows it in a segment before they resolve dots.
            name if matches!(name.split_once(';'), Some(("" | "." | "..", _))) => return Err(Why::Dotted),
            name => names.push(name),
        }
    }
    while names.last().is_some_and(|last| last.is_empty()) {
        names.pop();
    }
    let mut text = String::with_capacity(raw.len());
    for (index, name) in names.iter().enumerate() {
        if rooted || index > 0 {
            text.push('/');
        }
        escape::encode(&mut text, Part::Path, name);
    }
    if rooted && names.is_empty() {
        text.push('/');
    }
    Ok(Path { text, doubt })
}

/// Whether an absolute path lies at or below `root`. A relative path does not. It is an error where that depends on who
/// reads the path: on how often it is decoded, on what a backslash is, or on what lies above the root.
pub fn within(path: &str, root: &str) -> Result<bool, UriError> {
    let mut roots = Vec::new();
    for root in decoded(root)? {
        roots.extend(resolved(&root)?);
    }
    let below = |reading: &str| -> Result<bool, Why> {
        let Some(path) = resolved(reading)? else { return Ok(false) };
        let reaches = |root: &String| {
            let rest = path.strip_prefix(root.as_str());
            root == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        Ok(roots.iter().any(reaches))
    };
    let answer = below(path)?;
    for reading in decoded(path)? {
        if below(&reading)? != answer || below(&reading.replace('\\', "/"))? != answer {
            return Err(Why::TwoReadings.into());
        }
    }
    Ok(answer)
}

/// What readers take a text for: as it is, and percent-decoded until nothing changes. `None` where one of these has a segment
/// `.` or `..`, for what a pattern says of it then says nothing of where it leads, or where nobody can tell.
pub fn plain_readings(text: &str) -> Option<Vec<String>> {
    let dots = |reading: &str| {
        let mut names = reading.split(['/', '\\']);
        // Some servers drop `;` and what follows it before they resolve dots.
        names.any(|name| matches!(name.split_once(';').map_or(name, |(name, _)| name), "." | ".."))
    };
    let mut readings = Vec::new();
    let mut reading = text.to_owned();
    for _ in 0..=escape::MOST_ROUNDS {
        if dots(&reading) {
            return None;
        }
        let next = escape::once(&reading).ok()?;
        let is_last = next == reading;
        readings.push(std::mem::replace(&mut reading, next));
        if is_last {
            return Some(readings);
        }
    }
    None
}

/// A path as it is, decoded once, twice and so on until nothing changes. A path need not be encoded at all, so a `%`
/// that begins no escape is a character like others.
fn decoded(path: &str) -> Result<Vec<String>, Why> {
    let mut readings = Vec::new();
    let mut reading = path.to_owned();
    loop {
        if reading.chars().any(char::is_control) {
            return Err(Why::Control);
        }
        let next = escape::once(&reading)?;
        let last = next == reading;
        readings.push(std::mem::replace(&mut reading, next));
        if last {
            return Ok(readings);
        }
        if readings.len() > escape::MOST_ROUNDS {
            return Err(Why::ManyTimes);
        }
    }
}

/// An absolute path without dots and empty segments. Above the root some stay at it, and others refuse.
fn resolved(path: &str) -> Result<Option<String>, Why> {
    if !path.starts_with('/') {
        return Ok(None);
    }
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop().ok_or(Why::Climbs)?;
            }
            name => names.push(name),
        }
    }
    Ok(Some(format!("/{}", names.join("/"))))
}
