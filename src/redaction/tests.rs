//! What is found, what is not, and what happens to it.

use super::*;
use crate::model::{Sensitivity, pointer::Pointer};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

fn rules(yaml: &str) -> DataRules {
    let spec: DataSpec = serde_saphyr::from_str(yaml).unwrap();
    DataRules::compile(&spec).unwrap().with_key([7; 32])
}

fn names(found: &[Arc<str>]) -> Vec<&str> {
    found.iter().map(|name| &**name).collect()
}

/// What stands in a text's place, for one detector.
fn check_text(text: &str, expect: &str) {
    let built_in = DataRules::built_in();
    let masked = built_in.redact_text(text);
    assert_eq!(masked, expect, "{text}");
    assert_eq!(built_in.redact_text(&masked), masked, "not idempotent: {text}");
}

/// R42: secrets are found by their form.
#[test]
fn secrets_are_found_by_value() {
    let found = |kind: &str, secret: &str| {
        for text in [
            secret.to_owned(),
            format!("see \"{secret}\", please"),
            format!("x\n{secret}\ny"),
            format!("é{secret}é"),
        ] {
            let masked = DataRules::built_in().redact_text(&text).into_owned();
            assert!(!masked.contains(secret), "{kind}: {masked}");
            assert!(masked.contains(&format!("[redacted:{kind}:")), "{kind}: {masked}");
        }
    };
    found("aws_access_key", "AKIAIOSFODNN7EXAMPLE");
    found("gcp_key", "AIzaSyA1234567890abcdefghijklmnopqrstuv");
    found("azure_secret", "abc8Q~abcdefghijklmnopqrstuvwxyz0123456");
    found("github_token", "ghp_abcdefghijklmnopqrstuvwxyz0123456789");
    found("github_token", "github_pat_11ABCDEFG0abcdefghijkl_mnopqrstuvwxyz");
    found("gitlab_token", "glpat-abcdefghij0123456789");
    found("slack_token", "xoxb-1234567890-abcdefghij");
    found("stripe_key", "sk_live_abcdefghij0123456789");
    found("openai_key", "sk-proj-abcdefghij0123456789abcdefghij");
    found("anthropic_key", "sk-ant-api03-abcdefghij0123456789");
    found("npm_token", "npm_abcdefghijklmnopqrstuvwxyz0123456789");
    found("pypi_token", "pypi-AgEIcHlwaS5vcmcCJDEyMzQ1Njc4OTAxMjM0");
    found("sendgrid_key", "SG.abcdefghijklmnopqrstuv.abcdefghijklmnopqrstuvwxyzabcdefghijklmnopq");
    found("twilio_key", "SK0123456789abcdef0123456789abcdef");
    found("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P");
    found(
        "url_password",
        "//x:hunter2longer@db.example/"
            .trim_matches('/')
            .split('@')
            .next()
            .unwrap_or_default()
            .split(':')
            .next_back()
            .map_or("", |_| "postgres://bob:hunter2@db:5432/app"),
    );
    found("high_entropy", "wJ4lrXUtn9FEm1K7mDEnGbPx2RfiCY8qLpZt");
}

#[test]
fn texts_are_masked_in_place() {
    check_text("write to bob@corp.example now", "write to [redacted:email:16] now");
    check_text("postgres://bob:hunter2@db:5432/app", "postgres://bob:[redacted:url_password:7]@db:5432/app");
    check_text("Authorization: Bearer abc.def-123456789", "Authorization: [redacted:field_authorization:24]");
    check_text("curl -H 'X-Api-Key: 12ab34cd' x", "curl -H 'X-Api-Key: [redacted:field_key:8]' x");
    check_text(
        "{\"password\": \"a\\\"b\", \"user\": \"bob\"}",
        "{\"password\": \"[redacted:field_password:4]\", \"user\": \"bob\"}",
    );
    check_text("mysql --password hunter2 -u bob", "mysql --password [redacted:field_password:7] -u bob");
    check_text("<password>x1y2z3</password>", "<password>[redacted:field_password:6]</password>");
    check_text("/cb?code=1&access_token=abc123&x=1", "/cb?code=1&access_token=[redacted:field_token:6]&x=1");
    check_text("Server=db;Uid=sa;Pwd=s3cret!;", "Server=db;Uid=sa;Pwd=[redacted:field_password:7];");
    check_text("your API key: abc123def", "your API key: [redacted:field_key:9]");
    check_text("call +49 30 901820-12 or (212) 555-0123", "call [redacted:phone:16] or [redacted:phone:14]");
    check_text("card 4111 1111 1111 1111.", "card [redacted:card:19].");
    check_text("ssn 219-09-9999", "ssn [redacted:us_ssn:11]");
    check_text("DE89 3704 0044 0532 0130 00", "[redacted:iban:27]");
    check_text("nothing to see here", "nothing to see here");
}

