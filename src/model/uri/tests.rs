use super::*;
use proptest::prelude::*;

/// What a text is read as: the canonical form, `? form` where that is in doubt, or why it is refused.
fn read(text: &str) -> String {
    match Uri::parse(text) {
        Ok(uri) => match uri.doubt() {
            Some(doubt) => format!("? {}", doubt.form().unwrap_or("-")),
            None => uri.into_string(),
        },
        Err(wrong) => format!("{:?}", wrong.why),
    }
}

#[test]
fn one_form_for_every_spelling() {
    let check = |written: &str, expect: &str| {
        assert_eq!(read(written), expect, "{written}");
        if let Ok(uri) = Uri::parse(written) {
            let again = Uri::parse(uri.as_str()).unwrap();
            assert_eq!(again.as_str(), uri.as_str(), "{written} is not idempotent");
        }
    };
    for same in [
        "file:///srv/pub/a.md",
        "FILE:///srv/pub/a.md",
        "fIlE:///srv/pub/%61.md",
        "file:///srv/pub/a%2emd",
        "file:///srv/pub/a%2Emd",
        "file:///srv/./pub/a.md",
        "file:///srv/x/../pub/a.md",
        "file:///srv/x/%2e%2e/pub/a.md",
        "file:///srv/x/.%2E/pub/./a.md",
        "file:///srv/pub/a.md/",
        "file:///srv/pub/a.md?",
        "file:///srv/pub/a.md#",
        "file:///srv/pub/a.md?#",
        "file:/srv/pub/a.md",
        "file://localhost/srv/pub/a.md",
        "file://LOCALHOST/srv/pub/a.md",
    ] {
        check(same, "file:///srv/pub/a.md");
    }
    check("file:///srv/My Docs/ä.md", "file:///srv/My%20Docs/%C3%A4.md");
    check("file:///srv/My%20Docs/%c3%a4.md", "file:///srv/My%20Docs/%C3%A4.md");
    check("file:///srv/a+b@c%2Bd%40e(1),!$&'*=:~", "file:///srv/a+b@c+d@e(1),!$&'*=:~");
    check("file:///srv/100%25.md", "file:///srv/100%25.md");
    check("file:///srv/a%25", "file:///srv/a%25");
    check("file:///srv/{x}[1]^`|\"<>", "file:///srv/%7Bx%7D%5B1%5D%5E%60%7C%22%3C%3E");
    check("file:///", "file:///");
    check("file:///srv/..", "file:///");
    check("crm+FILE:///srv/x/../a", "crm+file:///srv/a");
    check("crm+https://H:443/a", "crm+https://h/a");

    check("HTTPS://Docs.Example:443/a", "https://docs.example/a");
    check("http://h.example:80", "http://h.example/");
    check("http://h.example.:0080/", "http://h.example/");
    check("http://h.example:8080/a", "http://h.example:8080/a");
    check("https://h.example:/a", "https://h.example/a");
    check("https://bücher.example/a", "https://xn--bcher-kva.example/a");
    check("http://0x7f.1/a", "http://127.0.0.1/a");
    check("http://[0:0::1]:80/a", "http://[::1]/a");

    check("memo:insights", "memo:insights");
    check("MEMO:%69nsights", "memo:insights");
    check("memo:a/b", "memo:a/b");
    check("memo:/a/../b", "memo:/b");
    check("urn:isbn:0451450523", "urn:isbn:0451450523");
    check("mailto:a@b.example", "mailto:a@b.example");
    check("data:text/plain;base64,aGk=", "data:text/plain;base64,aGk=");
    check("fetch:https://h.example/a", "fetch:https://h.example/a");
    check("fetch:a/://", "fetch:a/:");
    check("ui://Widget/index.html", "ui://widget/index.html");
    check("note://today", "note://today");
    check("note://today/", "note://today");
    check("note://today/.", "note://today");
    check("user://a%40b.example/mail", "user://a%40b.example/mail");
    check("user://%61/x", "user://a/x");
    check("db://h:5432/t", "db://h:5432/t");
    check("docs:///", "docs:///");
    check("docs://", "docs://");

    check("https://h.example/f?term=%61%2Fb%26c%3D+d%2B e", "https://h.example/f?term=a/b%26c%3D+d%2B%20e");
    check("https://h.example/f?a[]=1&b=ä", "https://h.example/f?a%5B%5D=1&b=%C3%A4");
    check("db://h/rows?q=a..b&page=2#top", "db://h/rows?q=a..b&page=2#top");
    check("db://h/q?sql=select%0A1", "db://h/q?sql=select%0A1");
    check(
        "https://h.example/f?u=https%3A%2F%2Fx.example%2Fa%2520b",
        "https://h.example/f?u=https://x.example/a%2520b",
    );
    check("https://h.example/a?b;v=1", "https://h.example/a?b;v=1");
    check("urn:a;b/c", "urn:a;b/c");
}

