//! The rules, as ARCHITECTURE.md states them.

use crate::scan::{Kind, Path, Token, paths, tokens, without_tests};

/// Rooms by floor. A room imports only from lower floors; rooms of one floor do not meet.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["redaction", "cost", "labels", "proof", "series"],
    &["policy", "pinning"],
    &["decision"],
    &["admission", "evidence"],
    &["alerts", "chat", "replay", "clock", "config", "journal", "offload", "outbound", "telemetry"],
    &["store", "upstream"],
    &["identity", "catalog", "approval", "activation", "audit", "oversight", "connections"],
    &["gateway"],
    &["front"],
    &["cli"],
    &["main"],
];

/// Floors 0 to 4 are pure.
const PURE: usize = 4;

/// The most lines of a file.
pub(crate) const MAX_LINES: usize = 600;

/// The most lines of a function.
pub(crate) const MAX_FUNCTION: usize = 80;

/// Longer files, and why.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Where a file stands: its room, and its module path below the crate.
struct Place<'a> {
    file: &'a str,
    room: &'a str,
    module: Vec<&'a str>,
}

fn place(file: &str) -> Option<Place<'_>> {
    let inner = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut module: Vec<&str> = inner.split('/').collect();
    let room = *module.first()?;
    if module.len() > 1 && module.last() == Some(&"mod") {
        module.pop();
    }
    Some(Place { file, room, module })
}

/// Whether a file holds tests only.
pub(crate) fn is_test_file(file: &str) -> bool {
    place(file).is_none_or(|place| is_test(&place))
}

/// A file's module path below the crate; none where it is the crate itself.
pub(crate) fn module_of(file: &str) -> Option<Vec<String>> {
    let place = place(file).filter(|place| !matches!(place.room, "lib" | "main"))?;
    Some(place.module.iter().map(|part| (*part).to_owned()).collect())
}

fn is_test(place: &Place<'_>) -> bool {
    place.module.iter().skip(1).any(|part| *part == "tests" || part.ends_with("_tests"))
}

/// How long a file is without its tests.
pub(crate) fn product_lines(file: &str, text: &str) -> usize {
    match place(file) {
        Some(place) if !is_test(&place) => text.lines().count() - without_tests(tokens(text)).1,
        Some(_) | None => 0,
    }
}

/// Everything that is wrong, as `file:line: rule: message`.
pub(crate) fn check_all(sources: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        let mut here = Vec::new();
        let mut tell = |line: usize, message: String| here.push((line, format!("{file}:{line}: {message}")));
        let Some(place) = place(file) else { continue };
        if product_lines(file, text) > MAX_LINES && !LONG_FILES.iter().any(|(name, _)| name == file) {
            tell(
                1,
                format!(
                    "length: more than {MAX_LINES} lines without tests; split it, or say why in LONG_FILES"
                ),
            );
        }
        if !text.starts_with("//!") && !is_test(&place) {
            tell(1, "header: the first line of a module says why it exists (`//! …`)".to_owned());
        }
        if place.room != "lib" && floor(place.room).is_none() {
            tell(
                1,
                format!(
                    "floors: `{}` is in no floor; add it to the table here and in ARCHITECTURE.md",
                    place.room
                ),
            );
        }
        if !is_test(&place) {
            let (code, _) = without_tests(tokens(text));
            let written = paths(&code);
            floors(&place, &code, &written, &mut tell);
            functions(text, &code, &mut tell);
            detours(&code, &mut tell);
            libraries(&place, &code, &mut tell);
            permit(&place, &code, &mut tell);
            dispatch(&place, &code, &mut tell);
            records(&place, &code, &mut tell);
            pure(&place, &code, &written, &mut tell);
        }
        here.sort();
        here.dedup();
        found.extend(here.into_iter().map(|(_, message)| message));
    }
    found
}

type Tell<'t> = &'t mut dyn FnMut(usize, String);

/// The first part of a path below the crate, where it is one of ours.
fn target<'p>(place: &Place<'_>, path: &'p Path) -> Option<&'p str> {
    let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
    match parts.first() {
        Some(&"crate") => path.parts.get(1).map(String::as_str),
        Some(&"tollgate") if place.room == "main" => path.parts.get(1).map(String::as_str),
        Some(&"super") => {
            let supers = parts.iter().take_while(|part| **part == "super").count();
            let depth = place.module.len() + path.depth;
            // As many steps up as there are modules is the crate itself.
            (supers >= depth).then(|| path.parts.get(supers).map(String::as_str)).flatten()
        }
        Some(_) | None => None,
    }
}

