//! Links between files, and to headings in them, as GitHub makes their anchors.

use std::{collections::BTreeSet, path::Path};

/// Lines outside of fences.
pub(crate) fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    })
}

fn anchors(text: &str) -> BTreeSet<String> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    for id in text.split("<a id=\"").skip(1) {
        found.insert(id.split('"').next().unwrap_or_default().to_owned());
    }
    for (_, line) in prose(text).filter(|(_, line)| line.starts_with('#')) {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut name = anchor.clone();
        let mut count = 0;
        while !found.insert(name.clone()) {
            count += 1;
            name = format!("{anchor}-{count}");
        }
    }
    found
}

/// Links of a file that lead nowhere.
pub(crate) fn dead(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut wrong = Vec::new();
    for (line, said) in prose(&text) {
        for link in said.split("](").skip(1) {
            let target = link.split(')').next().unwrap_or_default();
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let led = if file.is_empty() { path.to_owned() } else { path.parent().unwrap().join(file) };
            let found = match anchor.is_empty() {
                true => led.exists(),
                false => std::fs::read_to_string(&led).is_ok_and(|text| anchors(&text).contains(anchor)),
            };
            if !found {
                wrong.push(format!("{}:{}: `{target}` leads nowhere", path.display(), line + 1));
            }
        }
    }
    wrong
}
