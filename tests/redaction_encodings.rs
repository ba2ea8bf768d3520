//! Texts are read as what they mean: what every detector finds is found in every encoding, four deep, and what honest
//! texts hold of encodings is left alone.

#![expect(clippy::unwrap_used, clippy::string_slice, clippy::indexing_slicing, reason = "a test, over ASCII")]

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use std::{borrow::Cow, fmt::Write as _};
use tollgate::redaction::{DataRules, DataSpec, Outbound, Place};

/// For every detector that finds by value: an example, and the part of it that is secret. Put together here, so that no
/// scanner takes this file for a leak.
fn examples() -> Vec<(&'static str, String, String)> {
    let letters =
        "aB3dE5gH1jK2mN4pQ6rS8tU0vW7xY9zAbCdEfGhIjKlMnOpQrStUvWxYz0123456789aBcDeFgHiJkLmNoPqRsTuVwXyZ";
    let hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let upper = "Q3EGRIJ7ZL5XN2WPQ3EGRIJ7ZL5XN2WPQ3EGRIJ7ZL5XN2WP";
    let whole = |name: &'static str, text: String| (name, text.clone(), text);
    let part = |name: &'static str, before: &str, secret: String, after: &str| {
        (name, format!("{before}{secret}{after}"), secret)
    };
    vec![
        whole("age_key", format!("AGE-SECRET-KEY-1{}", &upper[..40])),
        whole("anthropic_key", format!("sk-ant-{}", &letters[..30])),
        whole("aws_access_key", format!("AKIA{}", &upper[..16])),
        whole("azure_secret", format!("abc8Q~{}", &letters[..34])),
        part("basic_auth", "Basic ", STANDARD.encode("admin:hunter2longer"), ""),
        part("bearer_token", "Bearer ", letters[..30].to_owned(), ""),
        part("chat_webhook", "https://hooks.slack.com/services/", format!("T0/B0/{}", &letters[..24]), ""),
        whole("databricks_token", format!("dapi{}", &hex[..32])),
        whole("digitalocean_token", format!("dop_v1_{hex}")),
        whole("docker_token", format!("dckr_pat_{}", &letters[..27])),
        whole("gcp_key", format!("AIza{}", &letters[..35])),
        whole("github_token", format!("ghp_{}", &letters[..36])),
        whole("gitlab_token", format!("glpat-{}", &letters[..20])),
        whole("grafana_token", format!("glsa_{}", &letters[..40])),
        whole("hashicorp_token", format!("hvs.{}", &letters[..30])),
        whole("huggingface_token", format!("hf_{}", &letters[..34])),
        whole("jwt", format!("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{}", &letters[..43])),
        whole("llm_key", format!("gsk_{}", &letters[..48])),
        whole("mail_key", format!("xkeysib-{}", &letters[..50])),
        whole("npm_token", format!("npm_{}", &letters[..36])),
        whole("openai_key", format!("sk-proj-{}", &letters[..48])),
        part(
            "private_key",
            "-----BEGIN PRIVATE KEY-----\n",
            format!("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC{}", &letters[..40]),
            "\n-----END PRIVATE KEY-----",
        ),
        whole("pypi_token", format!("pypi-AgEIcHlwaS5vcmc{}", &letters[..40])),
        whole("saas_token", format!("figd_{}", &letters[..36])),
        whole("sendgrid_key", format!("SG.{}.{}", &letters[..22], &letters[..43])),
        whole("shopify_token", format!("shpat_{}", &letters[..32])),
        whole("slack_token", format!("xoxb-123456789012-{}", &letters[..24])),
        whole("square_token", format!("sq0atp-{}", &letters[..22])),
        whole("stripe_key", format!("sk_live_{}", &letters[..24])),
        whole("telegram_token", format!("123456789:AA{}", &letters[..33])),
        whole("twilio_key", format!("SK{}", &hex[..32])),
        part("url_password", "postgres://admin:", "s3cr3tPassw0rd".to_owned(), "@db.example:5432/x"),
        whole("high_entropy", "zQ8vL2xR9tY4wK7mN3pB6cF1hJ5dG0sA".to_owned()),
        whole("email", "grace.hopper@navy-secret.example".to_owned()),
        whole("phone", "+49 30 901820-12".to_owned()),
        whole("card", "4111 1111 1111 1111".to_owned()),
        whole("iban", "DE89370400440532013000".to_owned()),
        whole("us_ssn", "219-09-9999".to_owned()),
        whole("br_cpf", "123.456.789-09".to_owned()),
        whole("ca_sin", "193-456-787".to_owned()),
        whole("ch_ahv", "756.9217.0769.85".to_owned()),
        whole("cn_resident_id", "11010519491231002X".to_owned()),
        whole("es_dni", "12345678Z".to_owned()),
        whole("fr_nir", "1 85 05 78 006 084 91".to_owned()),
        whole("in_aadhaar", "2341 2341 2346".to_owned()),
        whole("it_codice_fiscale", "RSSMRA85T10A562S".to_owned()),
        whole("pl_pesel", "44051401359".to_owned()),
        part("field_password", "password=", "hunter2longer".to_owned(), ""),
        part("field_token", "{\"access_token\": \"", "plain-but-named-so".to_owned(), "\"}"),
    ]
}