/// A function that is longer than others says why on the line before it: `// Long: REASON`.
fn functions(text: &str, code: &[Token], tell: Tell<'_>) {
    let lines: Vec<&str> = text.lines().collect();
    for (at, token) in code.iter().enumerate() {
        let Some(name) = code.get(at + 1).and_then(Token::ident).filter(|_| token.ident() == Some("fn"))
        else {
            continue;
        };
        let last = last_line(&code[at..]);
        let length = last + 1 - token.line;
        let before = token.line.checked_sub(2).and_then(|before| lines.get(before)).unwrap_or(&"");
        let reason = before.trim().strip_prefix("// Long:").map(str::trim);
        match (length > MAX_FUNCTION, reason) {
            (false, None) => {}
            (true, Some(reason)) if !reason.is_empty() => {}
            (true, _) => tell(
                token.line,
                format!(
                    "function: `{name}` has {length} lines, more than {MAX_FUNCTION}: split it by meaning, or say why on the line before: `// Long: REASON`"
                ),
            ),
            (false, Some(_)) => tell(
                token.line,
                format!(
                    "function: `{name}` has {length} lines and needs no reason for more than {MAX_FUNCTION}"
                ),
            ),
        }
    }
}

/// Where the item at the start of these tokens ends: the brace that closes it, or its `;`.
fn last_line(code: &[Token]) -> usize {
    let (mut braces, mut others) = (0_usize, 0_usize);
    for token in code {
        if token.is("{") {
            braces += 1;
        } else if token.is("}") {
            braces -= 1;
        } else if token.is("(") || token.is("[") {
            others += 1;
        } else if token.is(")") || token.is("]") {
            others -= 1;
        }
        let ends = (token.is("}") && braces == 0) || (token.is(";") && braces + others == 0);
        if ends {
            return token.line;
        }
    }
    code.last().map_or(0, |token| token.line)
}

fn floors(place: &Place<'_>, code: &[Token], written: &[Path], tell: Tell<'_>) {
    let Some(own) = floor(place.room) else { return };
    for path in written {
        let Some(room) = target(place, path) else { continue };
        if room == place.room {
            continue;
        }
        match floor(room) {
            Some(theirs) if theirs < own => {}
            Some(theirs) => tell(
                path.line,
                format!(
                    "floors: `{}` (floor {own}) imports `{room}` (floor {theirs}): a room imports only from lower floors",
                    place.room
                ),
            ),
            None => tell(
                path.line,
                format!("floors: `{}` names a room that is in no floor", path.parts.join("::")),
            ),
        }
    }
    for pair in code.windows(2) {
        let renamed = pair[0].ident() == Some("crate") && pair[1].ident() == Some("as");
        let renamed = renamed || pair[0].ident() == Some("extern") && pair[1].ident() == Some("crate");
        if renamed {
            tell(
                pair[0].line,
                "floors: `crate` is imported under another name, which hides what is imported".to_owned(),
            );
        }
    }
}

/// Source that comes from elsewhere would not be seen by these rules.
fn detours(code: &[Token], tell: Tell<'_>) {
    for three in code.windows(3) {
        let attribute = three[0].is("[") && three[1].ident() == Some("path") && three[2].is("=");
        let include = three[0].ident() == Some("include") && three[1].is("!");
        if attribute || include {
            tell(
                three[0].line,
                "paths: `#[path]` and `include!` put code where nobody looks for it".to_owned(),
            );
        }
    }
}

fn libraries(place: &Place<'_>, code: &[Token], tell: Tell<'_>) {
    let rmcp = matches!(place.room, "front" | "upstream") || place.file == "src/cli/demo_upstream.rs";
    for token in code {
        match &token.kind {
            Kind::Ident(name) if name == "rmcp" && !rmcp => {
                tell(token.line, "rmcp: it appears in front, upstream and the demo upstream only".to_owned());
            }
            Kind::Ident(name)
                if matches!(name.as_str(), "rusqlite" | "tokio_postgres") && place.room != "store" =>
            {
                tell(token.line, format!("sql: {name} appears in store only"));
            }
            Kind::Ident(name) if name == "axum" && place.room != "front" => {
                tell(token.line, "axum: it appears in front only".to_owned());
            }
            Kind::Ident(name) if name.starts_with("opentelemetry") && place.room != "telemetry" => {
                tell(token.line, "otel: OpenTelemetry's crates appear in telemetry only".to_owned());
            }
            Kind::Text(text) if place.room != "store" && is_sql(text) => {
                tell(token.line, "sql: SQL appears in store only".to_owned());
            }
            Kind::Ident(_) | Kind::Text(_) | Kind::Punct(_) | Kind::Other => {}
        }
    }
}

fn is_sql(text: &str) -> bool {
    let text = text.trim_start();
    let starts =
        ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM ", "CREATE TABLE ", "PRAGMA ", "BEGIN IMMEDIATE"];
    starts.iter().any(|start| text.starts_with(start))
}

