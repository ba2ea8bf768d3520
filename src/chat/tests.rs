//! What each format makes of an ask, held to what its service publishes: lengths, the schema of cards, and that nothing an agent wrote
//! means anything there.

use super::*;
use serde_json::{Map, json};

fn ask(stage: Stage) -> Ask {
    Ask {
        stage,
        id: "0199a3f2-0000-7000-8000-000000000001".into(),
        agent: "planner-01".into(),
        user: Some("erin".into()),
        workflow: Some("wf-123".into()),
        tool: "files__write_file".into(),
        upstream: "files".into(),
        risk: Risk { changes: true, destructive: false, open_world: true },
        masked: true,
        policy: "prod-safety-gate".into(),
        rule: Some("production".into()),
        reason: "Changes in production need a person".into(),
        arguments: Some(json!({"path": "/srv/a.md", "note": "[redacted:email:17]"})),
        cost: Some("0.25".into()),
        approvers: vec!["platform-lead".into(), "security-team".into()],
        expires_at: "2026-11-30T22:30:00Z".parse().unwrap(),
    }
}

fn told(about: About) -> Notice {
    let link = Some("https://tollgate.example/ask/AbC-_9".to_owned());
    Notice { environment: "production".into(), link, about }
}

fn asked() -> Notice {
    told(About::Ask(Box::new(ask(Stage::Asked))))
}

/// All that an agent, an upstream or a rule may say, at its worst.
fn hostile(worst: &str) -> Notice {
    let mut one = ask(Stage::Escalated { why: worst.repeat(400) });
    let long = worst.repeat(2_000);
    for place in [&mut one.agent, &mut one.tool, &mut one.upstream, &mut one.policy, &mut one.reason] {
        place.clone_from(&long);
    }
    (one.user, one.workflow, one.rule) = (Some(long.clone()), Some(long.clone()), Some(long.clone()));
    one.approvers = vec![long.clone(); 50];
    let members: Map<String, Value> =
        (0..100).map(|n| (format!("{n}{worst}"), json!([long, {"deep": [[[[[1]]]]]}]))).collect();
    one.arguments = Some(Value::Object(members));
    told(About::Ask(Box::new(one)))
}

const WORST: [&str; 9] = [
    "<!channel> <@U123> <https://evil.example|click> &amp; ",
    "`code` *bold* _it_ ~no~ ```",
    "[click](https://evil.example) **b** {{DATE(2026-01-01T00:00:00Z,SHORT)}} <at>all</at> ",
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"' ",
    "a\r\nBcc: everybody@evil.example\r\n\r\nhello ",
    "abc\u{202e}dcba\u{200b}\u{2066}x\u{e0041} ",
    "😀🧑‍🤝‍🧑",
    "\u{0}\u{1b}[31m\u{7f}",
    "{",
];

/// Every text of a value, with the name of its member.
fn texts(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, value)| match value {
                Value::String(text) => vec![(name.clone(), text.clone())],
                other => texts(other),
            })
            .collect(),
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn notices() -> Vec<Notice> {
    let stages = [
        Stage::Asked,
        Stage::Escalated { why: "nobody has decided within its workflow's approval SLA of 15m".into() },
        Stage::Answered { by: "alice".into() },
        Stage::Approved { by: "alice".into() },
        Stage::Rejected { by: "alice".into() },
        Stage::Expired,
        Stage::Withdrawn { why: "a standing grant lets the call through".into() },
    ];
    let alert = Alert {
        id: "alert-5f0c".into(),
        kind: "deny_rate".into(),
        severity: "high".into(),
        reason: "40% of the calls of planner-01 are refused".into(),
        about: vec![("Agent", "planner-01".into())],
    };
    let mut all: Vec<Notice> =
        stages.into_iter().map(|stage| told(About::Ask(Box::new(ask(stage))))).collect();
    all.push(told(About::Alert(alert)));
    all.push(told(About::Sample { webhook: "leads".into() }));
    all.push(Notice { link: None, ..asked() });
    all.extend(WORST.map(hostile));
    all
}