type Encode = fn(&str) -> String;

fn bytes(text: &str, mut each: impl FnMut(&mut String, u8)) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        each(&mut out, byte);
    }
    out
}

fn chars(text: &str, mut each: impl FnMut(&mut String, char)) -> String {
    let mut out = String::new();
    for c in text.chars() {
        each(&mut out, c);
    }
    out
}

fn utf16(text: &str) -> String {
    text.encode_utf16().fold(String::new(), |mut out, unit| {
        write!(out, "\\u{unit:04x}").unwrap();
        out
    })
}

fn between(text: &str, unseen: char) -> String {
    chars(text, |out, c| out.extend([c, unseen]))
}

/// One after another.
fn between_all(text: &str, unseen: &[&str]) -> String {
    let mut unseen = unseen.iter().cycle();
    chars(text, |out, c| {
        out.push(c);
        out.extend(unseen.next().copied());
    })
}

fn math(text: &str) -> String {
    chars(text, |out, c| {
        let code = match c {
            'A'..='Z' => 0x1d400 + u32::from(c) - 0x41,
            'a'..='z' => 0x1d41a + u32::from(c) - 0x61,
            '0'..='9' => 0x1d7ce + u32::from(c) - 0x30,
            _ => u32::from(c),
        };
        out.extend(char::from_u32(code));
    })
}

