//! `--managed`: the files by which a fleet's clients reach Tollgate and nothing else. They are written into a folder; whoever manages
//! the machines brings them where they count. What a file there says beside stays.

use super::{governed::Behind, undo::Kept};
use crate::cli::{
    args::{ClientKind, ConnectArgs},
    clients::{NAME, Reach, is_same_place},
    edit::{
        document::{Document, Format, strict, toml_value},
        file::{Copies, Opened, Readers},
        shown::difference,
    },
    failure::CliError,
    screen::Screen,
};
use crate::config::is_loopback;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The top of a file.
const TOP: &[&str] = &[];

/// One file, what is to stand in it, and where it counts.
struct Wanted {
    name: &'static str,
    place: &'static str,
    /// Members of maps: the map, the name, the value.
    members: Vec<(&'static [&'static str], &'static str, Value)>,
    /// Items of lists: the map, the list, the items.
    items: Vec<(&'static [&'static str], &'static str, Vec<Value>)>,
}

/// One file as it is and as it is to be.
struct Made {
    opened: Opened,
    text: String,
    place: &'static str,
    /// What it lets clients start beside.
    beside: Vec<String>,
    copy: Option<PathBuf>,
}

/// Writes those of a client. `agreed` asks whoever sits at a terminal.
pub(super) fn write(
    args: &ConnectArgs,
    folder: &Path,
    reach: &Reach<'_>,
    behind: &Behind,
    agreed: &dyn Fn() -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let wanted = wanted(args.client, reach, behind)?;
    let mut files: Vec<Made> =
        wanted.iter().map(|one| made(folder, one, reach)).collect::<Result<_, CliError>>()?;
    let mut screen = Screen::new();
    let warning = loopback(reach);
    let changes = files.iter().any(|file| file.opened.text() != file.text);
    if !args.json.json {
        for file in &files {
            screen.line(
                difference(&file.opened.path().display().to_string(), file.opened.text(), &file.text)
                    .trim_end(),
            )?;
            for other in &file.beside {
                screen.field("stays allowed", &format!("{other} ({})", file.opened.path().display()))?;
            }
        }
        if let Some(warning) = &warning {
            screen.field("WARNING", warning)?;
        }
    }
    if !args.dry_run {
        if changes && !args.json.json && !agreed()? {
            return Err(CliError::Told("nothing was written".to_owned()));
        }
        for file in files.iter_mut().filter(|file| !file.opened.is_there() || file.opened.text() != file.text)
        {
            let copy = file.opened.replace_and_keep(Readers::AsBefore, &file.text)?;
            Kept::of_text(&file.text, file.opened.is_there()).write(&copy)?;
            file.copy = Some(copy);
        }
    }
    if args.json.json {
        let told = files.iter().map(|file| {
            let path = file.opened.path().display().to_string();
            json!({
                "file": path, "place": file.place, "beside": file.beside,
                "backup": file.copy.as_ref().map(|copy| copy.display().to_string()),
                "diff": difference(&path, file.opened.text(), &file.text),
            })
        });
        return screen.json(&json!({
            "client": args.client.title(), "files": told.collect::<Vec<_>>(), "written": !args.dry_run && changes,
            "changes": changes, "warning": warning,
        }));
    }
    if args.dry_run {
        return screen.line("\nNothing was written: leave out --dry-run to write it.");
    }
    for file in &files {
        let path = file.opened.path().display();
        match &file.copy {
            Some(copy) => {
                screen.line(&format!("wrote {path}"))?;
                screen.field("backup", &format!("{} (--undo goes back)", copy.display()))?;
            }
            None => screen.line(&format!("{path} is as it should be"))?,
        }
        screen.field("belongs to", file.place)?;
    }
    screen.line("\nThey count where a machine's users cannot change them. `tollgate doctor` on a machine names what still goes round the gateway.")
}