/// R97. The bounds that Slack publishes for Block Kit, whatever is told.
#[test]
fn slack_messages_keep_to_block_kit() {
    for notice in notices() {
        let message = slack_message(&notice);
        let blocks = message["blocks"].as_array().unwrap();
        assert!((1..=50).contains(&blocks.len()));
        assert!((1..=3_000).contains(&units(message["text"].as_str().unwrap())));
        for block in blocks {
            let text = block["text"]["text"].as_str().map(units);
            match block["type"].as_str().unwrap() {
                "header" => {
                    assert_eq!(block["text"]["type"], "plain_text");
                    assert!((1..=150).contains(&text.unwrap()), "{block}");
                }
                "section" => {
                    assert!(text.is_none_or(|text| (1..=3_000).contains(&text)), "{block}");
                    let fields = block["fields"].as_array();
                    assert!(text.is_some() || fields.is_some());
                    for field in fields.into_iter().flatten() {
                        assert!((1..=2_000).contains(&units(field["text"].as_str().unwrap())));
                    }
                    assert!(fields.is_none_or(|fields| (1..=10).contains(&fields.len())));
                }
                "context" => assert!(block["elements"].as_array().unwrap().len() <= 10),
                other => panic!("{other}"),
            }
        }
        // Slack reads nothing out of a text, and asks nobody for the link.
        let quiet = [("parse", json!("none")), ("unfurl_links", json!(false)), ("mrkdwn", json!(false))];
        assert!(quiet.iter().all(|(name, value)| message[*name] == *value));
    }
}

/// What Slack would read as a mention, a link or a format is escaped, or stands in code; the one link is ours.
#[test]
fn nothing_of_an_agent_means_anything_to_slack() {
    for worst in WORST {
        let message = slack_message(&hostile(worst));
        for (name, text) in texts(&message) {
            let ours = text.replace("<https://tollgate.example/ask/AbC-_9|Open this ask>", "");
            assert!(!ours.contains(['<', '>']), "{name}: {ours}");
            for part in ours.split('&').skip(1) {
                assert!(["amp;", "lt;", "gt;"].iter().any(|entity| part.starts_with(entity)), "{part}");
            }
            assert!(!text.chars().any(|c| c != '\n' && crate::redaction::is_hidden(c)), "{text:?}");
        }
        // A value in code cannot end it.
        let is_field = |(_, text): &(String, String)| text.starts_with("*Agent*");
        let all = texts(&message);
        let field = all.iter().find(|one| is_field(one)).unwrap();
        assert_eq!(field.1.matches('`').count(), 2, "{}", field.1);
    }
}

fn card_schema() -> jsonschema::Validator {
    let text = include_str!("../../tests/fixtures/adaptive-card-1.5.0/adaptive-card.json");
    let schema: Value = serde_json::from_str(text).unwrap();
    jsonschema::options().with_draft(jsonschema::Draft::Draft6).build(&schema).unwrap()
}

/// R97. Cards keep to the schema that Microsoft publishes for 1.5, and to the size that Teams takes.
#[test]
fn teams_messages_are_adaptive_cards() {
    let schema = card_schema();
    for notice in notices() {
        let message = teams_message(&notice);
        assert_eq!(message["type"], "message");
        assert_eq!(message["attachments"].as_array().unwrap().len(), 1);
        let attachment = &message["attachments"][0];
        assert_eq!(attachment["contentType"], "application/vnd.microsoft.card.adaptive");
        let card = &attachment["content"];
        assert_eq!(card["version"], "1.5");
        let wrong: Vec<String> = schema.iter_errors(card).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(message.to_string().len() < 28_000, "{}", message.to_string().len());
    }
    // The schema finds what is wrong.
    let mut card = teams_message(&asked())["attachments"][0]["content"].clone();
    card["actions"][0]["type"] = "Action.Opens".into();
    assert!(!schema.is_valid(&card));
}

/// Values stand in runs, which know no Markdown; and no function of a card begins anywhere.
#[test]
fn nothing_of_an_agent_means_anything_to_teams() {
    for worst in WORST {
        let card = teams_message(&hostile(worst))["attachments"][0]["content"].clone();
        for (name, text) in texts(&card) {
            assert!(!text.contains("{{") && !text.contains("}}"), "{name}: {text}");
            assert!(!text.chars().any(crate::redaction::is_hidden), "{text:?}");
        }
        for item in card["body"].as_array().unwrap() {
            let markdown = item["type"] == "TextBlock";
            assert!(!markdown || item["text"].as_str().unwrap().starts_with("The link opens"), "{item}");
        }
        assert_eq!(
            card["actions"],
            json!([{"type": "Action.OpenUrl", "title": "Open this ask", "url": "https://tollgate.example/ask/AbC-_9"}])
        );
    }
}

