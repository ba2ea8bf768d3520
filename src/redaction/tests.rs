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
    found("high_entropy", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY");
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
