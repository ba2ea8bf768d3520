//! docs/detectors.md.

use crate::{
    corpus::Sample,
    measure::{Measured, Score},
};
use std::{collections::BTreeSet, fmt::Write as _, path::Path};

/// The least of every detector, in both halves.
const RECALL: f64 = 0.99;
const PRECISION: f64 = 0.98;

const BEGIN: &str = "<!-- measured: UPDATE_TABLE=1 cargo test --test detectors -->\n";
const END: &str = "<!-- end of what is measured -->";

/// Cut, not rounded: what is below a bound never reads as the bound.
fn figure(share: f64) -> String {
    format!("{:.3}", (share * 1000.0).floor() / 1000.0)
}

fn columns(pick: impl Fn(&Score) -> String, scores: &[Score; 2]) -> String {
    scores.iter().map(pick).collect::<Vec<_>>().join(" / ")
}

/// By detector, and by category of what is harmless; the open half, then the held-out one.
pub(crate) fn table(measured: &Measured) -> String {
    let mut out = String::from("| detector | samples | recall | precision |\n|---|---|---|---|\n");
    for (name, scores) in &measured.detectors {
        writeln!(
            out,
            "| `{name}` | {} | {} | {} |",
            columns(|score| score.samples.to_string(), scores),
            columns(|score| figure(score.recall()), scores),
            columns(|score| figure(score.precision()), scores)
        )
        .unwrap();
    }
    out.push_str("\n| harmless texts | samples | with an alarm |\n|---|---|---|\n");
    for (category, [open, held_out]) in &measured.harmless {
        writeln!(out, "| {category} | {} / {} | {} / {} |", open[0], held_out[0], open[1], held_out[1])
            .unwrap();
    }
    out
}

/// What each detector is asked to find.
fn sorts(samples: &[Sample]) -> String {
    let mut out = String::from("| detector | what the corpus has of it |\n|---|---|\n");
    let detectors: BTreeSet<&str> = samples.iter().filter_map(|sample| sample.detector).collect();
    for detector in detectors {
        let mut sorts: Vec<&str> = Vec::new();
        for sample in samples.iter().filter(|sample| sample.detector == Some(detector)) {
            if !sorts.contains(&sample.what) {
                sorts.push(sample.what);
            }
        }
        writeln!(out, "| `{detector}` | {} |", sorts.join(", ")).unwrap();
    }
    out
}

pub(crate) fn short_of_bounds(measured: &Measured) -> Vec<String> {
    let mut short = Vec::new();
    for (name, scores) in &measured.detectors {
        for (half, score) in ["open", "held-out"].into_iter().zip(scores) {
            if score.recall() < RECALL || score.precision() < PRECISION {
                let (recall, precision) = (score.recall(), score.precision());
                short.push(format!(
                    "{name}: {half} half: recall {recall:.4}, precision {precision:.4}: {score:?}"
                ));
            }
        }
    }
    short
}

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/detectors.md")
}

/// The page with the measured part in place.
pub(crate) fn page(samples: &[Sample], measured: &Measured) -> String {
    let current = std::fs::read_to_string(file()).unwrap_or_default();
    let (before, rest) = current.split_once(BEGIN).unwrap_or((&current, END));
    let (_, after) = rest.split_once(END).unwrap_or(("", ""));
    let secrets = samples.iter().filter(|sample| sample.detector.is_some()).count();
    let harmless = samples.len() - secrets;
    format!(
        "{before}{BEGIN}\n{secrets} samples hold something, {harmless} nothing. Each figure: open half / held-out half.\n\n{}\n{}\n{END}{after}",
        table(measured),
        sorts(samples)
    )
}

/// The committed page is what is measured now.
pub(crate) fn compare(page: &str) {
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(file(), page).unwrap();
    }
    let committed = std::fs::read_to_string(file()).unwrap_or_default();
    assert!(
        committed == page,
        "docs/detectors.md is not what is measured: UPDATE_TABLE=1 cargo test --test detectors writes it"
    );
}