#[test]
fn what_two_parsers_read_differently_names_its_form_or_is_refused() {
    let check = |written: &str, expect: &str| assert_eq!(read(written), expect, "{written}");
    // In doubt: the form that is meant is named.
    check("file:///srv//pub/a.md", "? file:///srv/pub/a.md");
    check("file:////srv/pub/a.md", "? file:///srv/pub/a.md");
    check("file:///srv/pub/a.md//", "? file:///srv/pub/a.md");
    check("https://h.example//", "? https://h.example/");
    check("file:///srv%2Fpub%2fa.md", "? file:///srv/pub/a.md");
    check("file:///srv/%252e%252e/pub", "? file:///pub");
    check("file:///srv/%2573ecret", "? file:///srv/secret");
    check("file:///srv/%25252573ecret", "? file:///srv/secret");
    check("file:///srv/a%2520b", "? file:///srv/a%20b");
    check("file:///srv/what%3F.md", "? -");
    check("file:///srv/a%23b", "? -");
    check("https://alice@h.example/a", "? https://h.example/a");
    check("postgres://alice:x@h:5432/t", "? postgres://h:5432/t");
    check("https://h.example/f?q=%2573ecret", "? -");
    check("https://h.example/f?q=a%252Fb", "? -");
    check("memo:a//b", "? memo:a/b");
    check("https://h.example/a;v=1/b", "? https://h.example/a/b");
    check("https://h.example/a%3Bv=1/b;w?q;x=1#f;y", "? https://h.example/a/b?q;x=1#f;y");
    check("file:///srv/secret;v=1/k.pem", "? file:///srv/secret/k.pem");
    check("file:///srv/a%253Bb", "? file:///srv/a");
    check("file:///srv//a;b", "? file:///srv/a");
    check("repo://private;v=1/x", "? repo://private/x");
    check("sftp://bob;fingerprint=x@h/a", "? sftp://h/a");
    check("memo:/a;b/c", "? memo:/a/c");
    check("fetch:https://h.example/a;b/c", "? fetch:https://h.example/a/c");
    check("memo:a%2Fb", "? memo:a/b");
    // Refused.
    for (written, why) in [
        ("relative/path", "NotAbsolute"),
        ("/srv/a", "NotAbsolute"),
        ("//h.example/a", "NotAbsolute"),
        ("1a:b", "NotAbsolute"),
        ("", "NotAbsolute"),
        ("file:///../a", "Climbs"),
        ("file:///srv/../../etc/passwd", "Climbs"),
        ("file:///srv/%2e%2e/%2e%2e/etc", "Climbs"),
        ("file:///%25252525252e%25252525252e/etc", "Climbs"),
        ("file:///srv/x?/../../../etc/passwd", "Climbs"),
        ("file:///srv/x#/../../etc/passwd", "Climbs"),
        ("file:///srv/x?a=..%2f..%2Fetc", "Climbs"),
        ("file:///srv/x?%252e%252e/etc", "Climbs"),
        ("db://h?..\\..\\x", "Climbs"),
        ("db://../x", "Climbs"),
        ("memo:a/../b", "Dots"),
        ("memo:./b", "Dots"),
        ("memo:a/%252e%252e/b", "Dots"),
        ("memo:a\\b", "Backslash"),
        ("file:///srv\\secret", "Backslash"),
        ("file:///srv/a%5Cb", "Backslash"),
        ("file:///srv/a%255Cb", "Backslash"),
        ("https://good.example\\@evil.example/", "Backslash"),
        ("file:///srv/a%00.md", "Control"),
        ("file:///srv/a%0A.md", "Control"),
        ("file:///srv/a%2500.md", "Control"),
        ("file:///srv/a\tb", "Control"),
        ("fi\nle:///srv/a", "Control"),
        ("file:///srv/a%7F", "Control"),
        ("file:///srv/a%C2%85", "Control"),
        ("https://h.example/?q=%00", "Control"),
        ("https://h.example/?q=%1B", "Control"),
        (" file:///srv/a", "Space"),
        ("file:///srv/a ", "Space"),
        ("file:///srv/a\u{3000}", "Space"),
        ("file:///srv/100%.md", "Percent"),
        ("file:///srv/%zz", "Percent"),
        ("file:///srv/%u002e", "Percent"),
        ("file:///srv/%%32e", "Percent"),
        ("file:///srv/a%", "Percent"),
        ("https://h.example/?q=%", "Percent"),
        ("file:///srv/%ff", "NotUtf8"),
        ("file:///srv/%c0%ae%c0%ae/x", "NotUtf8"),
        ("file:///srv/%ed%a0%80", "NotUtf8"),
        ("https://h.example/?q=%ff", "NotUtf8"),
        ("file:///srv/%252525252525252525252e", "ManyTimes"),
        ("file:///srv/pub/..;/secret", "Dotted"),
        ("file:///srv/pub/.;x/secret", "Dotted"),
        ("file:///srv/;x/secret", "Dotted"),
        ("file:///srv/pub/%2e%2e%3b/secret", "Dotted"),
        ("file://evil/srv/a", "FileHost"),
        ("file://127.0.0.1/srv/a", "FileHost"),
        ("crm+file://evil/srv/a", "FileHost"),
        ("file:srv/a", "Slashes"),
        ("http:h.example/a", "Slashes"),
        ("http:/h.example/a", "Slashes"),
        ("http:///h.example/a", "Host"),
        ("http://h.example..:80/", "Host"),
        ("http://h..example/", "Host"),
        ("http://%67ood.example/", "Host"),
        ("http://ｇｏｏｄ.example/", "Host"),
        ("http://good。example/", "Host"),
        ("http://go\u{ad}od.example/", "Host"),
        ("http://faß.example/", "Host"),
        ("http://℀.example/", "Host"),
        ("http://0177.0.0.1/", "Host"),
        ("http://127.0.0.09/", "Host"),
        ("http://h.example:x/", "Port"),
        ("http://h.example:70000/", "Port"),
        ("http://a:b:c/", "Port"),
        ("http://[::1/", "Port"),
        ("db://a:b/c", "Port"),
        ("db://a%2Fb/c", "Host"),
        ("http://a@b@h.example/", "UserInfo"),
    ] {
        check(written, why);
    }
    assert_eq!(read(&format!("memo:{}", "a".repeat(LONGEST_URI))), "TooLong");
    let wrong = Uri::parse("file:///a//b").unwrap();
    assert_eq!(
        wrong.doubt().unwrap().to_string(),
        "its path has an empty segment; its canonical form is `file:///a/b`"
    );
}

