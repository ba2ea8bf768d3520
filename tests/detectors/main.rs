//! The detectors held against a corpus: recall and precision of each, on a half that rules are tuned on and on one that
//! they are not, and the table of docs/detectors.md that says so. `cargo test --test detectors -- --nocapture` prints it;
//! `UPDATE_TABLE=1` writes it; `SHOW_MISSES=1` shows what of the open half is missed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::cast_possible_truncation,
    reason = "a test, over its own corpus"
)]

mod attacks;
mod corpus;
mod generate;
mod measure;
mod table;

use std::collections::BTreeSet;
use tollgate::redaction::DataRules;

/// Recall and precision of every detector in both halves (R41, R42), and the page that says so.
#[test]
fn every_detector_keeps_its_bounds_and_the_page_says_how() {
    let samples = corpus::samples();
    let measured = measure::measure(&samples);
    let (page, short) = (table::page(&samples, &measured), table::short_of_bounds(&measured));
    println!("{}", table::table(&measured));
    if std::env::var_os("SHOW_MISSES").is_some() {
        for (_, told) in measured.misses.iter().filter(|(held_out, _)| !held_out) {
            println!("{told}");
        }
    }
    assert!(short.is_empty(), "\n{}", short.join("\n"));
    table::compare(&page);
}

/// A detector without samples is one of which nobody knows how good it is.
#[test]
fn every_detector_has_samples() {
    let samples = corpus::samples();
    let sampled: BTreeSet<&str> = samples.iter().filter_map(|sample| sample.detector).collect();
    // By place, and what is encoded deeper than anyone looks.
    let by_place = ["sensitive", "pointer", "constraint", "too_deep"];
    let rules = DataRules::built_in();
    let detectors: BTreeSet<&str> =
        rules.detectors().map(|(name, _, _)| name).filter(|name| !by_place.contains(name)).collect();
    assert_eq!(sampled, detectors);
    for detector in detectors {
        for held_out in [false, true] {
            let half = samples.iter().filter(|s| s.detector == Some(detector) && s.held_out == held_out);
            assert!(half.count() >= 60, "{detector}");
        }
    }
    let ids: BTreeSet<&str> = samples.iter().map(|sample| &*sample.id).collect();
    assert_eq!(ids.len(), samples.len());
}

/// What a scanner of a code host takes for a secret is only put together when the test runs.
#[test]
fn no_file_of_the_corpus_holds_what_looks_like_a_secret() {
    let rules = DataRules::built_in();
    for file in [include_str!("secrets.tsv"), include_str!("negatives.tsv")] {
        let masked = rules.redact_text(file);
        let formed =
            rules.detectors().filter(|(name, class, _)| *class == "secret" && !name.starts_with("field_"));
        for (name, _, _) in formed.filter(|(name, _, _)| !["url_password", "basic_auth"].contains(name)) {
            assert!(!masked.contains(&format!("[redacted:{name}:")), "{name}");
        }
    }
}