fn encodings() -> Vec<(&'static str, Encode)> {
    vec![
        ("percent", |text| bytes(text, |out, b| write!(out, "%{b:02X}").unwrap())),
        ("percent of some", |text| {
            let mut at = 0;
            bytes(text, |out, b| {
                at += 1;
                match b.is_ascii() && at % 3 != 0 && b != b'%' {
                    true => out.push(char::from(b)),
                    false => write!(out, "%{b:02x}").unwrap(),
                }
            })
        }),
        ("percent u", |text| utf16(text).replace("\\u", "%u")),
        ("JSON", |text| json!({ "k": text }).to_string()),
        ("JSON u", |text| format!("{{\"k\":\"{}\"}}", utf16(text))),
        ("x escapes", |text| bytes(text, |out, b| write!(out, "\\x{b:02x}").unwrap())),
        ("octal", |text| bytes(text, |out, b| write!(out, "\\{b:03o}").unwrap())),
        ("braces", |text| chars(text, |out, c| write!(out, "\\u{{{:x}}}", u32::from(c)).unwrap())),
        ("hex", |text| hex::encode(text)),
        ("HEX", |text| hex::encode_upper(text)),
        ("hex with colons", |text| bytes(text, |out, b| write!(out, "{b:02x}:").unwrap())),
        ("hex with spaces", |text| bytes(text, |out, b| write!(out, "{b:02X} ").unwrap())),
        ("hex array", |text| format!("[{}]", bytes(text, |out, b| write!(out, "0x{b:02x}, ").unwrap()))),
        ("base64", |text| STANDARD.encode(text)),
        ("base64url", |text| URL_SAFE_NO_PAD.encode(text)),
        ("base64 in lines", |text| {
            let all = STANDARD.encode(text);
            all.as_bytes()
                .chunks(19)
                .map(|l| std::str::from_utf8(l).unwrap())
                .collect::<Vec<_>>()
                .join("\r\n ")
        }),
        ("base64 behind a word", |text| format!("file/x-{}", STANDARD.encode(text))),
        ("data URI", |text| format!("data:text/plain;base64,{}", STANDARD.encode(text))),
        // Of ASCII; of other characters it is not read.
        ("UTF-16", |text| match text.is_ascii() {
            true => STANDARD.encode(text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>()),
            false => STANDARD.encode(text),
        }),
        ("entities", |text| chars(text, |out, c| write!(out, "&#{};", u32::from(c)).unwrap())),
        ("hex entities", |text| chars(text, |out, c| write!(out, "&#x{:X};", u32::from(c)).unwrap())),
        ("named entities", |text| {
            let text = text.replace('&', "&amp;").replace('@', "&commat;").replace('_', "&lowbar;");
            text.replace('-', "&hyphen;")
                .replace('.', "&period;")
                .replace('=', "&equals;")
                .replace('"', "&quot;")
        }),
        ("quoted-printable", |text| bytes(text, |out, b| write!(out, "={b:02X}").unwrap())),
        ("fullwidth", |text| {
            chars(text, |out, c| match c {
                '!'..='~' => out.extend(char::from_u32(u32::from(c) - 0x21 + 0xff01)),
                ' ' => out.push('\u{3000}'),
                c => out.push(c),
            })
        }),
        ("mathematical", math),
        ("zero width", |text| between(text, '\u{200b}')),
        ("joiners", |text| between(text, '\u{200d}')),
        ("soft hyphens", |text| between(text, '\u{ad}')),
        ("bidi marks", |text| between(text, '\u{202e}')),
        ("variation selectors", |text| between(text, '\u{fe01}')),
        ("tags", |text| between(text, '\u{e0041}')),
        ("combining marks", |text| between(text, '\u{332}')),
        ("marks of other scripts", |text| {
            between_all(
                text,
                &["\u{488}", "\u{610}", "\u{5b0}", "\u{e31}", "\u{93c}", "\u{1e8d0}", "\u{20dd}"],
            )
        }),
        ("controls", |text| {
            let all: Vec<String> = (0..=0x1f_u8)
                .chain([0x7f])
                .filter(|b| !matches!(b, b'\t' | b'\n' | b'\r'))
                .map(|b| char::from(b).to_string())
                .collect();
            between_all(text, &all.iter().map(String::as_str).collect::<Vec<_>>())
        }),
        ("encoded controls", |text| between_all(text, &["%08", "&#8;", "%00", "&#0;", "%1b", "&#x1f;"])),
        ("escaped controls", |text| {
            let mut controls = ["\\u0008", "\\x7f", "\\b", "\\f", "\\u0000"].iter().cycle();
            chars(text, |out, c| {
                out.extend((c == '\\').then_some('\\'));
                out.push(c);
                out.extend(controls.next().copied());
            })
        }),
        ("no characters", |text| {
            between_all(text, &["\u{2800}", "\u{ffff}", "\u{fdd0}", "\u{fdef}", "\u{1fffe}", "\u{10ffff}"])
        }),
        // Of ASCII alone.
        ("tag text", |text| match text.is_ascii() {
            true => chars(text, |out, c| out.extend(char::from_u32(0xe0000 + u32::from(c)))),
            false => text.to_owned(),
        }),
    ]
}

/// What of an encoded secret must not stand in a record: a piece of it behind what only says how it is encoded.
fn inner(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    chars[chars.len() * 7 / 10..chars.len() * 9 / 10].iter().collect()
}

fn blocking() -> DataRules {
    let spec: DataSpec =
        serde_saphyr::from_str("rules: [{ id: stay, arguments: block, results: block }]").unwrap();
    DataRules::compile(&spec).unwrap()
}

