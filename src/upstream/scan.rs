//! Which call an answer belongs to that is too large to be held, or cannot be read.

/// Finds the number under the top-level key `id` of a JSON object that is never held whole. A message with a `method` is
/// no answer: its id is the upstream's own.
#[derive(Debug, Default)]
pub(super) struct IdScan {
    depth: u32,
    in_string: bool,
    escaped: bool,
    /// The text of the current top-level string, as far as it matters.
    word: Vec<u8>,
    /// A value follows the key `id`.
    awaits: bool,
    id: Option<Vec<u8>>,
    /// It has a `method`, or two ids.
    is_other: bool,
}

impl IdScan {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.step(*byte);
        }
    }

    fn step(&mut self, byte: u8) {
        if self.in_string {
            match byte {
                _ if std::mem::take(&mut self.escaped) => {}
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            if self.depth == 1 && self.in_string && self.word.len() < 24 {
                self.word.push(byte);
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.word.clear();
            }
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.finish();
            }
            b':' if self.depth == 1 => {
                self.awaits = self.word == b"id";
                self.is_other |= self.word == b"method";
                self.word.clear();
            }
            b',' if self.depth == 1 => self.finish(),
            b'0'..=b'9' if self.depth == 1 && self.awaits && self.word.len() < 24 => self.word.push(byte),
            _ => {}
        }
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.awaits) {
            let word = std::mem::take(&mut self.word);
            self.is_other |= self.id.replace(word).is_some();
        }
    }

    pub(super) fn id(&self) -> Option<u64> {
        let id = self.id.as_ref().filter(|_| !self.is_other)?;
        std::str::from_utf8(id).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_wherever_it_stands() {
        let check = |text: &str, expect: Option<u64>| {
            let mut scan = IdScan::default();
            for chunk in text.as_bytes().chunks(3) {
                scan.push(chunk);
            }
            assert_eq!(scan.id(), expect, "{text}");
        };
        check(r#"{"jsonrpc":"2.0","id":17,"result":{"id":4,"x":"\"id\":5"}}"#, Some(17));
        check(r#"{"result":{"id":4,"a":[{"id":9}]},"jsonrpc":"2.0","id":3}"#, Some(3));
        check(r#"{"x":"id","result":{},"id": "12" }"#, Some(12));
        check(r#"{"x":"\",\"id\":1","y":[],"id":8"#, None);
        check(r#"{"id":4,"result":{"method":1},"x":"method"}"#, Some(4));
        check(r#"{"id":4,"method":"ping"}"#, None);
        check(r#"{"id":4,"result":{},"id":5}"#, None);
        check("rubbish", None);
    }
}