/// What looks like something and is nothing.
#[test]
fn false_positives() {
    for text in [
        "550e8400-e29b-41d4-a716-446655440000",
        "550E8400-E29B-41D4-A716-446655440000",
        "files/550E8400-E29B-41D4-A716-446655440000/part",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "commit 39550a4f0e8d7c6b5a4938271605f4e3d2c1b0a9 House",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "2026-11-21T02:50:17.123456Z",
        "2024-01-15 12:30:45 +0000",
        "1700000000000",
        "0.4111111111111111",
        "v1.2.3-beta.4, 3.11.4, 10.0.19045.3803",
        "/usr/local/lib/python3.11/site-packages/requests/adapters.py",
        "C:\\Users\\Public\\Documents\\Report2024Final.docx",
        "src/main/java/com/example/service/UserAccountServiceImpl.java",
        "https://example.org/a/b?page=2&sort=name#top",
        "http://localhost:8080/x@y",
        "git@github.com:owner/repository.git",
        "npm install @types/node@20.1.2",
        "icon@2x.png",
        "192.168.100.100",
        "max_tokens: 4096, next_page_token=abcdef",
        "the secret of good tea",
        "let token = next_token();",
        "fn check(password: &str) -> bool",
        "password: string",
        "PWD=/home/user",
        "pi is 3.14159265358979323846",
        "years 2019 2020 2021",
        "100 200 300 400 500 600",
        "basic understanding of bearer capabilities and requirements",
        "risk-assessment-for-the-quarterly-report-of-the-year",
        "theQuickBrownFoxJumpsOverTheLazyDogAgainAndAgain",
        "THE_LONGEST_CONSTANT_NAME_OF_THE_WHOLE_PROGRAM_V2",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "4111 1111 1111 1112",
        "DE89370400440532013001",
        "000-12-3456",
        "[redacted:email:17] and [hash:email:0123456789abcdef0123456789abcdef]",
        "key: value, name: none",
        "{\"password\": null, \"token\": \"\", \"tokens\": 512}",
        "ratio 1:2, at 12:30, a=b, x == y",
    ] {
        assert_eq!(DataRules::built_in().redact_text(text), text);
        let value = json!({"text": text, "list": [text]});
        let built_in = DataRules::built_in();
        let inspected = built_in.inspect_arguments(&value, &Place::NOWHERE);
        assert!(matches!(inspected.recorded, Cow::Borrowed(_)), "{text}: {:?}", inspected.findings);
        assert_eq!((inspected.redacted, inspected.level), (false, Sensitivity::Internal));
        assert_eq!(names(&inspected.labels), ["internal"]);
    }
}

#[test]
fn numbers_are_believed_with_their_check_digits() {
    let check = |text: &str, kind: Option<&str>| {
        let masked = DataRules::built_in().redact_text(text).into_owned();
        match kind {
            Some(kind) => assert_eq!(masked, format!("[redacted:{kind}:{}]", text.chars().count())),
            None => assert_eq!(masked, text),
        }
    };
    for card in [
        "4111111111111111",
        "4111-1111-1111-1111",
        "378282246310005",
        "3782 822463 10005",
        "5555555555554444",
        "6011111111111117",
        "30569309025904",
        "3566002020360505",
        "2223003122003222",
    ] {
        check(card, Some("card"));
    }
    check("GB29NWBK60161331926819", Some("iban"));
    check("FR14 2004 1010 0505 0001 3M02 606", Some("iban"));
    check("gb29nwbk60161331926819", Some("iban"));
    check("123.456.789-09", Some("br_cpf"));
    check("52998224725", Some("br_cpf"));
    check("52998224726", None);
    check("193-456-787", Some("ca_sin"));
    check("756.9217.0769.85", Some("ch_ahv"));
    check("11010519491231002X", Some("cn_resident_id"));
    check("12345678Z", Some("es_dni"));
    check("12345678A", None);
    check("1 85 05 78 006 084 91", Some("fr_nir"));
    check("1 85 05 78 006 084 92", None);
    check("2341 2341 2346", Some("in_aadhaar"));
    check("RSSMRA85T10A562S", Some("it_codice_fiscale"));
    check("44051401359", Some("pl_pesel"));
    check("1-800-555-0199", Some("phone"));
    check("+1 (212) 555-0123", Some("phone"));
    check("+442071838750", Some("phone"));
    assert!(super::number::luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 3]));
}

/// R41, R43: what is found gives the level, the labels and the names; what is recorded is masked.
#[test]
fn arguments_are_labelled_and_masked_for_the_record() {
    let arguments = json!({
        "to": "bob@corp.example",
        "card": 4111111111111111_u64,
        "auth": {"password": "hunter2", "tokens": 12, "pin": 1234, "rotate": true, "none": null},
        "ghp_abcdefghijklmnopqrstuvwxyz0123456789": 1,
        "headers": [{"name": "X-Api-Key", "value": "k-1"}],
        "content": ["raw", {"deep": 7}],
        "plain": "text"
    });
    let built_in = DataRules::built_in();
    let marked = [Pointer::parse("/content").unwrap(), Pointer::parse("/absent").unwrap()];
    let place = Place { sensitive: &marked, ..Place::NOWHERE };
    let inspected = built_in.inspect_arguments(&arguments, &place);
    assert_eq!(inspected.level, Sensitivity::Restricted);
    assert_eq!(names(&inspected.labels), ["financial", "personal", "restricted", "secret", "sensitive"]);
    assert_eq!(
        names(&inspected.findings),
        ["card", "email", "field_authorization", "field_key", "field_password", "github_token", "sensitive"]
    );
    assert_eq!(inspected.outbound, Outbound::Unchanged);
    assert!(inspected.redacted);
    assert_eq!(
        *inspected.recorded,
        json!({
            "to": "[redacted:email:16]",
            "card": "[redacted:card:16]",
            "auth": {
                "password": "[redacted:field_authorization:7]",
                "tokens": 12,
                "pin": "[redacted:field_password:4]",
                "rotate": true,
                "none": null
            },
            "[redacted:github_token:40]": 1,
            "headers": [{"name": "X-Api-Key", "value": "[redacted:field_key:3]"}],
            "content": "[redacted:sensitive:18]",
            "plain": "text"
        })
    );
    let again = built_in.inspect_arguments(&inspected.recorded, &place);
    assert!(matches!(again.recorded, Cow::Borrowed(_)), "{:?}", again);
    assert!(!format!("{inspected:?}").contains("hunter2"));
}

