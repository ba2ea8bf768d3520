//! Results of tests as JUnit XML, which build servers read.

use std::fmt::{self, Write};

/// One test.
pub(super) struct Case<'c> {
    /// The file that it stands in.
    pub(super) file: &'c str,
    pub(super) name: &'c str,
    /// What went wrong, where it failed.
    pub(super) failure: Option<&'c str>,
}

/// The whole document: one suite for each file, in the order of the cases.
pub(super) fn document(cases: &[Case<'_>]) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // Writing to a String cannot fail.
    suites(cases, &mut out).unwrap_or_default();
    out
}

fn suites(cases: &[Case<'_>], out: &mut String) -> fmt::Result {
    let failed = |cases: &[Case<'_>]| cases.iter().filter(|case| case.failure.is_some()).count();
    writeln!(
        out,
        "<testsuites name=\"tollgate policy test\" tests=\"{}\" failures=\"{}\">",
        cases.len(),
        failed(cases)
    )?;
    for suite in cases.chunk_by(|a, b| a.file == b.file) {
        let file = escaped(suite.first().map_or("", |case| case.file));
        let (tests, failures) = (suite.len(), failed(suite));
        writeln!(out, "  <testsuite name=\"{file}\" tests=\"{tests}\" failures=\"{failures}\">")?;
        for case in suite {
            write!(out, "    <testcase classname=\"{file}\" name=\"{}\"", escaped(case.name))?;
            match case.failure {
                None => writeln!(out, "/>")?,
                Some(failure) => {
                    let first = escaped(failure.lines().next().unwrap_or_default());
                    writeln!(out, ">")?;
                    writeln!(out, "      <failure message=\"{first}\">{}</failure>", escaped(failure))?;
                    writeln!(out, "    </testcase>")?;
                }
            }
        }
        writeln!(out, "  </testsuite>")?;
    }
    writeln!(out, "</testsuites>")
}

/// Text and attributes alike. What XML 1.0 cannot hold at all becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            plain => out.push(plain),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_well_formed_whatever_the_names_hold() {
        let cases = [
            Case { file: "a.yaml", name: "plain", failure: None },
            Case {
                file: "a.yaml",
                name: "<&\"'> \u{1}",
                failure: Some("decision: expected 'a' < b\nsecond"),
            },
            Case { file: "b.yaml", name: "other", failure: None },
        ];
        insta::assert_snapshot!(document(&cases), @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="tollgate policy test" tests="3" failures="1">
          <testsuite name="a.yaml" tests="2" failures="1">
            <testcase classname="a.yaml" name="plain"/>
            <testcase classname="a.yaml" name="&lt;&amp;&quot;&apos;&gt; �">
              <failure message="decision: expected &apos;a&apos; &lt; b">decision: expected &apos;a&apos; &lt; b&#10;second</failure>
            </testcase>
          </testsuite>
          <testsuite name="b.yaml" tests="1" failures="0">
            <testcase classname="b.yaml" name="other"/>
          </testsuite>
        </testsuites>
        "#);
    }
}