#[test]
fn query_and_fragment_need_a_pattern_of_their_own() {
    let check = |pattern: &str, uri: &str, grants: bool, concerns: bool| {
        let pattern = UriPattern::parse(pattern).unwrap();
        let uri = Uri::parse(uri).unwrap();
        assert_eq!(
            (pattern.grants(uri.as_str(), false), pattern.concerns(uri.as_str())),
            (grants, concerns),
            "{pattern} {uri:?}"
        );
    };
    check("file:///srv/pub/*.md", "file:///srv/pub/a.md", true, true);
    check("file:///srv/pub/*.md", "file:///srv/pub/secret.env?.md", false, false);
    check("file:///srv/pub/*.md", "file:///srv/pub/secret.env#.md", false, false);
    check("file:///srv/pub/*.md", "file:///srv/pub/a.md?x", false, true);
    check("**/*.env", "file:///srv/secret.env?a=b", false, true);
    check("**/*.env", "file:///srv/secret.env#x", false, true);
    check("**/*.env", "file:///srv/secret.env?", true, true);
    check("**/*.env", "file:///srv/secret.env;x", false, true);
    check("**/*.md", "file:///srv/secret.env;.md", false, true);
    check("*", "https://h.example/a?b", false, true);
    check("**", "https://h.example/a?b", false, true);
    check("**", "https://h.example/a#b", false, true);
    check("**?**", "https://h.example/a?b", true, true);
    check("**?**", "https://h.example/a", false, false);
    check("**?**", "https://h.example/a?b#c", false, true);
    check("**?**#*", "https://h.example/a?b#c", true, true);
    check("https://h.example/find?term=**", "https://h.example/find?term=a/b", true, true);
    check("https://h.example/find?term=**", "https://h.example/find", false, false);
    check("https://h.example/find?term=*", "https://h.example/find?term=x%20y", true, true);
    check("https://h.example/find?term=**", "https://h.example/find?other&term=x", false, false);
    check("https://h.example/*.md?term=**", "https://h.example/secret.env?.md?term=x", false, false);
    check("https://h.example#top", "https://h.example/#top", true, true);
    check("https://h.example/find", "https://h.example/find?term=x", false, true);
    check("memo:find?term=**", "memo:find?term=x", true, true);
    check("file:///srv/My Docs/**", "file:///srv/My%20Docs/ä", true, true);
    check("file:///srv/My%20Docs/**", "file:///srv/My Docs/ä", true, true);
    check("file:///srv/ä/*", "file:///srv/%C3%A4/x", true, true);
    check("https://h.example:443/**", "https://h.example/x", true, true);
    check("https://h.example", "https://H.example", true, true);
    check("https://*.example/**", "https://h.example/x", true, true);
    check("data:text/plain;base64,*", "data:text/plain;base64,aGk=", true, true);
    let listed = |pattern: &str, uri: &str| UriPattern::parse(pattern).unwrap().grants(uri, true);
    assert!(
        listed("*", "https://h.example/a?b") && listed("https://h.example/**", "https://h.example/a?b#c")
    );
    assert!(!listed("https://h.example/*", "https://h.example/a?b"));
}