#[track_caller]
fn check(detector: Option<&str>, how: &str, encoded: &str, secret: &str) {
    let text = format!("see: {encoded} and so on");
    let value = json!({ "text": text });
    let rules = DataRules::built_in();
    let inspected = rules.inspect_arguments(&value, &Place::NOWHERE);
    let recorded = inspected.recorded["text"].as_str().unwrap();
    assert!(inspected.redacted, "{how}: {text}");
    if let Some(detector) = detector {
        assert!(
            inspected.findings.iter().any(|found| **found == *detector),
            "{how}: {detector} in {text}: {inspected:?}"
        );
    }
    assert!(!recorded.contains(&inner(secret)), "{how}: {text}\n-> {recorded}");
    assert!(matches!(rules.redact_text(recorded), Cow::Borrowed(_)), "{how}: {recorded}");
    let outbound = blocking().inspect_arguments(&value, &Place::NOWHERE).outbound;
    assert!(matches!(outbound, Outbound::Blocked(_)), "{how}: {text}: {outbound:?}");
}

/// The secret part as it reads in an encoding: `None` where it cannot be told apart from what stands around it.
fn encoded(encode: Encode, example: &str, secret: &str) -> (String, String) {
    let whole = encode(example);
    let part = encode(secret);
    if whole.contains(&part) { (whole, part) } else { (whole.clone(), whole) }
}

#[test]
fn what_every_detector_finds_is_found_in_every_encoding() {
    for (detector, example, secret) in examples() {
        check(Some(detector), "as it is", &example, &secret);
        for (name, encode) in encodings() {
            let (text, part) = encoded(encode, &example, &secret);
            check(Some(detector), name, &text, &part);
        }
    }
}

/// All pairs, and three and four of them by a fixed choice.
#[test]
fn encodings_of_encodings_hide_nothing() {
    let examples = examples();
    let encodings = encodings();
    let mut seed = 1_u32;
    let mut choose = |most: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        usize::try_from(seed >> 8).unwrap() % most
    };
    let pairs = (0..encodings.len()).flat_map(|a| (0..encodings.len()).map(move |b| vec![a, b]));
    let mut chains: Vec<Vec<usize>> = pairs.collect();
    for depth in [3, 4] {
        for _ in 0..600 {
            chains.push((0..depth).map(|_| choose(encodings.len())).collect());
        }
    }
    // The same four times.
    chains.extend((0..encodings.len()).map(|a| vec![a; 4]));
    for chain in chains {
        let (_, example, _) = &examples[choose(examples.len())];
        let mut text = example.clone();
        let mut how = Vec::new();
        for at in chain {
            text = encodings[at].1(&text);
            how.push(encodings[at].0);
        }
        if text.len() > 200_000 {
            continue;
        }
        check(None, &how.join(", "), &text, &text);
    }
}

/// A text that is encoded more often than it is decoded is sensitive.
#[test]
fn deeper_encodings_are_masked_and_blocked() {
    let secret = examples().into_iter().find(|(name, _, _)| *name == "github_token").unwrap().1;
    for (name, encode) in encodings() {
        let mut text = secret.clone();
        for depth in 1..=6 {
            text = encode(&text);
            if text.len() > 200_000 || (depth > 1 && name == "percent of some") {
                break;
            }
            check(None, &format!("{name} {depth} deep"), &text, &text);
        }
    }
}

