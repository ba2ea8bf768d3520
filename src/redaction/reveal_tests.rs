use super::*;
use serde_json::json;

fn token(value: &str, is_json: bool, digit: char) -> Tokenized {
    let hex: String = std::iter::repeat_n(digit, 32).collect();
    Tokenized {
        placeholder: format!("[token:email:{hex}]").into(),
        scope: "agent:ada".into(),
        rule: "r".into(),
        detector: "email".into(),
        value: value.to_owned().into(),
        is_json,
    }
}

#[test]
fn placeholders_are_found_wherever_they_stand() {
    let (a, b) = (token("x", false, 'a').placeholder, token("x", false, 'b').placeholder);
    let value = json!({"to": *a, "text": format!("dear {b}, [token:] and {a}"), "l": [{"k": format!("[token:{b}")}], format!("{a}!"): 1});
    assert_eq!(placeholders(&value), [a.clone(), b]);
    assert!(placeholders(&json!({"x": "[token:email:AA]", "y": "[hash:email:00]"})).is_empty());
    let many: Vec<String> = (0..200).map(|n| format!("[token:email:{n:032x}]")).collect();
    assert_eq!(placeholders(&json!(many)).len(), MAX_REVEALED);
}

/// In JSON in a text a value cannot become more than a value.
#[test]
fn values_stand_where_their_placeholders_stood() {
    let sly = token("a\",\"admin\":true,\"x\":\"", false, 'a');
    let number = token("4711", true, 'b');
    let list = token("[1,2]", true, 'c');
    let tokens = [sly.clone(), number.clone(), list.clone()];
    let [s, n, l] = [&sly, &number, &list].map(|token| token.placeholder.to_string());
    let check = |given: Value, expect: Value| assert_eq!(reveal(&given, &tokens), Some(expect), "{given}");
    check(json!({"a": s, "n": n, "l": [l]}), json!({"a": *sly.value, "n": 4711, "l": [[1, 2]]}));
    check(json!(format!("pin {n}.")), json!("pin 4711."));
    check(json!({n.clone(): 1}), json!({"4711": 1}));
    let inner = json!({"to": s, "deep": json!({"to": s}).to_string()}).to_string();
    let out = reveal(&json!(inner), &tokens).unwrap();
    let read: Value = serde_json::from_str(out.as_str().unwrap()).unwrap();
    assert_eq!((read.as_object().unwrap().len(), &read["to"]), (2, &json!(*sly.value)));
    let deep: Value = serde_json::from_str(read["deep"].as_str().unwrap()).unwrap();
    assert_eq!(deep, json!({"to": *sly.value}));
    assert_eq!(reveal(&json!({"a": "[token:email:0]"}), &tokens), None);
    // A name that is there already stays somebody else's.
    assert_eq!(reveal(&json!({n.clone(): 1, "4711": 2}), &tokens), None);
    assert!(!format!("{sly:?}").contains("admin"));
}

#[test]
fn what_comes_back_is_concealed() {
    let mail = token("Grace.Hopper@navy.example", false, 'a');
    let note = token("say \"hi\" & go", false, 'b');
    let number = token("4111111111111111", true, 'c');
    let tokens = [mail.clone(), note.clone(), number.clone()];
    let [m, n, c] = [&mail, &note, &number].map(|token| token.placeholder.to_string());
    let check = |given: Value, expect: Value| {
        let mut value = given.clone();
        assert!(DataRules::built_in().conceal(&mut value, &tokens), "{given}");
        assert_eq!(value, expect);
    };
    check(json!("sent to grace.hopper@NAVY.example."), json!(format!("sent to {m}.")));
    check(json!({"grace.hopper@navy.example": 4_111_111_111_111_111_u64}), json!({m.clone(): c}));
    check(json!(json!({"note": "say \"hi\" & go"}).to_string()), json!(format!("{{\"note\":\"{n}\"}}")));
    check(json!("?to=Grace.Hopper%40navy.example&n=1"), json!(format!("?to={m}&n=1")));
    check(json!("R3JhY2UuSG9wcGVyQG5hdnkuZXhhbXBsZQ=="), json!(m));
    let copy = json!({"n": 4_111_111_111_111_111_u64}).to_string();
    check(json!(copy), json!(json!({"n": c}).to_string()));
    let mut other = json!({"ä": "nothing of it", "n": 41});
    assert!(!DataRules::built_in().conceal(&mut other, &tokens));
}

