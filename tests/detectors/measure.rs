//! Recall and precision by detector, and false alarms by category.

use crate::corpus::Sample;
use serde_json::json;
use std::collections::BTreeMap;
use tollgate::redaction::{DataRules, Place};

/// How a detector did on one half.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Score {
    pub(crate) samples: usize,
    /// Found by this detector, and nothing of it left in the record.
    pub(crate) found: usize,
    /// Where it fired: rightly, and where there was nothing of its kind.
    pub(crate) right: usize,
    pub(crate) wrong: usize,
}

impl Score {
    pub(crate) fn recall(&self) -> f64 {
        self.found as f64 / self.samples.max(1) as f64
    }

    pub(crate) fn precision(&self) -> f64 {
        self.right as f64 / (self.right + self.wrong).max(1) as f64
    }
}

#[derive(Default)]
pub(crate) struct Measured {
    /// By detector: the open half, the held-out half.
    pub(crate) detectors: BTreeMap<&'static str, [Score; 2]>,
    /// By category of harmless texts: how many, and how many of them raised an alarm; both halves.
    pub(crate) harmless: BTreeMap<&'static str, [[usize; 2]; 2]>,
    /// What went wrong, for people who tune.
    pub(crate) misses: Vec<(bool, String)>,
}

/// What a secret may also be called: by its place, by its looks, by what carries it.
fn is_general(detector: &str) -> bool {
    detector.starts_with("field_")
        || ["high_entropy", "bearer_token", "basic_auth", "url_password", "too_deep"].contains(&detector)
}

/// Detectors for what identifies people.
fn is_personal(detector: &str) -> bool {
    DataRules::built_in()
        .detectors()
        .any(|(name, class, _)| name == detector && ["personal", "financial"].contains(&class))
}

/// The middle of a secret: a mask may leave what only says how it is written.
fn middle(secret: &str) -> String {
    let chars: Vec<char> = secret.chars().collect();
    let (from, to) = if chars.len() < 12 { (0, chars.len()) } else { (chars.len() / 4, chars.len() * 3 / 4) };
    chars[from..to].iter().collect()
}

/// What of the corpus is one value under two names.
const SAME: &[(&str, &str)] = &[
    // A row of a credentials file has both.
    ("field_secret", "aws_access_key"),
    // A phone in a field of that name.
    ("field_phone", "phone"),
    ("field_account", "phone"),
    // A password before a host with a dot reads as an address, and is masked with its host.
    ("url_password", "email"),
];

fn one(sample: &Sample, measured: &mut Measured) {
    let half = usize::from(sample.held_out);
    let rules = DataRules::built_in();
    let value = json!({ "text": sample.text });
    let inspected = rules.inspect_arguments(&value, &Place::NOWHERE);
    let recorded = inspected.recorded["text"].as_str().unwrap();
    let known: Vec<&'static str> = measured.detectors.keys().copied().collect();
    if let Some(detector) = sample.detector {
        let named = inspected.findings.iter().any(|found| **found == *detector);
        let gone = !recorded.contains(&middle(&sample.secret));
        let score = &mut measured.detectors.get_mut(detector).unwrap()[half];
        score.samples += 1;
        score.found += usize::from(named && gone);
        score.right += usize::from(named);
        if !(named && gone) {
            let told = format!(
                "missed {}: {:?}\n    -> {:?} {recorded:?}",
                sample.id, sample.text, inspected.findings
            );
            measured.misses.push((sample.held_out, told));
        }
    } else {
        let [all, alarms] = &mut measured.harmless.entry(sample.what).or_default()[half];
        *all += 1;
        *alarms += usize::from(inspected.redacted);
    }
    for found in &inspected.findings {
        let Some(found) = known.iter().copied().find(|name| **name == **found) else { continue };
        let excused = sample.detector.is_some_and(|expected| {
            expected == found
                || (is_general(found) && (!is_personal(expected) || found.starts_with("field_")))
                || SAME.contains(&(expected, found))
        });
        if !excused {
            measured.detectors.get_mut(found).unwrap()[half].wrong += 1;
            let told =
                format!("false alarm of {found}: {}: {:?}\n    -> {recorded:?}", sample.id, sample.text);
            measured.misses.push((sample.held_out, told));
        }
    }
}

/// All samples against the built-in rules.
pub(crate) fn measure(samples: &[Sample]) -> Measured {
    let mut measured = Measured::default();
    for sample in samples {
        if let Some(detector) = sample.detector {
            measured.detectors.entry(detector).or_default();
        }
    }
    let names: Vec<&'static str> = measured.detectors.keys().copied().collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<Measured> = std::thread::scope(|scope| {
        let runs: Vec<_> = samples
            .chunks(samples.len().div_ceil(threads).max(1))
            .map(|part| {
                let names = &names;
                scope.spawn(move || {
                    let mut measured = Measured::default();
                    measured.detectors.extend(names.iter().map(|name| (*name, [Score::default(); 2])));
                    part.iter().for_each(|sample| one(sample, &mut measured));
                    measured
                })
            })
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for part in parts {
        for (name, scores) in part.detectors {
            for (sum, score) in measured.detectors.get_mut(name).unwrap().iter_mut().zip(scores) {
                sum.samples += score.samples;
                sum.found += score.found;
                sum.right += score.right;
                sum.wrong += score.wrong;
            }
        }
        for (category, halves) in part.harmless {
            for (sum, counts) in measured.harmless.entry(category).or_default().iter_mut().zip(halves) {
                sum[0] += counts[0];
                sum[1] += counts[1];
            }
        }
        measured.misses.extend(part.misses);
    }
    measured
}
