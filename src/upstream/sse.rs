//! Server-sent events, read as they come and never beyond a bound.

use std::time::Duration;

/// One event with its last id and whatever `retry` came with it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) data: Vec<u8>,
    pub(super) id: Option<String>,
}

/// One event grew beyond the bound.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// The incremental reader.
#[derive(Debug)]
pub(super) struct Parser {
    limit: usize,
    pending: Vec<u8>,
    /// Up to where `pending` has been cut into lines.
    start: usize,
    /// Up to where `pending` holds no line end.
    scanned: usize,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
    retry: Option<Duration>,
    begun: bool,
}

impl Parser {
    pub(super) fn new(limit: u64) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            pending: Vec::new(),
            start: 0,
            scanned: 0,
            data: Vec::new(),
            has_data: false,
            id: None,
            retry: None,
            begun: false,
        }
    }

    /// The last `retry` that was sent.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes what came from the network.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.pending.drain(..self.start);
            self.scanned = self.scanned.saturating_sub(self.start);
            self.start = 0;
        }
        self.pending.extend_from_slice(bytes);
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if !self.begun && self.pending.len() >= MARK.len() {
            self.begun = true;
            if self.pending.starts_with(MARK) {
                self.start = MARK.len();
                self.scanned = MARK.len();
            }
        }
    }

    /// The next whole event, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Event>, TooLong> {
        while let Some((from, to, after)) = self.line() {
            self.start = after;
            self.scanned = after;
            let line = self.pending.get(from..to).unwrap_or_default();
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Ok(Some(event));
                }
                continue;
            }
            let split = line.iter().position(|b| *b == b':').unwrap_or(line.len());
            let (name, rest) = line.split_at_checked(split).unwrap_or((line, &[]));
            let value = rest.strip_prefix(b":").unwrap_or(rest);
            let value = value.strip_prefix(b" ").unwrap_or(value);
            match name {
                b"data" => {
                    if self.data.len().saturating_add(value.len()) > self.limit {
                        return Err(TooLong);
                    }
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                b"id" => {
                    if value.len() <= 1024 && !value.contains(&0) {
                        self.id = String::from_utf8(value.to_vec()).ok();
                    }
                }
                b"retry" => {
                    let text = std::str::from_utf8(value).unwrap_or_default();
                    if text.bytes().all(|b| b.is_ascii_digit()) {
                        self.retry = text.parse().ok().map(Duration::from_millis).or(self.retry);
                    }
                }
                _ => {}
            }
        }
        if self.pending.len().saturating_sub(self.start) > self.limit.saturating_add(64) {
            return Err(TooLong);
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Option<Event> {
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        (has_data || self.id.is_some()).then(|| Event { data, id: self.id.clone() })
    }

    /// Start and end of the next line without its end, and where the one after begins. A CR that is the last
    /// byte so far waits for what follows it, lest a CRLF count twice.
    fn line(&mut self) -> Option<(usize, usize, usize)> {
        let begin = self.scanned.max(self.start);
        let tail = self.pending.get(begin..)?;
        let Some(offset) = tail.iter().position(|b| *b == b'\n' || *b == b'\r') else {
            self.scanned = self.pending.len();
            return None;
        };
        let end = begin + offset;
        self.scanned = end;
        match (self.pending.get(end), self.pending.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => Some((self.start, end, end + 2)),
            (Some(b'\r'), None) => None,
            (Some(_), _) => Some((self.start, end, end + 1)),
            (None, _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<(String, Option<String>)> {
        let mut parser = Parser::new(100);
        let mut found = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(event) = parser.next().unwrap() {
                found.push((String::from_utf8(event.data).unwrap(), event.id));
            }
        }
        found
    }

    #[test]
    fn events_are_the_same_however_the_bytes_are_cut() {
        let text: &[u8] = b"\xef\xbb\xbf: hi\r\nid: 7\r\ndata: a\r\ndata:b\r\n\r\ndata\n\nevent: x\rdata: c\r\r\nretry: 5\n\nx";
        let whole = read(&[text]);
        assert_eq!(whole.first(), Some(&("a\nb".to_owned(), Some("7".to_owned()))));
        assert_eq!(whole.get(1), Some(&(String::new(), Some("7".to_owned()))));
        assert_eq!(whole.get(2).map(|e| e.0.as_str()), Some("c"));
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        let with_data = |events: Vec<(String, Option<String>)>| -> Vec<String> {
            events.into_iter().map(|e| e.0).filter(|d| !d.is_empty()).collect()
        };
        assert_eq!(with_data(read(&bytes)), with_data(whole));
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut parser = Parser::new(100);
        parser.push(&[b'a'; 200]);
        assert_eq!(parser.next(), Err(TooLong));
        let mut parser = Parser::new(100);
        parser.push(&b"data: 0123456789012345678901234567890123456789\n".repeat(4));
        assert_eq!(parser.next(), Err(TooLong));
    }

    #[test]
    fn retry_is_kept() {
        let mut parser = Parser::new(100);
        parser.push(b"retry: 1500\n\nretry: x\n\n");
        assert_eq!(parser.next(), Ok(None));
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
    }
}