/// A mask names a detector, and is no field's name for it.
#[test]
fn masks_in_names_say_nothing() {
    let built_in = DataRules::built_in();
    let value = json!({"DE89370400440532013000": "x", "h": {"name": "DE89370400440532013000", "value": "y"}});
    let once = built_in.redact_value(&value).into_owned();
    let mask = "[redacted:iban:22]";
    assert_eq!(once, json!({mask: "x", "h": {"name": mask, "value": "y"}}));
    assert!(matches!(built_in.redact_value(&once), Cow::Borrowed(_)));
    assert_eq!(
        built_in.redact_value(&json!({"[hash:x] password": "abc"}))["[hash:x] password"],
        "[redacted:field_password:3]"
    );
}

#[test]
fn labels_of_the_place_are_the_least_level() {
    let built_in = DataRules::built_in();
    let level = |labels: &[&str], value: Value| {
        let labels: Vec<Arc<str>> = labels.iter().map(|label| Arc::from(*label)).collect();
        let place = Place { labels: &labels, ..Place::NOWHERE };
        built_in.inspect_arguments(&value, &place).level
    };
    assert_eq!(level(&[], json!({})), Sensitivity::Internal);
    assert_eq!(level(&["public", "external"], json!({})), Sensitivity::Public);
    assert_eq!(level(&["public"], json!({"x": "a@b.example"})), Sensitivity::Confidential);
    assert_eq!(level(&["restricted"], json!({"x": "a@b.example"})), Sensitivity::Restricted);
}

#[test]
fn rules_act_on_the_way_and_the_record_stays_masked() {
    let rules = rules(
        "
classes: { health: restricted }
fields: { patient_id: { class: health } }
rules:
  - { id: hr, detectors: [email], on: [{ upstream: hr }], arguments: keep }
  - { detectors: [email], on: [{ label: external }], arguments: mask, results: hash }
  - { id: no-keys, classes: [secret], on: [{ tool: 'crm__*' }], arguments: block }
  - { classes: [health], arguments: drop, results: drop }
  - { pointers: ['/notes/*'], results: mask }
",
    );
    let labels = [Arc::from("external")];
    let place = |upstream: &'static str, tool: &'static str| Place {
        upstream,
        tool,
        labels: &labels,
        sensitive: &[],
    };
    let arguments =
        json!({"to": "write a@b.example", "patientId": "p-7", "list": [{"patient_id": 77}, 1], "x": "y"});
    let masked = json!({
        "to": "write [redacted:email:11]",
        "patientId": "[redacted:field_health:3]",
        "list": [{"patient_id": "[redacted:field_health:2]"}, 1],
        "x": "y"
    });
    let sent = rules.inspect_arguments(&arguments, &place("crm", "other"));
    assert_eq!(
        sent.outbound,
        Outbound::Changed(json!({"to": "write [redacted:email:11]", "list": [{}, 1], "x": "y"}))
    );
    assert_eq!(*sent.recorded, masked);
    let kept = rules.inspect_arguments(&arguments, &place("hr", "other"));
    assert_eq!(
        kept.outbound,
        Outbound::Changed(json!({"to": "write a@b.example", "list": [{}, 1], "x": "y"}))
    );
    assert_eq!(*kept.recorded, masked);

    let secret = json!({"q": "use ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token": "t0p"});
    let blocked = rules.inspect_arguments(&secret, &place("crm", "crm__find"));
    let Outbound::Blocked(reason) = blocked.outbound else { panic!("not blocked") };
    assert!(reason.contains("`no-keys`") && reason.contains("`crm`") && !reason.contains("ghp_"), "{reason}");
    assert_eq!(rules.inspect_arguments(&secret, &place("crm", "other")).outbound, Outbound::Unchanged);

    let result = json!({"content": [{"type": "text", "text": "a@b.example"}], "structuredContent": {"notes": ["n", 1]}});
    let Outbound::Changed(back) = rules.inspect_result(&result, &place("crm", "x"), &[]).outbound else {
        panic!("same")
    };
    let hash = back["content"][0]["text"].as_str().unwrap();
    assert!(hash.starts_with("[hash:email:") && hash.len() == 45, "{hash}");
    assert_eq!(back["structuredContent"]["notes"], json!(["[redacted:pointer:1]", "[redacted:pointer:1]"]));
    assert!(rules.needs_key());
}

