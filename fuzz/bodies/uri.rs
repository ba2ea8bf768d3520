//! A pattern, a line feed, and a URI: one reading of the URI, whoever reads it, and a rule that holds for every spelling.

use tollgate::model::{Uri, UriPattern, host, within};

/// Other spellings that every parser takes for the same URI.
fn respelled(uri: &str) -> Vec<String> {
    let mut spellings = Vec::new();
    let (scheme, rest) = uri.split_once(':').expect("a URI has a scheme");
    spellings.push(format!("{}:{rest}", scheme.to_ascii_uppercase()));
    // Unreserved characters, encoded: everything behind the authority, or behind the scheme where there is none.
    let start = scheme.len()
        + match rest.strip_prefix("//") {
            Some(rest) => 3 + rest.find(['/', '?', '#']).unwrap_or(rest.len()),
            None => 1,
        };
    let (head, tail) = uri.split_at(start);
    let mut encoded = head.to_owned();
    let mut chars = tail.chars();
    while let Some(c) = chars.next() {
        match c {
            // An escape stays, with its digits in lower case.
            '%' => encoded
                .extend(['%'].into_iter().chain(chars.by_ref().take(2)).map(|c| c.to_ascii_lowercase())),
            'a'..='z' | '0'..='9' | '-' | '_' | '~' => encoded.push_str(&format!("%{:02x}", u32::from(c))),
            other => encoded.push(other),
        }
    }
    spellings.push(encoded);
    if tail.starts_with('/') {
        spellings.push(format!("{head}/.{tail}"));
        spellings.push(format!("{head}/x/%2e%2e{tail}"));
    }
    spellings
}

/// Decoded as far as it goes, for comparison with another parser's encoding.
fn plain(text: &str) -> String {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let digits = after.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) if *byte == b'%' => {
                out.push(decoded);
                rest = &after[2..];
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(crate) fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, written) = text.split_once('\n').unwrap_or(("**", &text));
    let pattern = UriPattern::parse(pattern).ok();
    conditions(written);
    let Ok(uri) = Uri::parse(written) else { return };
    let canonical = uri.as_str();
    assert!(canonical.is_ascii() && !canonical.contains(['\\', ' ']), "{written:?} is read as {canonical:?}");
    assert!(canonical.len() <= 3 * written.len() + 16, "{written:?} grows to {canonical:?}");
    let again = Uri::parse(canonical).expect(canonical);
    assert_eq!(again.as_str(), canonical, "{written:?} is not read twice alike");
    let path = canonical.split(['?', '#']).next().unwrap_or_default();
    if let Some(pattern) = &pattern {
        rules(pattern, canonical, path);
    }
    if uri.doubt().is_some() {
        return;
    }
    assert!(again.doubt().is_none(), "{canonical:?} is in doubt of itself");
    for other in respelled(canonical).into_iter().filter(|other| other.len() <= tollgate::model::LONGEST_URI)
    {
        let read = Uri::parse(&other).unwrap_or_else(|wrong| panic!("{other:?} for {canonical:?}: {wrong}"));
        assert_eq!(read.as_str(), canonical, "{other:?}");
        assert!(read.doubt().is_none(), "{other:?}");
    }
    // Another parser reads what is sent as we do.
    let special = ["http:", "https:", "ws:", "wss:", "ftp:", "file:"];
    if special.iter().any(|scheme| canonical.starts_with(scheme)) {
        let theirs = url::Url::parse(canonical).unwrap_or_else(|wrong| panic!("{canonical:?}: {wrong}"));
        assert_eq!(plain(theirs.as_str()), plain(canonical));
        assert_eq!(theirs.username(), "", "{canonical:?}");
    }
}

fn rules(pattern: &UriPattern, canonical: &str, path: &str) {
    let (grants, concerns) = (pattern.grants(canonical, false), pattern.concerns(canonical));
    assert!(!grants || concerns, "{pattern:?} grants {canonical:?} and is no rule about it");
    assert!(!grants || pattern.grants(canonical, true), "{pattern:?} on {canonical:?}");
    if !pattern.as_str().contains(['?', '#']) {
        assert_eq!(concerns, pattern.concerns(path), "{pattern:?} on {canonical:?}");
        assert!(!grants || path == canonical, "{pattern:?} grants what follows in {canonical:?}");
    }
}

/// What conditions ask of a text that is no URI of a resource, but goes on as it is.
fn conditions(written: &str) {
    if let Ok(host) = host(written) {
        assert!(
            !host.is_empty() && host.is_ascii() && !host.contains(['@', '%', '\\', '/']),
            "{written:?}: {host:?}"
        );
        let special = ["http:", "https:", "ws:", "wss:", "ftp:"];
        if special.iter().any(|scheme| written.to_ascii_lowercase().starts_with(scheme)) {
            let theirs = url::Url::parse(written).unwrap_or_else(|wrong| panic!("{written:?}: {wrong}"));
            let theirs = theirs.host_str().unwrap_or_default();
            assert_eq!(theirs.strip_suffix('.').unwrap_or(theirs), host, "{written:?}");
        }
    }
    if within(written, "/srv/docs") == Ok(true) {
        let mut reading = written.to_owned();
        for _ in 0..12 {
            let mut names: Vec<&str> = Vec::new();
            for name in reading.split(['/', '\\']) {
                match name {
                    "" | "." => {}
                    ".." => drop(names.pop()),
                    name => names.push(name),
                }
            }
            assert!(names.starts_with(&["srv", "docs"]), "{written:?} is read as {reading:?}");
            reading = plain(&reading);
        }
    }
}