#[test]
fn a_pattern_that_can_match_nothing_is_an_error() {
    let check = |text: &str, expect: Option<UriPatternError>| {
        assert_eq!(UriPattern::parse(text).err(), expect, "{text}");
    };
    use UriPatternError::{NoUri, NotGlob};
    for good in
        ["*", "**", "**/*.env", "x://", "file:///", "https://[::1]/{x}?y", "memo:*", "postgres://a@h/**"]
    {
        check(good, None);
    }
    for foreign in ["", "a***", "a[bc]", "{a,b}*", "a?", "**/file?.txt"] {
        check(foreign, Some(NotGlob));
    }
    for wrong in [
        "File:///x",
        "https://A.example/x",
        "file:///a/../b",
        "file:///a/./b",
        "file:///a/",
        "file:///a//b",
        "file:////a",
        "file:/a",
        "**//a",
        "file:///a%2Fb",
        "file:///a%5Cb",
        "file:///a%2A",
        "file:///a%",
        "https://h.example/a?",
        "https://h.example/a#",
        "?x=1",
        "https://0177.1/a",
        "https://0x7f.1../a",
        "https://example.com../a",
        "file://evil/a",
    ] {
        let found = UriPattern::parse(wrong).err();
        assert!(matches!(found, Some(NoUri | NotGlob)), "{wrong}: {found:?}");
    }
}

