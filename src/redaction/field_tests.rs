use super::*;

#[test]
fn names_are_read_as_words() {
    let names = FieldNames::new();
    let check = |name: &str, expect: Option<Kind>| assert_eq!(names.kind(name), expect, "{name}");
    for name in [
        "password",
        "PASSWORD",
        "db_password",
        "userPassword",
        "password1",
        "new-password",
        "passWord",
        "password_confirmation",
        "DB.Password",
        "smtp_pass",
        "pass",
        "pin",
        "PIN_CODE",
        "Passwd",
        "PGPASSWORD",
    ] {
        check(name, Some(Kind::FIELD_PASSWORD));
    }
    for name in [
        "token",
        "accessToken",
        "access_token",
        "auth-token",
        "githubToken",
        "X-Auth-Token",
        "authtoken",
        "refresh_tokens",
        "id_token",
        "session_token",
        "bot.token",
    ] {
        check(name, Some(Kind::FIELD_TOKEN));
    }
    for name in [
        "max_tokens",
        "maxTokens",
        "tokens",
        "token_count",
        "next_page_token",
        "nextPageToken",
        "progressToken",
        "pageToken",
        "token_type",
        "prompt_tokens",
        "stop_token",
        "continuation-token",
        "password_policy",
        "password_length",
        "secret_name",
        "keyboard",
        "key",
        "public_key",
        "author",
        "authority",
        "passenger",
        "compass",
        "bypass_count",
        "pinned",
        "spinning",
        "keys",
        "tokenizer",
        "authentication_method",
        "cookie_policy",
        "secretary",
        "monkey",
        "passage",
        "expires_in",
        "a",
        "",
        "_",
    ] {
        check(name, None);
    }
    check("client_secret", Some(Kind::FIELD_SECRET));
    check("AWS_SECRET_ACCESS_KEY", Some(Kind::FIELD_SECRET));
    check("X-Api-Key", Some(Kind::FIELD_KEY));
    check("APIKey", Some(Kind::FIELD_KEY));
    check("apiKey2", Some(Kind::FIELD_KEY));
    check("AccountKey", Some(Kind::FIELD_KEY));
    check("ssh_private_key", Some(Kind::FIELD_KEY));
    check("Authorization", Some(Kind::FIELD_AUTHORIZATION));
    check("Proxy-Authorization", Some(Kind::FIELD_AUTHORIZATION));
    check("Set-Cookie", Some(Kind::FIELD_COOKIE));
    check("sessionId", Some(Kind::FIELD_SESSION));
    check("otp", Some(Kind::FIELD_CODE));
    check("cvv2", Some(Kind::FIELD_CARD));
    check("creditCardNumber", Some(Kind::FIELD_CARD));
    check("ssn", Some(Kind::FIELD_IDENTITY));
    check("social_security_number", Some(Kind::FIELD_IDENTITY));
    check("dateOfBirth", Some(Kind::FIELD_BIRTH));
    check(&format!("{}_password", "x_".repeat(500)), Some(Kind::FIELD_PASSWORD));
    check(&"é".repeat(500), None);
}

#[test]
fn own_names_match_whole_and_switch_off() {
    let mut names = FieldNames::new();
    names.add_own("patient_id", Some(Kind::SENSITIVE));
    names.add_own("session-id", None);
    let check = |name: &str, expect: Option<Kind>| assert_eq!(names.kind(name), expect, "{name}");
    check("patientId", Some(Kind::SENSITIVE));
    check("PATIENT-ID", Some(Kind::SENSITIVE));
    check("patientid", Some(Kind::SENSITIVE));
    check("patient_id_count", None);
    check("session_id", None);
    check("user_session_id", Some(Kind::FIELD_SESSION));
}