fn honest() -> Vec<(&'static str, String)> {
    let digest = |length: usize| {
        let bytes: Vec<u8> = (0..length as u32)
            .map(|at| (at.wrapping_mul(2_654_435_761).rotate_left(11) >> 7) as u8)
            .collect();
        STANDARD.encode(bytes)
    };
    let png = |length: usize| {
        let mut bytes =
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89".to_vec();
        bytes.extend((0..length as u32).map(|at| (at.wrapping_mul(2_246_822_519).rotate_left(9) >> 5) as u8));
        STANDARD.encode(bytes)
    };
    let uuids: String = (0..200_u64)
        .map(|at| format!("{}\n", uuid::Uuid::from_u64_pair(at.wrapping_mul(0x9e37_79b9_7f4a_7c15), !at)))
        .collect();
    vec![
        (
            "package-lock.json",
            format!(
                "{{\n  \"node_modules/left-pad\": {{\n    \"version\": \"1.3.0\",\n    \"resolved\": \"https://registry.npmjs.org/left-pad/-/left-pad-1.3.0.tgz\",\n    \"integrity\": \"sha512-{}\",\n    \"license\": \"WTFPL\"\n  }},\n  \"x\": {{ \"integrity\": \"sha1-{}\" }}\n}}",
                digest(64),
                digest(20)
            ),
        ),
        ("go.sum", format!("golang.org/x/text v0.14.0 h1:{}\ngolang.org/x/text v0.14.0/go.mod h1:{}\n", digest(32), digest(32))),
        ("wheel RECORD", format!("pkg/__init__.py,sha256={},1423\n", digest(32).trim_end_matches('='))),
        (
            "page",
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Fish &amp; chips &ndash; menu</title></head><body class=\"a&#x20;b\"><a href=\"/find?q=caf%C3%A9%20au%20lait&amp;page=2\">caf&eacute;</a><p>5 &lt; 6 &copy; 2026&nbsp;&#8364;10</p></body></html>".to_owned(),
        ),
        (
            "source",
            "let path = \"C:\\\\Users\\\\Public\\\\new\\\\table.txt\";\nlet re = Regex::new(r\"^\\d{3}\\s+\\w+\\\\$\")?;\nprintln!(\"a\\tb\\n\\u{1f980} \\x1b[0m\");\nconst KEY: &str = env!(\"API_KEY\");\nlet token = next_token(&mut lexer);\nlet s = '\\\\\\\\server\\\\share';\n".to_owned(),
        ),
        (
            "script",
            "import os\napi_key = os.environ[\"API_KEY\"]\npassword = os.getenv('DB_PASSWORD')\nheaders = {\"Authorization\": f\"Bearer {api_key}\"}\nsecret = \"YOUR_CLIENT_SECRET\"\ntoken = 'xxxxxxxx'\nkey = \"<api-key>\"\n".to_owned(),
        ),
        ("minified", "!function(e,t){\"object\"==typeof exports?module.exports=t():e.lib=t()}(this,(function(){var n=/[\\u00c0-\\u024f\\x00-\\x7f]+/g,r={a:\"\\n\",b:'\\t'};return n.test(r.a)&&r.b||function(e){return e%2==0&&e<<3}}));".to_owned()),
        ("source map", "{\"version\":3,\"sources\":[\"../src/a.ts\"],\"names\":[],\"mappings\":\"AAAA,SAASA,IAAI,CAACC,CAAC,EAAEC,CAAC,EAAE;EAClB,OAAOD,CAAC,GAAGC,CAAC\"}".to_owned()),
        ("table", "id,name,city,amount\n1,\"Müller, Jörg\",Köln,\"1.234,50\"\n2,Ōta,東京,99%\n3,O'Brien,Cork,0x1F\n".to_owned()),
        (
            "log",
            "2026-11-21T02:50:17.123456Z INFO request{method=GET path=/a%20b/c?x=1&y=2 status=200} took 12ms\n127.0.0.1 - - [21/Nov/2026:02:50:17 +0000] \"GET /static/js/main.4f3c2b1a.js?v=2 HTTP/1.1\" 200 48213 \"-\" \"curl/8.5.0\"\ntraceparent 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n".to_owned(),
        ),
        ("JSON in a log", json!({"level": "info", "body": json!({"path": "/srv/a b", "tags": ["x\ny", "ü"], "note": json!({"n": 1, "quote": "\"q\""}).to_string()}).to_string()}).to_string()),
        ("fingerprints", "SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8 git@host (ED25519)\n16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48\nd4f6c1e8 a0b1 c2d3 00 11 22 33 44 55 66 77 88 99 aa bb\n".to_owned()),
        ("commits", "39550a4f0e8d7c6b5a4938271605f4e3d2c1b0a9 fix: it\n4bf92f3577b34da6a3ce929d0e0e473639550a4f Merge\n".to_owned()),
        ("UUIDs", uuids),
        ("an image", format!("![x](data:image/png;base64,{})", png(3_000))),
        ("a small image", format!("<img src=\"data:image/png;base64,{}\">", png(60))),
        ("a file", digest(30_000)),
        ("emoji", "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f} 🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f} x² ½ № ㎏ ①②③".to_owned()),
        ("fullwidth", "ＡＢＣ株式会社は１２月に東京で開催します。（詳細：別紙）".to_owned()),
        ("accents", "e\u{301}te\u{301} สวัสดีครับ مُحَمَّد nai\u{308}ve \u{5e9}\u{5b8}\u{5dc}\u{5d5}\u{5b9}\u{5dd} नमस्ते".to_owned()),
        ("e-mail", "Content-Transfer-Encoding: quoted-printable\n\nF=C3=BCr die n=C3=A4chste Woche haben wir =E2=82=AC20 eingeplant, und das w=\nird reichen.\n".to_owned()),
        ("query", "https://example.org/a?filter=%7B%22a%22%3A%5B1%2C2%5D%7D&next=%2Fb%3Fc%3D1%2526d&q=100%25".to_owned()),
        ("prose", "Understanding configuration requires\nextraordinary perseverance\nnotwithstanding circumstances, and so on & on; 50% of it. ".repeat(30)),
        ("regex", "s/\\\\\\\\/\\//g; ^(?:\\\\.|[^\\\\\"])*$ \\1\\2 \\\\\\\\\\\\\\\\server".to_owned()),
    ]
}