#[test]
fn hosts_are_read_as_everybody_reads_them() {
    let check = |url: &str, expect: Option<&str>| assert_eq!(host(url).ok().as_deref(), expect, "{url}");
    for (url, expect) in [
        ("https://example.com/a", "example.com"),
        ("HTTPS://Example.COM./a", "example.com"),
        ("https://example.com:8443", "example.com"),
        ("https://example.com?q=http://evil.example/", "example.com"),
        ("https://example.com#@evil.example", "example.com"),
        ("https://example.com?\\@evil.example", "example.com"),
        ("https://user:token@example.com/a.git", "example.com"),
        ("https://good.example@evil.example/", "evil.example"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://[::1]:80/", "[::1]"),
        ("ssh://Git@Host.example/x", "host.example"),
        ("postgres://db_1/x", "db_1"),
        ("https://example.com//a/%2e%2e", "example.com"),
    ] {
        check(url, Some(expect));
    }
    for url in [
        "http://good.example\\@evil.example/",
        "http://good.example\\.evil.example/",
        "http:\\\\evil.example/",
        "http://good.example%2f@evil.example/",
        "http://a@good.example@evil.example/",
        "http://good.example%00.evil.example/",
        "http://good.example%2eevil.example/",
        "http://good\n.example/",
        "http://go\tod.example/",
        " http://good.example/",
        "http://good.example /",
        "http:evil.example",
        "http:/evil.example",
        "http:///evil.example",
        "//evil.example/",
        "evil.example",
        "/srv/a",
        "",
        "file:///srv/a",
        "file://evil/a",
        "http://ｇｏｏｄ.example/",
        "http://good。example/",
        "http://good.example../",
        "http://faß.example/",
        "http://go\u{200d}od.example/",
        "http://0177.0.0.1/",
        "http://127.0.0.010/",
        "http://１２７.0.0.1/",
        "redis://0x7f.1/",
        "redis://2130706433/",
        "redis://%67ood/",
        "mongodb://evil.example,good.example/",
        "http://good.example;evil.example/",
        "http://[::ffff:1.2.3.4%25eth0]/",
        "http://good.example:80:90/",
        "http://good.example:evil/",
        "http://good.example:99999/",
        "http://[good.example]/",
        "memo:x",
    ] {
        check(url, None);
    }
}

#[test]
fn within_tells_or_refuses() {
    let check =
        |path: &str, expect: Option<bool>| assert_eq!(within(path, "/srv/docs").ok(), expect, "{path}");
    for inside in [
        "/srv/docs",
        "/srv/docs/",
        "/srv/docs/a",
        "/srv/docs/../docs/a",
        "/srv//docs/./a",
        "/srv/docs/a%20b",
        "/srv/docs/100%",
        "/srv/docs/%zz",
        "/srv/docs/ä",
        "/srv/docs/a\\b",
    ] {
        check(inside, Some(true));
    }
    for outside in [
        "/srv/docsx",
        "srv/docs/a",
        "",
        "/srv/docs/../x",
        "/srv/docs/..",
        "/etc/a%20b",
        "/etc/a\\b",
        "C:\\srv\\docs",
    ] {
        check(outside, Some(false));
    }
    for unclear in [
        "/../srv/docs/a",
        "/srv/docs/../../../x",
        "/srv/docs/%2e%2e/x",
        "/srv/docs/%252e%252e/x",
        "/srv/docs/%252525252e%252525252e/x",
        "/srv/docs/%2525252525252525252525252e/x",
        "/srv/docs/..%2fx",
        "/srv/docs/a\\..\\..",
        "/srv/docs/a%5c..%5c..",
        "/srv/%64ocs/a",
        "/srv%2fdocs/a",
        "%2fsrv/docs",
        "/srv\\docs\\a",
        "/srv/docs/a\0b",
        "/srv/docs/a%00b",
        "/srv/docs/a\nb",
        "/srv/docs/%ff",
    ] {
        check(unclear, None);
    }
    assert_eq!(within("/srv/My Docs/a", "/srv/My%20Docs"), Ok(true));
    assert_eq!(within("/srv/My%20Docs/a", "/srv/My%20Docs"), Ok(true));
    assert_eq!(within("/a", "/"), Ok(true));
    assert_eq!(within("/a", "relative"), Ok(false));
}

/// A name as an honest agent has it, and one spelling of it: each character plain or encoded.
fn name() -> impl Strategy<Value = (String, String)> {
    let letter = prop_oneof![
        prop::sample::select(vec!["a", "Z", "7", "-", "_", "~", "ä", "漢", " "]).prop_map(str::to_owned),
        prop::sample::select(vec!["a.b", "x.md", "%25-"]).prop_map(str::to_owned),
    ];
    prop::collection::vec((letter, any::<bool>(), any::<bool>()), 1..6).prop_map(|letters| {
        let (mut plain, mut spelled) = (String::from("n"), String::from("n"));
        for (letter, encoded, upper) in letters {
            plain.push_str(&letter);
            match encoded && !letter.contains('%') {
                true => spelled.extend(letter.bytes().map(|byte| match upper {
                    true => format!("%{byte:02X}"),
                    false => format!("%{byte:02x}"),
                })),
                false => spelled.push_str(&letter),
            }
        }
        // White space at the end of a whole URI is refused as it is.
        (format!("{plain}n"), format!("{spelled}n"))
    })
}

/// What stands between two names: nothing, or dots that lead nowhere.
fn detour() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["/", "/./", "/x/../", "/%2e/", "/x/%2E%2e/", "/x/y/../../"])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn matching_does_not_depend_on_the_spelling(
        scheme in prop::sample::select(vec!["file://", "FILE://", "https://h.example", "HTTPS://H.Example:443", "note://Box", "crm+file://"]),
        names in prop::collection::vec((detour(), name()), 1..5),
        query in prop::option::of(name()),
    ) {
        let (mut plain, mut spelled) = (scheme.to_owned(), scheme.to_owned());
        for (detour, (name, other)) in &names {
            plain.push_str(&format!("/{name}"));
            spelled.push_str(&format!("{detour}{other}"));
        }
        if let Some((name, other)) = &query {
            plain.push_str(&format!("?{name}"));
            spelled.push_str(&format!("?{other}"));
        }
        let (one, other) = (Uri::parse(&plain).unwrap(), Uri::parse(&spelled).unwrap());
        prop_assert_eq!(&one, &other);
        prop_assert!(one.doubt().is_none(), "{:?}", one);
        // What goes upstream is read as what was matched.
        prop_assert_eq!(&Uri::parse(one.as_str()).unwrap(), &one);
        // A pattern written in any spelling of the same text matches.
        let written = plain.replacen(scheme, &scheme.to_ascii_lowercase(), 1);
        let pattern = UriPattern::parse(&written).unwrap();
        prop_assert!(pattern.grants(one.as_str(), false), "{pattern:?} {one:?}");
        let path = UriPattern::parse(written.split('?').next().unwrap()).unwrap();
        prop_assert_eq!(path.grants(one.as_str(), false), query.is_none());
        prop_assert!(path.concerns(one.as_str()));
    }

    #[test]
    fn any_text_is_read_once(text in "[a-z]{1,6}:(//)?[a-zA-Z0-9@:/?#%.;+&= \\\\{}*é]{0,40}") {
        let Ok(uri) = Uri::parse(&text) else { return Ok(()) };
        let again = Uri::parse(uri.as_str());
        prop_assert_eq!(again.map(Uri::into_string), Ok(uri.as_str().to_owned()), "{}", text);
    }
}

/// R87: what a glob says of a text with dot segments says nothing of where it leads.
#[test]
fn readings_with_dot_segments_are_none() {
    for text in [
        "..",
        ".",
        "a/../b",
        "./a",
        "/a/..",
        "%2e%2e/a",
        "a%2f..%2fb",
        "a\\..\\b",
        "%252e%252e",
        "..;x/a",
        "a/%2E;v=1/b",
        "%ff",
    ] {
        assert_eq!(plain_readings(text), None, "{text}");
    }
    for text in ["", "a", "a.b", "...", "/a/b", "a..b", "100%", "v1.2", "one ; two", "line\nof ... text"] {
        assert_eq!(plain_readings(text), Some(vec![text.to_owned()]), "{text}");
    }
    assert_eq!(plain_readings("a%252fb").unwrap(), ["a%252fb", "a%2fb", "a/b"]);
}
