//! Mail: as text and as HTML, which loads nothing from anywhere.

use super::{About, Notice, Words, escaped};

const SUBJECT: usize = 200;
const LONGEST: usize = 4_000;

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// One line.
    pub subject: String,
    /// As text.
    pub text: String,
    /// As HTML.
    pub html: String,
}

fn as_is(c: char, out: &mut String) {
    out.push(c);
}

fn html(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    }
}

/// What is written; mails about one ask have one subject, so that they stay together where a client goes by that.
pub fn letter(notice: &Notice) -> Letter {
    let Words { title, sentence, rows, arguments, link, foot } = notice.words();
    let subject = match &notice.about {
        About::Ask(ask) => {
            let first = format!(
                "[Tollgate {}] Approval: {} wants {}",
                super::name(&notice.environment),
                super::name(&ask.agent),
                super::name(&ask.tool)
            );
            if ask.stage == super::Stage::Asked { first } else { format!("Re: {first}") }
        }
        About::Alert(_) | About::Sample { .. } => format!("[Tollgate] {title}"),
    };
    let mut text = format!("{title}\n\n{sentence}\n\n");
    for (label, value) in &rows {
        text.push_str(&format!("{label}: {value}\n"));
    }
    if let Some(arguments) = &arguments {
        text.push_str(&format!("\nArguments:\n{arguments}\n"));
    }
    if let Some(url) = &notice.link {
        text.push_str(&format!("\n{link}:\n{url}\n"));
    }
    text.push_str(&format!("\n{foot}\n"));
    let safe = |text: &str| escaped(text, LONGEST, html);
    let cells: String = rows
        .iter()
        .map(|(label, value)| {
            format!(
                "<tr><th align=\"left\" valign=\"top\" style=\"padding:2px 12px 2px 0\">{label}</th><td>{}</td></tr>\n",
                safe(value)
            )
        })
        .collect();
    let table = if cells.is_empty() { cells } else { format!("<table>\n{cells}</table>\n") };
    let arguments = arguments.as_deref().map(safe).map_or_else(String::new, |arguments| {
        format!("<p><b>Arguments</b></p>\n<pre style=\"white-space:pre-wrap\">{arguments}</pre>\n")
    });
    let button = notice.link.as_deref().map(safe).map_or_else(String::new, |url| {
        format!(
            "<p><a href=\"{url}\" style=\"display:inline-block;padding:10px 16px;background:#1f5fbf;color:#ffffff;\
             text-decoration:none;border-radius:6px\">{link}</a></p>\n"
        )
    });
    let html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"></head>\n\
         <body style=\"font-family:sans-serif\">\n<h2>{}</h2>\n<p>{}</p>\n{table}{arguments}{button}<p><small>{}</small></p>\n</body></html>\n",
        safe(&title),
        safe(&sentence),
        safe(&foot)
    );
    Letter { subject: escaped(&subject, SUBJECT, as_is), text, html }
}