/// `--undo`: the files as they were, where nobody has changed them since.
pub(super) fn undo(
    args: &ConnectArgs,
    folder: &Path,
    agreed: &dyn Fn() -> Result<bool, CliError>,
) -> Result<(), CliError> {
    let mut back = Vec::new();
    for name in names(args.client)? {
        let path = folder.join(name);
        let Some(copy) = Copies::of(&path).newest() else { continue };
        let (opened, before) = (Opened::read(&path)?, Opened::read(&copy)?);
        let kept = Kept::read(&copy)?;
        if !kept.as_ref().is_some_and(|kept| kept.is_of(opened.text())) {
            return Err(CliError::Told(format!(
                "`{}` is not what `connect` wrote any more, and was left as it is: take out of it what is Tollgate's, or put `{}` back \
                 in its place by hand",
                path.display(),
                copy.display()
            )));
        }
        let was_there = kept.is_some_and(|kept| kept.was_there(before.text()));
        back.push((opened, was_there.then(|| before.text().to_owned()), copy));
    }
    if back.is_empty() {
        return Err(CliError::Told(format!(
            "there is nothing to undo: no copy lies beside the files of {} in `{}`",
            args.client.title(),
            folder.display()
        )));
    }
    let mut screen = Screen::new();
    let shown = |(opened, text, _): &(Opened, Option<String>, PathBuf)| {
        difference(&opened.path().display().to_string(), opened.text(), text.as_deref().unwrap_or_default())
    };
    if !args.json.json {
        back.iter().try_for_each(|one| screen.line(shown(one).trim_end()))?;
    }
    let write = !args.dry_run && (args.json.json || agreed()?);
    for (opened, text, copy) in back.iter().filter(|_| write) {
        match text {
            Some(text) => opened.replace(text)?,
            None => opened.remove()?,
        }
        Kept::forget(copy)?;
    }
    if args.json.json {
        let files: Vec<Value> = back
            .iter()
            .map(|one| json!({"file": one.0.path().display().to_string(), "removed_file": one.1.is_none(), "diff": shown(one)}))
            .collect();
        return screen.json(&json!({"client": args.client.title(), "written": write, "files": files}));
    }
    screen.line(if write { "\nThe files are as they were, byte by byte." } else { "\nNothing was written." })
}

/// What a fleet's machine would reach at this address: itself.
fn loopback(reach: &Reach<'_>) -> Option<String> {
    let Reach::Http { url } = reach else { return None };
    let parsed = url::Url::parse(url).ok()?;
    let own = is_loopback(&parsed) || matches!(parsed.host_str(), Some("0.0.0.0" | "[::]"));
    own.then(|| {
        format!(
            "the files lead to {url}, which on every machine of the fleet is that machine itself: set `public_url` of [gateway] in \
             servers.toml to the gateway's own address, or say --stdio"
        )
    })
}

/// A file with what is wanted in it, and all else as it is.
fn made(folder: &Path, wanted: &Wanted, reach: &Reach<'_>) -> Result<Made, CliError> {
    let path = folder.join(wanted.name);
    let opened = Opened::read(&path)?;
    let wrong = |why: String| {
        CliError::Told(format!(
            "nothing was written: `{}` is there, and cannot be added to: {why}",
            path.display()
        ))
    };
    let format = if wanted.name.ends_with(".toml") { Format::Toml } else { Format::Json };
    let empty = opened.text().trim().is_empty() && format == Format::Json;
    let text = if empty { "{\n}\n" } else { opened.text() };
    let root = match format {
        Format::Toml => toml_value(text).map_err(wrong)?,
        Format::Json => match jsonc_parser::parse_to_serde_value::<Value>(text, &strict()) {
            Ok(Value::Object(root)) => root,
            Ok(_) => return Err(wrong("it holds no object".to_owned())),
            Err(error) => return Err(wrong(error.to_string())),
        },
    };
    let steps = |map: &[&str]| map.iter().map(|step| (*step).to_owned()).collect::<Vec<_>>();
    let there = |map: &[&str], name: &str| {
        let mut at = Some(&root);
        for step in map {
            at = at.and_then(|at| at.get(*step)?.as_object());
        }
        at.and_then(|at| at.get(name)).cloned()
    };
    let mut document = Document::parse(text, format).map_err(wrong)?;
    let mut beside = Vec::new();
    for (map, name, value) in &wanted.members {
        if *name == NAME
            && let Some((last, before)) = map.split_last()
        {
            let servers =
                there(before, last).and_then(|servers| servers.as_object().cloned()).unwrap_or_default();
            beside.extend(servers.into_iter().map(|(name, _)| name).filter(|name| name != NAME));
        }
        if there(map, name).as_ref() != Some(value) {
            document = document.set(&steps(map), name, value).map_err(wrong)?;
        }
    }
    for (map, list, items) in &wanted.items {
        let old = there(map, list).and_then(|list| list.as_array().cloned()).unwrap_or_default();
        let is_old = |item: &Value| is_ours(item, reach) && !items.contains(item);
        for item in old.iter().filter(|item| is_old(item)) {
            document = document.without_item(&steps(map), list, item).map_err(wrong)?;
        }
        for item in items.iter().filter(|item| !old.contains(item)) {
            document = document.push(&steps(map), list, item).map_err(wrong)?;
        }
        if there(map, list).is_none() && items.is_empty() {
            document = document.set(&steps(map), list, &json!([])).map_err(wrong)?;
        }
        if *list != "deniedMcpServers" {
            let other = |item: &&Value| !items.contains(item) && !is_old(item);
            beside.extend(old.iter().filter(other).map(ToString::to_string));
        }
    }
    Ok(Made { opened, text: document.text(), place: wanted.place, beside, copy: None })
}