#[test]
fn a_constraint_masks_results_for_the_agent_wherever_they_repeat_themselves() {
    let built_in = DataRules::built_in();
    let result = json!({
        "content": [{"type": "text", "text": "{\"rows\": [{\"salary\": 10, \"name\": \"x\"}]}"}, {"type": "text", "text": "plain"}],
        "structuredContent": {"rows": [{"salary": 10, "name": "x"}]},
        "isError": false
    });
    let redact = [Pointer::parse("/rows/*/salary").unwrap()];
    let inspected = built_in.inspect_result(&result, &Place::NOWHERE, &redact);
    let expect = json!({
        "content": [{"type": "text", "text": "{\"rows\":[{\"salary\":\"[redacted:constraint:2]\",\"name\":\"x\"}]}"}, {"type": "text", "text": "plain"}],
        "structuredContent": {"rows": [{"salary": "[redacted:constraint:2]", "name": "x"}]},
        "isError": false
    });
    assert_eq!(inspected.outbound, Outbound::Changed(expect.clone()));
    assert_eq!(*inspected.recorded, expect);
    let whole = [Pointer::parse("/structuredContent").unwrap()];
    let Outbound::Changed(cut) = built_in.inspect_result(&result, &Place::NOWHERE, &whole).outbound else {
        panic!("same")
    };
    assert!(cut["structuredContent"].as_str().unwrap().starts_with("[redacted:constraint:"));
}

#[test]
fn base64_content_is_measured_and_not_recorded() {
    let built_in = DataRules::built_in();
    let image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk".repeat(40);
    let result = json!({"content": [{"type": "image", "mimeType": "image/png", "data": image}]});
    let inspected = built_in.inspect_result(&result, &Place::NOWHERE, &[]);
    assert_eq!(inspected.binary_bytes, image.len() as u64);
    assert!(!inspected.redacted && inspected.outbound == Outbound::Unchanged);
    assert_eq!(inspected.recorded["content"][0]["data"], json!(format!("[binary:{}]", image.len())));
    // What policy names is masked, whatever it is.
    let named = [Pointer::parse("/content/0/data").unwrap()];
    let Outbound::Changed(masked) = built_in.inspect_result(&result, &Place::NOWHERE, &named).outbound else {
        panic!("same")
    };
    assert!(masked["content"][0]["data"].as_str().unwrap().starts_with("[redacted:constraint:"));
    // An agent that says that a key is content is not believed.
    let key = format!("ghp_{}", "a1B2c3D4e5F6".repeat(6));
    let argument = json!({"mimeType": "image/png", "data": key});
    assert!(!built_in.inspect_arguments(&argument, &Place::NOWHERE).recorded.to_string().contains(&key));
    // What only pretends to be base64 is text.
    let lie = json!({"content": [{"type": "image", "data": format!("mail a@b.example {}", "x".repeat(90))}]});
    assert_eq!(names(&built_in.inspect_result(&lie, &Place::NOWHERE, &[]).findings), ["email"]);
    assert!(matches!(built_in.redact_text(&image), Cow::Borrowed(_)));
}

#[test]
fn escapes_in_json_texts_hide_nothing() {
    let built_in = DataRules::built_in();
    let result = json!({"content": [{"type": "text", "text": "{\"mail\": \"bob\\u0040corp.example\"}"}]});
    let inspected = built_in.inspect_result(&result, &Place::NOWHERE, &[]);
    assert_eq!(names(&inspected.findings), ["email"]);
    assert_eq!(inspected.recorded["content"][0]["text"], json!("{\"mail\": \"[redacted:email:21]\"}"));
}

