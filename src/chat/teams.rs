//! An Adaptive Card 1.5 in the envelope that a workflow of Teams takes. Values are runs of a rich text block, in which no Markdown counts;
//! what stands in a text block is escaped, and no text holds a date function.

use super::{Notice, Words, escaped};
use serde_json::{Value, json};

const TITLE: usize = 200;
const TEXT: usize = 2_000;
const LONGEST: usize = 4_000;

/// `{{` begins a function of a card wherever it stands: no brace stands beside one of its kind.
fn without_functions(text: &str, most: usize) -> String {
    let mut apart = String::with_capacity(text.len());
    let mut before = ' ';
    for c in text.chars() {
        if c == before && matches!(c, '{' | '}') {
            apart.push(' ');
        }
        apart.push(c);
        before = c;
    }
    escaped(&apart, most, |c, out| out.push(c))
}

/// Markdown, as text blocks read it.
fn markdown(c: char, out: &mut String) {
    if "\\`*_{}[]()<>#+-.!|~&".contains(c) {
        out.push('\\');
    }
    out.push(c);
}

fn block(runs: &[Value]) -> Value {
    json!({"type": "RichTextBlock", "inlines": runs})
}

/// The body of the request.
pub fn message(notice: &Notice) -> Value {
    let Words { title, sentence, rows, arguments, link, foot } = notice.words();
    let title_run = json!({
        "type": "TextRun",
        "text": without_functions(&title, TITLE),
        "weight": "bolder",
        "size": "large"
    });
    let plain = |text: &str, most: usize| json!({"type": "TextRun", "text": without_functions(text, most)});
    let mut body = vec![block(&[title_run]), block(&[plain(&sentence, TEXT)])];
    for (label, value) in &rows {
        let label = json!({"type": "TextRun", "text": format!("{label}: "), "weight": "bolder"});
        body.push(block(&[label, plain(value, TEXT)]));
    }
    if let Some(arguments) = &arguments {
        let label = json!({"type": "TextRun", "text": "Arguments", "weight": "bolder"});
        body.push(block(&[label]));
        let lines = arguments.lines().map(|line| {
            // What is not a run keeps no space at the beginning of a line.
            let line = without_functions(&line.replace("  ", "\u{a0}\u{a0}"), LONGEST);
            block(&[json!({"type": "TextRun", "text": line, "fontType": "monospace", "size": "small"})])
        });
        body.push(json!({"type": "Container", "style": "emphasis", "items": lines.collect::<Vec<_>>()}));
    }
    body.push(json!({
        "type": "TextBlock",
        "text": escaped(&foot, LONGEST, markdown),
        "wrap": true,
        "isSubtle": true,
        "size": "small"
    }));
    let mut card = json!({
        "type": "AdaptiveCard",
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "version": "1.5",
        "fallbackText": without_functions(&format!("{title}: {sentence}"), TEXT),
        "body": body,
    });
    if let (Some(url), Some(card)) = (&notice.link, card.as_object_mut()) {
        let action = json!({"type": "Action.OpenUrl", "title": link, "url": url});
        card.insert("actions".to_owned(), json!([action]));
    }
    let attachment = json!({
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": null,
        "content": card,
    });
    json!({"type": "message", "attachments": [attachment]})
}