/// JSON writes a number in many ways, and so do those who have read it: each of them is the value.
#[test]
fn a_number_is_known_however_it_is_written() {
    let (pin, price) = (token("4711", true, 'a'), token("12.50", true, 'b'));
    let tokens = [pin.clone(), price.clone()];
    for (written, token) in [
        ("4711", &pin),
        ("4711.0", &pin),
        ("4711.00", &pin),
        ("4.711e3", &pin),
        ("471100E-2", &pin),
        ("12.5", &price),
        ("1.25e+1", &price),
    ] {
        for text in [format!("{{\"n\":[{written}]}}"), format!("[\"{{\\\"n\\\":{written}}}\"]")] {
            let mut value: Value = serde_json::from_str(&text).unwrap();
            assert!(DataRules::built_in().conceal(&mut value, &tokens), "{text}");
            let told = value.to_string();
            assert!(told.contains(&*token.placeholder) && !told.contains(written), "{text}: {told}");
        }
    }
    for other in ["-4711", "47110", "0.4711", "4711.5", "12.05"] {
        let text = format!("{{\"n\":{other}}}");
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert!(!DataRules::built_in().conceal(&mut value, &tokens), "{text}: {value}");
    }
}

/// In a URI a value stays within its segment, whether its placeholder is percent-encoded or not.
#[test]
fn values_in_uris_are_encoded() {
    let sly = token("a/../b?x=1#y", false, 'a');
    let p = sly.placeholder.to_string();
    let encoded = p.replace('[', "%5b").replace(':', "%3A").replace(']', "%5D");
    let tokens = [sly];
    for written in [&p, &encoded] {
        assert_eq!(placeholders(&json!(format!("box://of/{written}/x"))), [tokens[0].placeholder.clone()]);
        let sent = reveal_uri(&format!("box://of/{written}/x%20y"), &tokens).unwrap();
        assert_eq!(sent, "box://of/a%2F%2E%2E%2Fb%3Fx%3D1%23y/x%20y");
    }
    for other in ["box://of/%5Btoken%3A", "box://of/%5B%5D%5Btoken:email:00%5D", "box://of/%", "%5Bä"] {
        assert_eq!(reveal_uri(other, &tokens), None, "{other}");
    }
    let text = format!("see ?q={encoded}.");
    assert_eq!(reveal(&json!(text), &tokens), Some(json!("see ?q=a%2F%2E%2E%2Fb%3Fx%3D1%23y.")));
}

/// Values of any length, behind any number of bytes: nothing of their base64 is left that tells them.
#[test]
fn base64_is_known_wherever_it_begins() {
    use base64::Engine as _;
    for value in ["abcde", "pa55word", "Grace.Hopper@navy.example", "ünïcode wörds"] {
        let tokens = [token(value, false, 'a')];
        for engine in [base64::engine::general_purpose::STANDARD, base64::engine::general_purpose::URL_SAFE] {
            for before in 0..7 {
                for after in 0..4 {
                    let whole: Vec<u8> =
                        [vec![0xfb; before], value.as_bytes().to_vec(), vec![0xfb; after]].concat();
                    let written = engine.encode(&whole);
                    let mut shown = json!(format!("data {written} end"));
                    assert!(DataRules::built_in().conceal(&mut shown, &tokens), "{value} {before} {after}");
                    let text = shown.as_str().unwrap();
                    assert!(text.contains(&*tokens[0].placeholder), "{text}");
                    assert!(text.starts_with("data ") && text.ends_with(" end"), "{text}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_kept_is_masked() {
    let mail = token("a@b.example", false, 'a');
    let mut value = json!({"to": *mail.placeholder});
    unmint(&mut value, &[mail]);
    assert_eq!(value, json!({"to": "[redacted:email:11]"}));
}