/// R97. The bounds that PagerDuty publishes; an incident begins with an ask and ends with it, under one key.
#[test]
fn pagerduty_events_begin_and_end_an_incident() {
    let event = |stage: Stage| pagerduty_event(&told(About::Ask(Box::new(ask(stage)))));
    let trigger = event(Stage::Asked).unwrap();
    assert_eq!(
        (&trigger["event_action"], &trigger["payload"]["severity"]),
        (&json!("trigger"), &json!("warning"))
    );
    let late = event(Stage::Escalated { why: "late".into() }).unwrap();
    assert_eq!((&late["dedup_key"], &late["payload"]["severity"]), (&trigger["dedup_key"], &json!("error")));
    for over in [
        Stage::Approved { by: "a".into() },
        Stage::Rejected { by: "a".into() },
        Stage::Expired,
        Stage::Withdrawn { why: "w".into() },
    ] {
        let over = event(over).unwrap();
        assert_eq!(over, json!({"event_action": "resolve", "dedup_key": trigger["dedup_key"]}));
    }
    assert_eq!(event(Stage::Answered { by: "a".into() }), None);
    for notice in notices() {
        let Some(event) = pagerduty_event(&notice) else { continue };
        assert!(event["dedup_key"].as_str().unwrap().len() <= 255);
        if event["event_action"] == "trigger" {
            let payload = &event["payload"];
            assert!((1..=1_024).contains(&units(payload["summary"].as_str().unwrap())));
            assert!(
                ["critical", "error", "warning", "info"].contains(&payload["severity"].as_str().unwrap())
            );
            assert!(!payload["source"].as_str().unwrap().is_empty());
            assert!(event.to_string().len() < 512 * 1024);
            // A pager is told who and what, and no argument.
            assert!(!event.to_string().contains("/srv/a.md"));
        }
    }
}

/// R97. A subject is one line, and HTML holds no markup but ours, which loads nothing.
#[test]
fn mail_is_text_and_html() {
    for notice in notices() {
        let letter = letter(&notice);
        assert!(units(&letter.subject) <= 201);
        assert!(!letter.subject.chars().any(crate::redaction::is_hidden), "{:?}", letter.subject);
        let shown = |c: char| c == '\n' || !crate::redaction::is_hidden(c);
        assert!(letter.text.chars().all(shown) && letter.html.chars().all(shown));
        for part in letter.html.split('<').skip(1) {
            let tag = part.split(['>', ' ']).next().unwrap().trim_start_matches('/').to_owned();
            let ours = [
                "!doctype", "html", "head", "meta", "body", "h2", "p", "table", "tr", "th", "td", "b", "pre",
                "a", "small",
            ];
            assert!(ours.contains(&tag.as_str()), "{part}");
        }
        assert!(letter.html.matches("href=").count() <= 1);
    }
    let first = letter(&asked());
    let last = letter(&told(About::Ask(Box::new(ask(Stage::Approved { by: "alice".into() })))));
    assert_eq!(last.subject, format!("Re: {}", first.subject));
    assert!(first.text.contains("https://tollgate.example/ask/AbC-_9") && first.text.contains("/srv/a.md"));
    assert!(!last.text.contains("/ask/") || last.text.contains("Open the page"));
}

/// Without an address the message says how the ask is found.
#[test]
fn without_a_page_the_id_leads_there() {
    let notice = Notice { link: None, ..asked() };
    let texts = [
        slack_message(&notice).to_string(),
        teams_message(&notice).to_string().replace('\\', ""),
        letter(&notice).text,
        pagerduty_event(&notice).unwrap().to_string(),
    ];
    for text in texts {
        assert!(
            text.contains("tollgate approvals show") && text.contains("0199a3f2-0000-7000-8000-000000000001"),
            "{text}"
        );
        assert!(!text.contains("https://tollgate"), "{text}");
    }
}

#[test]
fn a_message_of_each_format_as_it_goes() {
    insta::assert_json_snapshot!("slack", slack_message(&asked()));
    insta::assert_json_snapshot!("teams", teams_message(&asked()));
    insta::assert_json_snapshot!("pagerduty", pagerduty_event(&asked()));
    let letter = letter(&asked());
    insta::assert_snapshot!("mail", format!("{}\n\n{}\n\n{}", letter.subject, letter.text, letter.html));
}
