//! A document as one HTML page: it loads nothing, runs nothing, prints well, and is light or dark as the reader's system is.

use super::sections::{Block, Section};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c1e21;--soft:#5b626b;--line:#d5d9de;--paper:#fff;--stripe:#f5f6f8;--bar:#2f6fb3}\
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a0a8b2;--line:#3a4048;--paper:#16181b;--stripe:#1e2125;--bar:#6aa8e8}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:70rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;margin:.8rem 0;width:100%}\
th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line);overflow-wrap:anywhere}\
th{color:var(--soft);font-weight:600}td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\
tbody tr:nth-child(even){background:var(--stripe)}td.bar{color:var(--bar);white-space:nowrap}\
@media print{:root{color-scheme:light;--ink:#000;--soft:#333;--line:#999;--paper:#fff;--stripe:#fff;--bar:#000}\
body{font-size:10pt;margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}.wide{overflow:visible}}";

/// The whole page.
pub(super) fn document(title: &str, sections: &[Section]) -> String {
    let title = escaped(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    for Section { title, blocks } in sections {
        out.push_str(&format!("<section>\n<h2>{}</h2>\n", escaped(title)));
        for block in blocks {
            match block {
                Block::Line(line) => out.push_str(&format!("<p>{}</p>\n", escaped(line))),
                Block::List(lines) => {
                    out.push_str("<ul>\n");
                    lines.iter().for_each(|line| out.push_str(&format!("<li>{}</li>\n", escaped(line))));
                    out.push_str("</ul>\n");
                }
                Block::Table { head, rows } => table(&mut out, head, rows),
            }
        }
        out.push_str("</section>\n");
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn table(out: &mut String, head: &[(&str, bool)], rows: &[Vec<String>]) {
    out.push_str("<div class=\"wide\"><table>\n<thead><tr>");
    for (name, number) in head {
        let class = if *number { " class=\"number\"" } else { "" };
        out.push_str(&format!("<th scope=\"col\"{class}>{}</th>", escaped(name)));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for (cell, (_, number)) in row.iter().zip(head) {
            let class = match (number, cell.starts_with('█')) {
                (true, _) => " class=\"number\"",
                // What it shows stands beside it in figures.
                (false, true) => " class=\"bar\" aria-hidden=\"true\"",
                (false, false) => "",
            };
            out.push_str(&format!("<td{class}>{}</td>", escaped(cell)));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table></div>\n");
}

/// Text in which no character is markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let hostile = "</td><script>alert('x')</script>\" onload=\"y & z";
        let blocks = vec![
            Block::Line(hostile.to_owned()),
            Block::List(vec![hostile.to_owned()]),
            Block::Table { head: vec![("a", false)], rows: vec![vec![hostile.to_owned()]] },
        ];
        let page = document(hostile, &[Section { title: "s", blocks }]);
        assert!(!page.contains("<script") && !page.contains("onload=\""), "{page}");
        assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 5, "{page}");
    }
}
