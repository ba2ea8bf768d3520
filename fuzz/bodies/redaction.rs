//! Any text and any JSON: it is masked without a panic, the same twice, and what it names is what it masked.

use tollgate::redaction::{DataRules, Place, Towards};

pub(crate) fn run(data: &[u8]) {
    let rules = DataRules::built_in();
    let text = String::from_utf8_lossy(data);
    let once = rules.redact_text(&text).into_owned();
    assert_eq!(once, rules.redact_text(&text));
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let place = Place { upstream: "u", tool: "u__t", labels: &[], sensitive: &[] };
    let found = rules.inspect_arguments(&value, &place);
    let untouched = !found.redacted && found.binary_bytes == 0;
    assert_eq!(untouched, *found.recorded == value, "{value}");
    match rules.inspect_result(&value, &place, &[]).towards {
        Towards::Unchanged => {}
        Towards::Changed(_) | Towards::Blocked(_) => {
            panic!("without data.yaml nothing is changed on its way")
        }
    }
}