#[test]
fn honest_texts_are_left_alone() {
    for (name, text) in honest() {
        let rules = DataRules::built_in();
        assert_eq!(rules.redact_text(&text), text, "{name}");
        let value = json!({ "content": [{"type": "text", "text": text}] });
        assert_eq!(
            blocking().inspect_result(&value, &Place::NOWHERE, &[]).outbound,
            Outbound::Unchanged,
            "{name}"
        );
    }
}

/// What is found in a layer is masked, and nothing else.
#[test]
fn only_what_is_encoded_is_masked() {
    let check =
        |text: &str, expect: &str| assert_eq!(DataRules::built_in().redact_text(text), expect, "{text}");
    check("a=1&to=bob%40corp.example&x=%20", "a=1&to=[redacted:email:18]&x=%20");
    check("b%6fb%2540corp.example, and 5%", "[redacted:email:22], and 5%");
    check("<b>bob&#64;corp.example</b>", "<b>[redacted:email:20]</b>");
    check("mail Ym9iQGNvcnAuZXhhbXBsZQ== now", "mail [redacted:email:24] now");
    check(
        "{\"log\": \"{\\\"to\\\": \\\"bob\\\\u0040corp.example\\\"}\"}",
        "{\"log\": \"{\\\"to\\\": \\\"[redacted:email:22]\\\"}\"}",
    );
    check("bob\u{200b}@corp.exam\u{ad}ple\u{200b}!", "[redacted:email:18]\u{200b}!");
    check("p%61ssword=hunter2longer", "p%61ssword=[redacted:field_password:13]");
    // A control separates words as well as letters.
    let key = format!("AKIA{}", "Q3EGRIJ7ZL5XN2WP");
    check(&format!("token%08{key}%00next"), "token%08[redacted:aws_access_key:20]%00next");
    check(&format!("token\u{1}{key}\u{1}next"), "token\u{1}[redacted:aws_access_key:20]\u{1}next");
    let value: Value = json!({
        "pass\u{200b}word": "hunter2", "api%5Fkey": "k-1", "pass\u{1}word": "hunter3", "pass%08word": "hunter4",
    });
    let recorded = DataRules::built_in().redact_value(&value).to_string();
    assert!(!recorded.contains("hunter") && !recorded.contains("k-1"), "{recorded}");
}