/// I1: a permit proves that admission happened, so nothing else may make, copy or take one apart.
fn permit(place: &Place<'_>, code: &[Token], tell: Tell<'_>) {
    let home = place.file == "src/gateway/admit.rs";
    for at in 0..code.len() {
        if code[at].ident() != Some("Permit") {
            continue;
        }
        let line = code[at].line;
        let before = at.checked_sub(1).map(|before| &code[before]);
        let after = code.get(at + 1);
        let declared = before.and_then(Token::ident) == Some("struct");
        let literal = after.is_some_and(|next| next.is("{"))
            && !before.is_some_and(|b| b.is("->") || matches!(b.ident(), Some("struct" | "impl" | "for")));
        let associated = after.is_some_and(|next| next.is("::"));
        let implemented = before.and_then(Token::ident) == Some("for") && at >= 2;
        if !home && (declared || literal || associated) {
            tell(line, "permit: only gateway/admit.rs makes a `Permit`".to_owned());
        } else if !home && !implemented && !is_dispatch(place) {
            tell(line, "permit: only gateway/dispatch/ consumes a `Permit`".to_owned());
        }
        if implemented
            && matches!(code[at - 2].ident(), Some("Clone" | "Copy" | "Default" | "Deserialize" | "From"))
        {
            tell(line, "permit: a `Permit` cannot be copied or made from anything".to_owned());
        }
        if home && declared {
            declaration(code, at, tell);
        }
    }
}

/// Private fields, and no derive that would make a second one.
fn declaration(code: &[Token], at: usize, tell: Tell<'_>) {
    let body = code[at..].iter().take_while(|token| !token.is("}") && !token.is(";"));
    for token in body {
        if token.ident() == Some("pub") {
            tell(token.line, "permit: the fields of `Permit` are private".to_owned());
        }
    }
    // Attributes stand between the end of the item before and this one.
    let attributes = code[..at].iter().rev().take_while(|token| !token.is("}") && !token.is(";"));
    for token in attributes {
        if matches!(token.ident(), Some("Clone" | "Copy" | "Default" | "Deserialize")) {
            tell(token.line, "permit: a `Permit` cannot be copied or made from anything".to_owned());
        }
    }
}

/// Whether a file is one of those that spend permits.
fn is_dispatch(place: &Place<'_>) -> bool {
    place.module.starts_with(&["gateway", "dispatch"])
}

/// I1: a request to an upstream is made where the permit is spent, and nowhere else.
fn dispatch(place: &Place<'_>, code: &[Token], tell: Tell<'_>) {
    if place.room == "upstream" || is_dispatch(place) {
        return;
    }
    for (at, token) in code.iter().enumerate() {
        let request = token.ident() == Some("UpstreamRequest");
        let called = token.ident() == Some("Upstream")
            && code.get(at + 1).is_some_and(|next| next.is("::"))
            && code.get(at + 2).and_then(Token::ident) == Some("call");
        if request || called {
            tell(token.line, "dispatch: only gateway/dispatch/ calls an upstream".to_owned());
        }
    }
}

/// A record of a call says the same whoever makes it: it is built in one room. What tells of a bundle is no record of a call.
fn records(place: &Place<'_>, code: &[Token], tell: Tell<'_>) {
    if matches!(place.room, "model" | "evidence") || place.file == "src/gateway/activation.rs" {
        return;
    }
    for (at, token) in code.iter().enumerate() {
        if token.ident() == Some("EventDraft")
            && code.get(at + 1).is_some_and(|next| next.is("::"))
            && code.get(at + 2).and_then(Token::ident) == Some("system")
        {
            tell(token.line, "records: only evidence/ builds the records of calls".to_owned());
        }
    }
}

/// I6: floors 0 to 4 hold no async, tokio, file, environment, clock or randomness.
fn pure(place: &Place<'_>, code: &[Token], written: &[Path], tell: Tell<'_>) {
    if !matches!(place.room, "alerts" | "chat" | "replay") && floor(place.room).is_none_or(|own| own > PURE) {
        return;
    }
    for token in code {
        let Some(name) = token.ident() else { continue };
        if matches!(
            name,
            "async" | "await" | "tokio" | "futures" | "getrandom" | "rand" | "Instant" | "SystemTime"
        ) {
            tell(token.line, format!("pure: floors 0 to {PURE} hold no `{name}`"));
        }
    }
    for path in written {
        let parts: Vec<&str> = path.parts.iter().map(String::as_str).collect();
        let impure = matches!(
            parts.as_slice(),
            ["std", "fs" | "env" | "net" | "process" | "thread" | "os", ..]
                | [.., "io", "stdin" | "stdout" | "stderr"]
                | [.., "Timestamp" | "Zoned", "now"]
                | ["uuid", .., "new_v4" | "now_v7"]
        );
        if impure {
            tell(path.line, format!("pure: floors 0 to {PURE} hold no `{}`", parts.join("::")));
        }
    }
}
