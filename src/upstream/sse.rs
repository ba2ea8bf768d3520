//! Server-sent events, read as they come and never beyond a bound.

use super::scan::IdScan;
use std::time::Duration;

/// What an event is by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    /// Without a name, or `message`.
    #[default]
    Message,
    /// `endpoint` (2024-11-05).
    Endpoint,
    /// `ping`, `keepalive` and whatever else: no message, whatever its data looks like.
    Other,
}

impl Kind {
    fn named(name: &[u8]) -> Self {
        match name {
            b"" | b"message" => Self::Message,
            b"endpoint" => Self::Endpoint,
            _ => Self::Other,
        }
    }
}

/// One event with its last id.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) data: Vec<u8>,
    pub(super) id: Option<String>,
    pub(super) kind: Kind,
    /// It was beyond the bound and is not here; whom it would have answered, where that can be told.
    pub(super) skipped: Option<Option<u64>>,
}

impl Event {
    /// What of it is to be read as a message; nothing where it is none.
    pub(super) fn message(&self) -> Option<&[u8]> {
        let is_message = self.kind == Kind::Message && !self.data.iter().all(u8::is_ascii_whitespace);
        is_message.then_some(self.data.as_slice())
    }
}

/// One event grew beyond the bound. Who reads on skips it, and is told of it again at its end.
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
    kind: Kind,
    /// An event beyond the bound is read away.
    skipping: Option<IdScan>,
    /// Of the line that is being skipped the beginning is gone.
    cut: bool,
    id: Option<String>,
    retry: Option<Duration>,
    begun: bool,
    /// Bytes that were no data of an event.
    idle: usize,
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
            kind: Kind::default(),
            skipping: None,
            cut: false,
            id: None,
            retry: None,
            begun: false,
            idle: 0,
        }
    }

    /// The last `retry` that was sent.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// How many bytes were no data of an event: comments, ids, empty lines, and what was skipped.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// The same, counted from zero again.
    pub(super) fn take_idle(&mut self) -> usize {
        std::mem::take(&mut self.idle)
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
            if self.skipping.is_some() || !line.starts_with(b"data") {
                self.idle = self.idle.saturating_add(line.len() + 1);
            }
            if let Some(scan) = &mut self.skipping {
                if std::mem::take(&mut self.cut) || !line.is_empty() {
                    scan.push(line);
                    continue;
                }
                let skipped = self.skipping.take().map(|scan| scan.id());
                if std::mem::take(&mut self.kind) == Kind::Other {
                    continue;
                }
                return Ok(Some(Event { skipped, ..Event::default() }));
            }
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
                        let mut scan = IdScan::default();
                        scan.push(&std::mem::take(&mut self.data));
                        scan.push(value);
                        self.skip(scan)?;
                        continue;
                    }
                    if std::mem::replace(&mut self.has_data, true) {
                        self.data.push(b'\n');
                    }
                    self.data.extend_from_slice(value);
                }
                b"event" => self.kind = Kind::named(value),
                b"id" if value.len() <= 1024 && !value.contains(&0) => {
                    self.id = String::from_utf8(value.to_vec()).ok();
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
        let begins = self.skipping.is_none();
        if begins && self.pending.len().saturating_sub(self.start) <= self.limit.saturating_add(64) {
            return Ok(None);
        }
        let mut scan = self.skipping.take().unwrap_or_default();
        if begins {
            scan.push(&std::mem::take(&mut self.data));
        }
        // A CR at the end may be the first half of a line's end.
        let stays = usize::from(self.pending.last() == Some(&b'\r'));
        let end = self.pending.len().saturating_sub(stays).max(self.start);
        let rest = self.pending.get(self.start..end).unwrap_or_default();
        self.cut |= !rest.is_empty();
        self.idle = self.idle.saturating_add(rest.len());
        scan.push(rest);
        self.pending.drain(..end);
        (self.start, self.scanned) = (0, 0);
        if begins {
            self.skip(scan)?;
        } else {
            self.skipping = Some(scan);
        }
        Ok(None)
    }

    /// Begins to read an event away. What is no message by its name would have answered nobody, and is no error.
    fn skip(&mut self, scan: IdScan) -> Result<(), TooLong> {
        self.skipping = Some(scan);
        self.has_data = false;
        if self.kind == Kind::Other { Ok(()) } else { Err(TooLong) }
    }

    fn dispatch(&mut self) -> Option<Event> {
        let data = std::mem::take(&mut self.data);
        let has_data = std::mem::take(&mut self.has_data);
        let kind = std::mem::take(&mut self.kind);
        let event = || Event { data, id: self.id.clone(), kind, skipped: None };
        (has_data || self.id.is_some()).then(event)
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
    fn who_reads_on_is_told_whom_it_would_have_answered() {
        let long = "x".repeat(300);
        let check = |text: String, expect: Option<u64>| {
            for size in [1, 7, 64, text.len()] {
                let mut parser = Parser::new(100);
                let mut found = Vec::new();
                let mut overflows = 0;
                for chunk in text.as_bytes().chunks(size) {
                    parser.push(chunk);
                    loop {
                        match parser.next() {
                            Ok(Some(event)) => found.push((event.data, event.skipped)),
                            Ok(None) => break,
                            Err(TooLong) => overflows += 1,
                        }
                    }
                    assert!(parser.pending.len() <= 200 + size, "{}", parser.pending.len());
                }
                assert_eq!(overflows, 1, "{text}");
                assert_eq!(found, [(Vec::new(), Some(expect)), (b"after".to_vec(), None)], "{size} {text}");
            }
        };
        check(format!("data: {{\"result\":\"{long}\",\"id\":5}}\n\ndata: after\n\n"), Some(5));
        check(
            format!("event: message\r\ndata: {{\"id\":6,\"result\":\"{long}\"}}\r\n\r\ndata: after\r\n\r\n"),
            Some(6),
        );
        let lines = "data: 0123456789012345678901234567890123456789\n".repeat(4);
        check(format!("{lines}data: {{\"id\":7}}\n\ndata: after\n\n"), Some(7));
        check(format!("data: {long}\n\ndata: after\n\n"), None);
    }

    #[test]
    fn only_unnamed_events_and_messages_are_messages() {
        let mut parser = Parser::new(100);
        parser.push(b"event: endpoint\ndata: /m?s=1\n\nevent: message\ndata: {}\n\ndata: {}\n\n");
        parser.push(b"event: Message\ndata: {}\n\ndata: {}\nevent: keep-alive\n\nevent\ndata: {}\n\n");
        parser.push(b"event: ping\n\ndata: {}\n\n");
        let kinds: Vec<Kind> =
            std::iter::from_fn(|| parser.next().unwrap()).map(|event| event.kind).collect();
        let (message, other) = (Kind::Message, Kind::Other);
        assert_eq!(kinds, [Kind::Endpoint, message, message, other, other, message, message]);
    }

    /// However large and however cut: what is no message is read away, and answers nobody.
    #[test]
    fn a_large_event_of_another_name_is_no_error() {
        let large = "x".repeat(400);
        let lines = "data: 0123456789012345678901234567890123456789\n".repeat(5);
        for text in [
            format!("event: ping\ndata: {{\"id\":5,\"result\":\"{large}\"}}\n\ndata: after\n\n"),
            format!("event: keepalive\n{lines}\ndata: after\n\n"),
        ] {
            for size in [1, 7, 64, text.len()] {
                let mut parser = Parser::new(100);
                let mut found = Vec::new();
                for chunk in text.as_bytes().chunks(size) {
                    parser.push(chunk);
                    while let Some(event) = parser.next().unwrap() {
                        found.push((event.kind, event.skipped, event.data));
                    }
                }
                assert_eq!(found, [(Kind::Message, None, b"after".to_vec())], "{size} {text}");
            }
        }
    }

    #[test]
    fn what_is_no_data_is_counted() {
        let mut parser = Parser::new(100);
        parser.push(&b": comment\n\nid: 7\nevent: x\n".repeat(10));
        parser.push(b"data: abc\n\n");
        while parser.next().unwrap().is_some_and(|event| event.data.is_empty()) {}
        assert_eq!(parser.take_idle(), 10 * (10 + 1 + 6 + 9) + 1);
        parser.push(&[b'x'; 1_000]);
        assert_eq!((parser.next(), parser.idle()), (Err(TooLong), 1_000));
        parser.push(&[b'x'; 1_000]);
        assert_eq!((parser.next(), parser.idle()), (Ok(None), 2_000));
    }

    #[test]
    fn retry_is_kept() {
        let mut parser = Parser::new(100);
        parser.push(b"retry: 1500\n\nretry: x\n\n");
        assert_eq!(parser.next(), Ok(None));
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
    }
}