/// An entry of a list of servers that an earlier `connect` wrote.
fn is_ours(item: &Value, reach: &Reach<'_>) -> bool {
    let program = item.pointer("/serverCommand/0").and_then(Value::as_str);
    let url = item.get("serverUrl").and_then(Value::as_str);
    let same = match reach {
        Reach::Http { url: own } => url.is_some_and(|url| is_same_place(own, url)),
        // Where it is reached by now is not told here.
        Reach::Stdio { .. } => url.is_some_and(|url| url.ends_with("/mcp") && is_own_host(url)),
    };
    same || program.is_some_and(|program| Path::new(program).file_stem().is_some_and(|stem| stem == NAME))
}

fn is_own_host(url: &str) -> bool {
    loopback(&Reach::Http { url }).is_some()
}

/// Their names.
fn names(client: ClientKind) -> Result<&'static [&'static str], CliError> {
    match client {
        ClientKind::Claude => Ok(&["managed-mcp.json", "managed-settings.json"]),
        ClientKind::Vscode => Ok(&["managed-settings.json"]),
        ClientKind::Gemini => Ok(&["settings.json"]),
        ClientKind::Codex => Ok(&["requirements.toml"]),
        ClientKind::ClaudeDesktop
        | ClientKind::Cursor
        | ClientKind::Zed
        | ClientKind::Windsurf
        | ClientKind::Cline => Err(CliError::Told(format!(
            "{} has no file that pins its servers for a fleet: claude, vscode, codex and gemini have",
            client.title()
        ))),
    }
}

fn wanted(client: ClientKind, reach: &Reach<'_>, behind: &Behind) -> Result<Vec<Wanted>, CliError> {
    names(client)?;
    let entry = client.entry(reach, "");
    let allowed = vec![match reach {
        Reach::Stdio { program, args } => {
            let words: Vec<&str> = std::iter::once(*program).chain(args.iter().map(String::as_str)).collect();
            json!({"serverCommand": words})
        }
        Reach::Http { url } => json!({"serverUrl": url}),
    }];
    let denied = behind.originals();
    let lists =
        || vec![(TOP, "allowedMcpServers", allowed.clone()), (TOP, "deniedMcpServers", denied.clone())];
    Ok(match client {
        ClientKind::Claude => vec![
            Wanted {
                name: "managed-mcp.json",
                place: "/etc/claude-code/ (Linux), /Library/Application Support/ClaudeCode/ (macOS), C:\\Program Files\\ClaudeCode\\ \
                        (Windows): the only servers that Claude Code loads",
                members: vec![(&["mcpServers"], NAME, entry)],
                items: Vec::new(),
            },
            Wanted {
                name: "managed-settings.json",
                place: "the same folder: what else is never loaded",
                members: vec![(TOP, "allowManagedMcpServersOnly", json!(true))],
                items: lists(),
            },
        ],
        ClientKind::Gemini => vec![Wanted {
            name: "settings.json",
            place: "/etc/gemini-cli/ (Linux), /Library/Application Support/GeminiCli/ (macOS), C:\\ProgramData\\gemini-cli\\ (Windows)",
            members: vec![(&["mcpServers"], NAME, entry)],
            items: vec![(&["mcp"], "allowed", vec![json!(NAME)])],
        }],
        ClientKind::Codex => {
            let identity = match reach {
                Reach::Stdio { program, .. } => json!({"command": program}),
                Reach::Http { url } => json!({"url": url}),
            };
            vec![Wanted {
                name: "requirements.toml",
                place: "/etc/codex/ (Linux, macOS): no other server is started",
                members: vec![(&["mcp_servers"], NAME, json!({"identity": identity}))],
                items: Vec::new(),
            }]
        }
        ClientKind::Vscode
        | ClientKind::ClaudeDesktop
        | ClientKind::Cursor
        | ClientKind::Zed
        | ClientKind::Windsurf
        | ClientKind::Cline => vec![Wanted {
            name: "managed-settings.json",
            place: "your enterprise's managed settings of GitHub Copilot, which VS Code and its other clients follow",
            members: Vec::new(),
            items: lists(),
        }],
    })
}
