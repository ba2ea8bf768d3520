//! A text as its words are meant: letters that look like Latin ones are those, and what nobody sees is not there.

use crate::redaction::is_hidden;
use icu_normalizer::ComposingNormalizerBorrowed;

/// In lower case, in compatibility form, without hidden characters, with runs of white space as one space. `latin`: letters of
/// other scripts that look like Latin ones become those. Gives for each byte of it the byte of the text that it comes from.
pub(super) fn plain(text: &str, latin: bool) -> (String, Vec<u32>) {
    let normal = ComposingNormalizerBorrowed::new_nfkc();
    let mut out = String::with_capacity(text.len());
    let mut from = Vec::with_capacity(text.len());
    let mut push = |c: char, place: usize, out: &mut String| {
        out.push(c);
        from.resize(out.len(), u32::try_from(place).unwrap_or(u32::MAX));
    };
    let mut blank = true;
    for (place, c) in text.char_indices() {
        if c == '\n' {
            // A line's end ends a sentence.
            push('\n', place, &mut out);
            blank = true;
        } else if c.is_whitespace() {
            if !blank {
                push(' ', place, &mut out);
            }
            blank = true;
        } else if c.is_ascii() {
            if !c.is_ascii_control() {
                push(c.to_ascii_lowercase(), place, &mut out);
                blank = false;
            }
        } else if !is_hidden(c) {
            blank = false;
            let mut buffer = [0; 4];
            let normalized = normal.normalize(c.encode_utf8(&mut buffer));
            for c in normalized.chars().flat_map(char::to_lowercase) {
                push(if latin { as_latin(c).unwrap_or(c) } else { c }, place, &mut out);
            }
        }
    }
    (out, from)
}

/// The Latin letter that a letter looks like: of Cyrillic, Greek, Armenian and the like, and with marks.
pub(super) fn as_latin(c: char) -> Option<char> {
    Some(match c {
        'а' | 'ɑ' | 'α' | 'à' | 'á' | 'â' | 'ã' | 'ä' | 'å' | 'ā' => 'a',
        'в' | 'ь' | 'β' => 'b',
        'с' | 'ϲ' | 'ç' | 'ć' | 'č' => 'c',
        'ԁ' | 'ɗ' => 'd',
        'е' | 'ё' | 'є' | 'ε' | 'è' | 'é' | 'ê' | 'ë' | 'ē' | 'ę' => 'e',
        'ғ' => 'f',
        'ɡ' | 'ց' => 'g',
        'һ' | 'հ' | 'н' => 'h',
        'і' | 'ї' | 'ι' | 'ı' | 'ì' | 'í' | 'î' | 'ï' => 'i',
        'ј' | 'ϳ' => 'j',
        'к' | 'κ' => 'k',
        'ӏ' | 'ⅼ' | 'ł' => 'l',
        'м' => 'm',
        'п' | 'ո' | 'η' | 'ñ' | 'ń' => 'n',
        'о' | 'ο' | 'օ' | 'σ' | 'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => 'o',
        'р' | 'ρ' => 'p',
        'ԛ' => 'q',
        'г' => 'r',
        'ѕ' | 'ś' | 'š' => 's',
        'т' | 'τ' => 't',
        'υ' | 'ս' | 'ù' | 'ú' | 'û' | 'ü' => 'u',
        'ѵ' | 'ν' => 'v',
        'ԝ' | 'ω' => 'w',
        'х' | 'χ' => 'x',
        'у' | 'ү' | 'γ' | 'ý' => 'y',
        'ᴢ' | 'ž' | 'ż' => 'z',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_they_look_like() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text, true).0, expect);
        check("IGNORE  all\tPrevious", "ignore all previous");
        check("іgnоre", "ignore");
        check("ｉｇｎｏｒｅ", "ignore");
        check("ig\u{200b}no\u{ad}re", "ignore");
        check("𝐢𝐠𝐧𝐨𝐫𝐞", "ignore");
        check("line\n  two", "line\ntwo");
        let (text, from) = plain("é\u{200b}x", false);
        assert_eq!((text.as_str(), from), ("éx", vec![0, 0, 5]));
    }
}
