//! Block Kit, for an incoming webhook of Slack. Values stand in `code`, escaped as Slack wants it (`&`, `<` and `>`), so that none is a
//! mention, a link or a format; nothing is looked for in the text (`verbatim`, `parse: none`) and no link is previewed.

use super::{Notice, Words, escaped};
use serde_json::{Value, json};

/// Slack's bounds: of a header, of a section's text, of one of its fields, and how many fields it has.
const HEADER: usize = 150;
const TEXT: usize = 3_000;
const FIELD: usize = 2_000;
const FIELDS: usize = 10;

fn plain(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        c => out.push(c),
    }
}

/// In a code span nothing but its end means anything.
fn code(c: char, out: &mut String) {
    match c {
        '`' => out.push('\u{2cb}'),
        c => plain(c, out),
    }
}

fn mrkdwn(text: String) -> Value {
    json!({"type": "mrkdwn", "text": text, "verbatim": true})
}

fn plain_text(text: String) -> Value {
    json!({"type": "plain_text", "text": text, "emoji": false})
}

/// The body of the request.
pub fn message(notice: &Notice) -> Value {
    let Words { title, sentence, rows, arguments, link, foot } = notice.words();
    let title = escaped(&title, HEADER, plain);
    let sentence = escaped(&sentence, TEXT, plain);
    let text = escaped(&format!("{title}: {sentence}"), TEXT, |c, out| out.push(c));
    let mut blocks = vec![
        json!({"type": "header", "text": plain_text(title)}),
        json!({"type": "section", "text": plain_text(sentence)}),
    ];
    for rows in rows.chunks(FIELDS) {
        let field = |(label, value): &(&str, String)| {
            let value = escaped(value, FIELD - label.len() - 10, code);
            mrkdwn(format!("*{label}*\n`{value}`"))
        };
        blocks.push(json!({"type": "section", "fields": rows.iter().map(field).collect::<Vec<_>>()}));
    }
    if let Some(arguments) = arguments {
        let arguments = escaped(&arguments, TEXT - 40, code);
        blocks.push(json!({"type": "section", "text": mrkdwn(format!("*Arguments*\n```{arguments}```"))}));
    }
    if let Some(url) = &notice.link {
        let url = escaped(url, TEXT - 100, plain);
        blocks.push(json!({"type": "section", "text": mrkdwn(format!("*<{url}|{link}>*"))}));
    }
    blocks.push(json!({"type": "context", "elements": [plain_text(escaped(&foot, TEXT, plain))]}));
    json!({"text": text, "blocks": blocks, "mrkdwn": false, "parse": "none", "unfurl_links": false, "unfurl_media": false})
}
