//! Circles: files of one room that import each other, directly or over others.
//!
//! What a folder's own file exports from a file of the folder is followed to where it is defined. A file may use what its
//! folder's own file defines: a folder and its frame are one thing.

use crate::rules::{is_test_file, module_of};
use crate::scan::{Path, Token, paths, tokens, without_tests};
use std::collections::{BTreeMap, BTreeSet};

type Module = Vec<String>;

/// Circles that stand for now, each as its files in order, and why.
pub(crate) const KNOWN: &[(&[&str], &str)] = &[];

/// How often an export is followed to another one.
const MOST_EXPORTS: usize = 8;

struct File {
    name: String,
    /// Every path in it, from the crate.
    paths: Vec<Module>,
    /// What its `use`s bring in, from the crate.
    imports: Vec<Module>,
    defined: BTreeSet<String>,
}

/// Each circle as the names of its files, in order.
pub(crate) fn circles(sources: &[(String, String)]) -> Vec<Vec<String>> {
    let product: Vec<_> = sources.iter().filter(|(name, _)| !is_test_file(name)).collect();
    let modules: BTreeSet<Module> = product.iter().filter_map(|(name, _)| module_of(name)).collect();
    let files: BTreeMap<Module, File> = product
        .iter()
        .filter_map(|(name, text)| {
            let module = module_of(name)?;
            let (code, _) = without_tests(tokens(text));
            let file = File {
                name: name.clone(),
                paths: absolute_paths(&module, &modules, &paths(&code)),
                imports: absolute_paths(&module, &modules, &imports(&code)),
                defined: defined(&code),
            };
            Some((module, file))
        })
        .collect();
    let edges: BTreeMap<&Module, BTreeSet<&Module>> = files
        .iter()
        .map(|(module, file)| {
            let targets = file.paths.iter().filter_map(|path| resolve(&files, path, 0));
            let apart =
                |target: &&Module| target.first() == module.first() && !module.starts_with(target.as_slice());
            (module, targets.filter(apart).collect())
        })
        .collect();
    let reach: BTreeMap<&Module, BTreeSet<&Module>> =
        files.keys().map(|module| (module, reachable(&edges, module))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in &reach {
        let circle: Vec<String> = reached
            .iter()
            .filter(|other| reached.contains(module) && reach[*other].contains(module))
            .map(|other| files[*other].name.clone())
            .collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

/// Circles that are not known, and known ones that are gone.
pub(crate) fn check(sources: &[(String, String)], known: &[(&[&str], &str)]) -> Vec<String> {
    let found = circles(sources);
    let mut wrong: Vec<String> = found
        .iter()
        .filter(|circle| {
            !known.iter().any(|(files, _)| circle.iter().all(|file| files.contains(&file.as_str())))
        })
        .map(|circle| format!("circle: these files import each other: {}", circle.join(", ")))
        .collect();
    for (files, reason) in known {
        assert!(!reason.is_empty(), "{files:?}: an exception needs a reason");
        let stands = |file: &&&str| found.iter().any(|circle| circle.iter().any(|name| name == **file));
        wrong.extend(files.iter().filter(|file| !stands(file)).map(|file| {
            format!(
                "circle: `{file}` is in none any more, take it off the list in tests/architecture/circles.rs"
            )
        }));
    }
    wrong
}

fn reachable<'m>(edges: &BTreeMap<&'m Module, BTreeSet<&'m Module>>, from: &Module) -> BTreeSet<&'m Module> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&'m Module> = edges.get(from).into_iter().flatten().copied().collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(edges.get(next).into_iter().flatten().copied());
        }
    }
    found
}

/// The paths of one file, from the crate.
fn absolute_paths(module: &Module, modules: &BTreeSet<Module>, written: &[Path]) -> Vec<Module> {
    written.iter().filter_map(|path| absolute(module, modules, path)).collect()
}

fn absolute(module: &Module, modules: &BTreeSet<Module>, path: &Path) -> Option<Module> {
    let parts = &path.parts;
    let supers = parts.iter().take_while(|part| *part == "super").count();
    match parts.first()?.as_str() {
        "crate" => Some(parts[1..].to_vec()),
        // Inside an inline module the first steps lead to this file.
        "super" => {
            let up = module.len().checked_sub(supers.saturating_sub(path.depth))?;
            Some([&module[..up], &parts[supers..]].concat())
        }
        "self" => Some([module, &parts[1..]].concat()),
        first => {
            let child = [module.as_slice(), &[first.to_owned()]].concat();
            modules.contains(&child).then(|| [module.as_slice(), parts].concat())
        }
    }
}

/// The file that defines what a path names: the longest prefix that is a file, and where that only exports it, the file that
/// it exports it from.
fn resolve<'f>(files: &'f BTreeMap<Module, File>, path: &Module, depth: usize) -> Option<&'f Module> {
    let (module, file) = (1..=path.len()).rev().find_map(|length| files.get_key_value(&path[..length]))?;
    let Some(name) = path.get(module.len()).filter(|name| !file.defined.contains(*name)) else {
        return Some(module);
    };
    if depth == MOST_EXPORTS {
        return Some(module);
    }
    let named = file.imports.iter().find(|import| import.last() == Some(name) && *import != path);
    let of_all = file.imports.iter().find_map(|import| {
        let from = import.strip_suffix(["*".to_owned()].as_slice())?;
        files.get_key_value(from).filter(|(_, other)| other.defined.contains(name))
    });
    match (named, of_all) {
        (Some(import), _) => resolve(files, import, depth + 1),
        (None, Some((other, _))) => Some(other),
        (None, None) => Some(module),
    }
}

/// The paths after `use`.
fn imports(code: &[Token]) -> Vec<Path> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < code.len() {
        if code[at].ident() == Some("use") {
            let end = code[at..].iter().position(|token| token.is(";")).map_or(code.len(), |end| at + end);
            out.extend(paths(&code[at..end]));
            at = end;
        }
        at += 1;
    }
    out
}

/// The names that a file defines.
fn defined(code: &[Token]) -> BTreeSet<String> {
    let defines = ["struct", "enum", "fn", "const", "static", "trait", "type", "union"];
    code.windows(2)
        .filter(|pair| pair[0].ident().is_some_and(|word| defines.contains(&word)))
        .filter_map(|pair| pair[1].ident().map(str::to_owned))
        .collect()
}