/// JSON in a text that can be read in two ways hides nothing: not what is escaped in it, nor what a pointer names.
#[test]
fn unclear_json_texts_hide_nothing() {
    let deep = format!("{}\"bob\\u0040corp.example\"{}", "[".repeat(125), "]".repeat(125));
    let hidden = [Pointer::parse("/a").unwrap()];
    for (text, is_json) in [
        (r#"{"a":"bob\u0040corp.example","a":1}"#, true),
        (r#"{"x":[{"a":1,"a":"bob\u0040corp.example"}]}"#, true),
        (r#"{"$serde_json::private::Number":"bob\u0040corp.example"}"#, true),
        (&*deep, true),
        (r#"{"a":"bob\u0040corp.example",}"#, false),
    ] {
        let built_in = DataRules::built_in();
        let arguments = json!({ "t": text });
        let inspected = built_in.inspect_arguments(&arguments, &Place::NOWHERE);
        let expect = text.replace("bob\\u0040corp.example", "[redacted:email:21]");
        assert_eq!(inspected.recorded["t"], expect);
        assert!(matches!(inspected.outbound, Outbound::Unchanged), "{text}");
        let blocked = rules("rules: [{ detectors: [email], arguments: block, results: block }]");
        let is_blocked = |outbound: &Outbound| matches!(outbound, Outbound::Blocked(_));
        assert!(is_blocked(&blocked.inspect_arguments(&arguments, &Place::NOWHERE).outbound));
        // What is named by its place.
        let result = json!({"content": [{"type": "text", "text": text}]});
        assert!(is_blocked(&blocked.inspect_result(&result, &Place::NOWHERE, &hidden).outbound));
        if is_json {
            match built_in.inspect_result(&result, &Place::NOWHERE, &hidden).outbound {
                Outbound::Changed(value) => assert!(!value.to_string().contains("corp.example"), "{value}"),
                other => panic!("{other:?}"),
            }
            let blocked = rules("rules: [{ id: no, pointers: [/a], results: block }]");
            let outbound = blocked.inspect_result(&result, &Place::NOWHERE, &[]).outbound;
            assert!(is_blocked(&outbound), "{text}: {outbound:?}");
        }
    }
}

/// A pointer names a place in JSON in JSON.
#[test]
fn pointers_reach_json_in_json() {
    let built_in = DataRules::built_in();
    let redact = [Pointer::parse("/rows/*/salary").unwrap()];
    let mut text = json!({"rows": [{"salary": "much", "name": "x"}]}).to_string();
    for depth in 1..=4 {
        let result = json!({"content": [{"type": "text", "text": text}]});
        match built_in.inspect_result(&result, &Place::NOWHERE, &redact).outbound {
            Outbound::Changed(value) => assert!(!value.to_string().contains("much"), "{depth}: {value}"),
            other => panic!("{depth}: {other:?}"),
        }
        text = Value::String(text).to_string();
    }
}

/// Content that is said to be no text is looked into, but for images.
#[test]
fn content_may_be_a_text() {
    use base64::Engine as _;
    let text = format!("# notes\n{}key ghp_{}\n", "some words\n".repeat(60), "a1B2c3D4e5F6".repeat(3));
    let data = base64::engine::general_purpose::STANDARD.encode(text);
    let blocked = rules("rules: [{ id: keys, classes: [secret], arguments: block, results: block }]");
    let argument = json!({"mimeType": "text/plain", "data": data});
    let inspected = blocked.inspect_arguments(&argument, &Place::NOWHERE);
    assert!(matches!(inspected.outbound, Outbound::Blocked(_)));
    assert_eq!(inspected.recorded["data"], json!(format!("[binary:{}]", data.len())));
    let result = json!({"contents": [{"uri": "a:b", "mimeType": "text/plain", "blob": data}]});
    let inspected = blocked.inspect_result(&result, &Place::NOWHERE, &[]);
    assert!(matches!(inspected.outbound, Outbound::Blocked(_)));
    assert_eq!(names(&inspected.findings), ["github_token"]);
    // Bytes that are no text hold nothing.
    let bytes: Vec<u8> = (0..4_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let data = base64::engine::general_purpose::STANDARD.encode(bytes);
    let result = json!({"contents": [{"uri": "a:b", "mimeType": "application/zip", "blob": data}]});
    let strict = rules("rules: [{ results: block }]");
    assert_eq!(strict.inspect_result(&result, &Place::NOWHERE, &[]).outbound, Outbound::Unchanged);
}

#[test]
fn what_is_allowed_is_not_found() {
    let rules = rules(
        "
allow:
  - { sha256: 9bbef19476623ca56c17da75fd57734dbf82530686043a6e491c6d71befe8f6e, reason: the test card }
  - { pointer: /commit, detectors: [high_entropy] }
  - { pattern: '[a-z.]{1,64}@example\\.com', detectors: [email] }
  - { pointer: /token, on: [{ upstream: dev }] }
",
    );
    let place = Place { upstream: "dev", ..Place::NOWHERE };
    let finds = |value: Value, place: &Place<'_>, expect: &[&str]| {
        assert_eq!(names(&rules.inspect_arguments(&value, place).findings), expect, "{value}");
    };
    finds(json!({"x": "4111111111111111"}), &place, &[]);
    finds(json!({"x": "4012888888881881"}), &place, &["card"]);
    let random = "wJ4lrXUtn9FEm1K7mDEnGbPx2RfiCY8qLpZt";
    finds(json!({"commit": random}), &place, &[]);
    finds(json!({"commit": {"id": random}}), &place, &[]);
    finds(json!({"other": random}), &place, &["high_entropy"]);
    finds(json!({"commit": "a@b.example"}), &place, &["email"]);
    finds(json!({"x": "to help@example.com or bob@corp.example"}), &place, &["email"]);
    assert_eq!(
        rules.redact_text("to help@example.com or bob@corp.example"),
        "to help@example.com or [redacted:email:16]"
    );
    finds(json!({"token": "abc"}), &place, &[]);
    finds(json!({"token": "abc"}), &Place::NOWHERE, &["field_token"]);
}

#[test]
fn own_detectors_and_switches() {
    let rules = rules(
        "
detectors:
  phone: { enabled: false }
  field_cookie: { enabled: false }
  employee_id: { pattern: '\\bEMP-[0-9]{6}\\b', class: personal }
fields:
  session_id: { enabled: false }
",
    );
    assert_eq!(
        rules.redact_text("EMP-123456 calls +49 30 901820"),
        "[redacted:employee_id:10] calls +49 30 901820"
    );
    let value = json!({"session_id": "abc", "cookie": "abc", "password": "abc"});
    assert_eq!(names(&rules.inspect_arguments(&value, &Place::NOWHERE).findings), ["field_password"]);
    assert!(rules.detectors().any(|(name, class, level)| {
        (name, class, level) == ("employee_id", "personal", Sensitivity::Confidential)
    }));
}

#[test]
fn what_is_wrong_in_data_yaml_is_said_together() {
    let spec: DataSpec = serde_saphyr::from_str(
        "
classes: { Bad Name: public }
detectors:
  email: { pattern: 'x{3}' }
  unheard_of: { enabled: true }
  greedy: { pattern: 'a.*b' }
  empty: { pattern: 'a{0,3}' }
  look: { pattern: 'a(?=b)' }
  foreign: { pattern: 'äöü' }
  elsewhere: { pattern: 'abcd', class: nowhere }
fields: { '---': {} }
rules:
  - { classes: [nothing], results: mask }
  - { detectors: [emial], arguments: tokenize, id: twice }
  - { on: [{ tool: '' }], arguments: mask }
  - { pointers: [x], results: mask }
  - {}
  - { results: tokenize, id: twice, permitted: [{ upstream: '' }] }
  - { results: mask, scope: tenant, permitted: [{ upstream: crm }] }
allow:
  - { sha256: abc }
  - { pattern: 'a', pointer: /x }
  - {}
",
    )
    .unwrap();
    let errors = DataRules::compile(&spec).unwrap_err();
    let paths: Vec<&str> = errors.iter().map(|error| error.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "classes.Bad Name",
            "detectors.elsewhere.class",
            "detectors.email.pattern",
            "detectors.empty.pattern",
            "detectors.foreign.pattern",
            "detectors.greedy.pattern",
            "detectors.look.pattern",
            "detectors.unheard_of",
            "fields.---",
            "rules[0].classes[0]",
            "rules[1].detectors[0]",
            "rules[2].on[0].tool",
            "rules[3].pointers[0]",
            "rules[4]",
            "rules[5].id",
            "rules[5].permitted[0].upstream",
            "rules[6].permitted",
            "rules[6].scope",
            "allow[0].sha256",
            "allow[1]",
            "allow[2]",
        ]
    );
    assert!(errors[14].message.contains("another rule that tokenizes is `twice` too"));
    assert!(errors[16].message.contains("`permitted` does nothing here"));
    assert!(serde_saphyr::from_str::<DataSpec>("rules: [{ argument: mask }]").is_err());
    assert!(serde_saphyr::from_str::<DataSpec>("classes: { x: secret }").is_err());
}

#[test]
fn the_example_in_the_documentation_compiles() {
    let rules = rules(include_str!("example.yaml"));
    assert_eq!(rules.redact_text("EMP-123456"), "[redacted:employee_id:10]");
}

/// Shapes that cost a careless scanner quadratic time: a mebibyte of each is done at once.
#[test]
fn hostile_text_is_scanned_in_linear_time() {
    let built_in = DataRules::built_in();
    for piece in [
        "eyJ",
        "eyJhbGciOi.",
        "-----BEGIN PRIVATE KEY-----",
        "secret:",
        "password=\"",
        "a@",
        "1 ",
        "4111 1111 ",
        "sk-",
        "://",
        "://a:b",
        "Bearer ",
        "\\\"token\\\":[",
        "{\"a\":",
        "[redacted:",
        "--token ",
        "AKIA",
        "key=",
        "A1b2",
        "é",
        "<password>",
        "DE89",
        "+1",
        "a.b.",
        "token token ",
        "\u{0}",
        "-us1",
        "Q~",
    ] {
        let text = piece.repeat((1 << 20) / piece.len());
        let masked = built_in.redact_text(&text).into_owned();
        assert!(masked.len() <= text.len() * 12, "{piece}");
    }
    let keys: serde_json::Map<String, Value> =
        (0..20_000).map(|at| (format!("u{at:05}@corp.example"), json!(1))).collect();
    let value = Value::Object(keys);
    let inspected = built_in.inspect_arguments(&value, &Place::NOWHERE);
    assert_eq!(inspected.recorded.as_object().unwrap().len(), 20_000);
    let deep = (0..400).fold(json!("a@b.example"), |inner, _| json!([inner]));
    assert_eq!(names(&built_in.inspect_arguments(&deep, &Place::NOWHERE).findings), ["too_deep"]);
}

/// Rules for one caller, as a gateway has them.
fn rules_for(yaml: &str, agent: &str, tenant: &str) -> DataRules {
    rules(yaml).for_caller(Caller::new(agent, Some(tenant)))
}

const TOKENS: &str = "
rules:
  - { id: mails, detectors: [email], on: [{ upstream: crm }], results: tokenize, permitted: [{ upstream: mail }, { label: trusted }] }
  - { id: sent, detectors: [email], arguments: tokenize, permitted: [{ upstream: mail }] }
  - { id: team, detectors: [card], results: tokenize, scope: tenant, permitted: [{ upstream: pay }] }
  - { id: notes, pointers: [/note], results: tokenize, permitted: [{ upstream: mail }] }
";

fn at(upstream: &'static str) -> Place<'static> {
    Place { upstream, ..Place::NOWHERE }
}

fn changed(inspected: Inspected<'_>) -> (Value, Vec<Tokenized>) {
    match inspected.outbound {
        Outbound::Changed(value) => (value, inspected.minted),
        other => panic!("{other:?}"),
    }
}

/// The same value is the same placeholder for the same caller, and another one for everybody else.
#[test]
fn placeholders_are_stable_and_ones_own() {
    let result = json!({"content": [{"type": "text", "text": "grace@navy.example, 4111 1111 1111 1111"}]});
    let of = |agent, tenant, upstream| {
        let rules = rules_for(TOKENS, agent, tenant);
        changed(rules.inspect_result(&result, &at(upstream), &[]))
    };
    let (ada, minted) = of("ada", "acme", "crm");
    let text = ada["content"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("[token:email:") && text.contains(", [token:card:"), "{text}");
    assert_eq!(minted.len(), 2);
    let values: Vec<&str> = minted.iter().map(|token| token.value.as_str()).collect();
    assert_eq!(values, ["grace@navy.example", "4111 1111 1111 1111"]);
    assert_eq!((&*minted[0].scope, &*minted[1].scope), ("agent:ada", "tenant:acme"));
    assert_eq!(of("ada", "acme", "crm").0, ada);
    let (eve, _) = of("eve", "acme", "crm");
    let halves = |value: &Value| -> Vec<String> {
        value["content"][0]["text"].as_str().unwrap().split(", ").map(str::to_owned).collect()
    };
    assert_ne!(halves(&ada)[0], halves(&eve)[0]);
    assert_eq!(halves(&ada)[1], halves(&eve)[1], "the tenant's own");
    assert_ne!(halves(&of("ada", "other", "crm").0)[1], halves(&ada)[1]);
    // Nobody to keep it for: it is masked.
    let plain = changed(rules(TOKENS).inspect_result(&result, &at("crm"), &[]));
    assert!(plain.0.to_string().contains("[redacted:email:18]") && plain.1.is_empty(), "{}", plain.0);
    // A placeholder is found by nothing.
    let again = json!({"content": [{"type": "text", "text": text}]});
    let rules = rules_for(TOKENS, "ada", "acme");
    assert_eq!(rules.inspect_result(&again, &at("crm"), &[]).outbound, Outbound::Unchanged);
    assert_eq!(rules.redact_text(text), text);
}

#[test]
fn a_permitted_upstream_gets_the_value_and_no_other() {
    let rules = rules_for(TOKENS, "ada", "acme");
    let arguments = json!({"to": "grace@navy.example"});
    assert_eq!(rules.inspect_arguments(&arguments, &at("mail")).outbound, Outbound::Unchanged);
    let (sent, minted) = changed(rules.inspect_arguments(&arguments, &at("web")));
    assert_eq!(sent["to"], *minted[0].placeholder);
    let labels: [std::sync::Arc<str>; 1] = ["trusted".into()];
    let trusted = Place { labels: &labels, ..at("lab") };
    assert!(rules.may_reveal(&minted[0], &at("mail")) && !rules.may_reveal(&minted[0], &at("web")));
    assert!(!rules.may_reveal(&minted[0], &trusted), "`sent` does not name it");
    let result = json!({"mail": "grace@navy.example"});
    let (_, minted) = changed(rules.inspect_result(&result, &at("crm"), &[]));
    assert!(rules.may_reveal(&minted[0], &trusted));
    let gone = Tokenized { rule: "gone".into(), ..minted[0].clone() };
    assert!(!rules.may_reveal(&gone, &at("mail")));
    // Whoever is not named beside the rule's own place.
    let own =
        rules_for("rules: [{ detectors: [email], on: [{ upstream: crm }], results: tokenize }]", "ada", "");
    let (_, minted) = changed(own.inspect_result(&result, &at("crm"), &[]));
    assert!(own.may_reveal(&minted[0], &at("crm")) && !own.may_reveal(&minted[0], &at("mail")));
    // Without a name a rule is known by what it says.
    let other =
        rules_for("rules: [{ detectors: [email], on: [{ upstream: '*' }], results: tokenize }]", "ada", "");
    assert!(!other.may_reveal(&minted[0], &at("mail")));
}

/// A value that only its place made sensitive is no less so where it is revealed.
#[test]
fn revealed_values_are_labelled() {
    let rules = rules_for(TOKENS, "ada", "acme");
    let result = json!({"note": {"plain": [1, "words"]}});
    let (shown, minted) = changed(rules.inspect_result(&result, &at("crm"), &[]));
    assert_eq!(shown["note"], *minted[0].placeholder);
    assert!(minted[0].is_json);
    let given = json!({"body": shown["note"]});
    let sent = reveal(&given, &minted).unwrap();
    assert_eq!(sent["body"], result["note"]);
    let mut inspected = rules.inspect_arguments(&sent, &at("mail"));
    assert!(!inspected.redacted);
    rules.label_revealed(&minted, &mut inspected);
    assert!(inspected.redacted && inspected.level == Sensitivity::Confidential);
    assert_eq!(
        (names(&inspected.findings), names(&inspected.labels)),
        (vec!["pointer"], vec!["confidential", "sensitive"])
    );
}

/// Structured content and the text that repeats it stay the same, whatever happens to them; a text that says something else is
/// looked through for itself.
#[test]
fn a_text_copy_is_handled_with_what_it_copies() {
    let structured = json!({"rows": [{"mail": "grace@navy.example", "card": 4_111_111_111_111_111_u64, "n": 1}], "secret": "plain-but-named-so"});
    for action in ["mask", "hash", "drop", "tokenize"] {
        for text in [structured.to_string(), serde_json::to_string_pretty(&structured).unwrap()] {
            let rules = rules_for(&format!("rules: [{{ id: r, results: {action} }}]"), "ada", "");
            let result =
                json!({"content": [{"type": "text", "text": text}], "structuredContent": structured});
            let inspected = [
                rules.inspect_result(&result, &at("crm"), &[]),
                rules.inspect_declared_result(&result, &at("crm"), &[]),
            ];
            for inspected in inspected {
                let (shown, _) = changed(inspected);
                let copy = shown["content"][0]["text"].as_str().unwrap();
                assert_eq!(
                    serde_json::from_str::<Value>(copy).unwrap(),
                    shown["structuredContent"],
                    "{action}"
                );
                assert_eq!(copy.contains('\n'), text.contains('\n'));
                assert!(
                    !copy.contains("grace") && !copy.contains("4111") && !copy.contains("plain-but"),
                    "{copy}"
                );
            }
        }
    }
    // One that hides a value in only one of both.
    let rules = rules_for("rules: [{ results: mask }]", "ada", "");
    for (text, structured) in [
        (json!({"mail": "grace@navy.example"}), json!({"mail": "none"})),
        (json!({"mail": "none"}), json!({"mail": "grace@navy.example"})),
        (json!({"n": 4_111_111_111_111_111_u64}), json!({"n": 1})),
    ] {
        let result =
            json!({"content": [{"type": "text", "text": text.to_string()}], "structuredContent": structured});
        let (shown, _) = changed(rules.inspect_result(&result, &at("crm"), &[]));
        assert!(!shown.to_string().contains("grace") && !shown.to_string().contains("4111"), "{shown}");
        // What was JSON still is.
        serde_json::from_str::<Value>(shown["content"][0]["text"].as_str().unwrap()).unwrap();
    }
    // A pointer at the text itself still means the text.
    let rules = rules_for("rules: [{ pointers: [/content/0/text], results: mask }]", "ada", "");
    let result = json!({"content": [{"type": "text", "text": "{\"a\":1}"}], "structuredContent": {"a": 1}});
    let (shown, _) = changed(rules.inspect_result(&result, &at("crm"), &[]));
    assert_eq!(shown["content"][0]["text"], "[redacted:pointer:7]");
    assert_eq!(shown["structuredContent"], json!({"a": 1}));
}

/// Secrets in the names of members, and in JSON in a text in structured content.
#[test]
fn values_in_names_and_in_nested_json_are_handled() {
    let rules = rules_for(TOKENS, "ada", "acme");
    let mail = "grace@navy.example";
    let inner = json!({"to": mail, "deep": json!({"cc": mail}).to_string()}).to_string();
    let result = json!({"structuredContent": {mail: 1, "payload": inner}, "content": []});
    let (shown, minted) = changed(rules.inspect_result(&result, &at("crm"), &[]));
    assert!(!shown.to_string().contains("grace"), "{shown}");
    assert_eq!(minted.len(), 1);
    let payload: Value =
        serde_json::from_str(shown["structuredContent"]["payload"].as_str().unwrap()).unwrap();
    assert_eq!(payload["to"], *minted[0].placeholder);
    let deep: Value = serde_json::from_str(payload["deep"].as_str().unwrap()).unwrap();
    assert_eq!(deep["cc"], *minted[0].placeholder);
    // The same way back.
    assert_eq!(reveal(&shown, &minted).unwrap(), result);
}

/// One character in quoted-printable hides nothing, and an assignment of a number is none.
#[test]
fn one_quoted_character_hides_nothing() {
    let rules = rules("rules: [{ id: r, results: block }]");
    let says = |text: &str| {
        let result = json!({"content": [{"type": "text", "text": text}]});
        names(&rules.inspect_result(&result, &Place::NOWHERE, &[]).findings).join(" ")
    };
    let key = format!("R8f3kQ9z{}", "a1B2c3D4e5F6".repeat(2) + "LmT2");
    assert!(says(&format!("token ghp=5F{key}")).contains("github_token"));
    assert_eq!(says("mail jane.doe=40bigcorp.com"), "email");
    assert_eq!(says("mail jane.doe=3D40bigcorp.com"), "email");
    assert_eq!(says(&format!("card 4111=31{}", "1".repeat(11))), "card");
    for plain in ["x=41 y=20 width=40", "https://shop.example/a?id=4111&page=2&w=40px", "a=4b0c b=5f c=2D3D"]
    {
        assert_eq!(says(plain), "", "{plain}");
    }
}

/// Bytes that are not what their type says are looked at, whatever else is in them.
#[test]
fn a_picture_that_is_none_is_looked_at() {
    use base64::Engine as _;
    let rules = rules("rules: [{ id: r, results: mask }]");
    let inspect = |mime: &str, bytes: &[u8]| {
        let data = base64::engine::general_purpose::STANDARD.encode(bytes);
        let result = json!({"content": [{"type": "image", "mimeType": mime, "data": data}]});
        names(&rules.inspect_result(&result, &Place::NOWHERE, &[]).findings).join(" ")
    };
    let around = |start: &[u8]| [start, &[0; 300], b"jane.doe@bigcorp.com", &[0; 30]].concat();
    for mime in ["image/png", "IMAGE/JPEG; q=1", "image/gif", "image/webp"] {
        assert_eq!(inspect(mime, &around(b"")), "email", "{mime}");
        assert_eq!(inspect(mime, &around(b"RIFF\0\0\0\0WAVE")), "email", "{mime}");
    }
    for (mime, start) in [
        ("image/png", &b"\x89PNG\r\n\x1a\n"[..]),
        ("image/jpeg", b"\xff\xd8\xff\xe0"),
        ("image/gif", b"GIF89a"),
        ("image/webp", b"RIFF\0\0\0\0WEBP"),
    ] {
        assert_eq!(inspect(mime, &around(start)), "", "{mime}");
    }
}
