//! Records go to syslog, one message each (RFC 5424): over TCP with counted frames (RFC 6587), or over UDP.

use super::Line;
use crate::{
    config::SyslogTransport,
    model::{EventDecision, EventType, Outcome},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpStream, UdpSocket},
};

const PATIENCE: Duration = Duration::from_secs(10);
/// How long a server may take to say that it has gone.
const SETTLED: Duration = Duration::from_millis(200);
/// "log audit"
const FACILITY: u8 = 13;
/// The longest datagram that is sent: what is larger goes without its body, and says so.
const LONGEST_DATAGRAM: usize = 60_000;

/// A syslog server.
pub(super) struct SyslogSink {
    transport: SyslogTransport,
    address: Arc<str>,
    connection: Option<TcpStream>,
}

/// From emergency (0) to debug (7).
fn severity(line: &Line) -> u8 {
    let draft = &line.event.draft;
    match (draft.event_type, draft.decision, draft.outcome) {
        (EventType::Alert, ..) => 4,
        (_, _, Some(Outcome::Failed | Outcome::Unknown)) => 4,
        (
            _,
            Some(EventDecision::Allow | EventDecision::AllowWithConstraints | EventDecision::Approved),
            _,
        ) => 6,
        (_, Some(_), _) => 5,
        (_, None, _) => 6,
    }
}

fn message(line: &Line, body: &str) -> String {
    let event = &line.event;
    let priority = FACILITY * 8 + severity(line);
    // Microseconds at most, as the format has it.
    let at = event.draft.timestamp.strftime("%Y-%m-%dT%H:%M:%S.%6fZ");
    let kind = event.draft.event_type.as_str();
    let trace = event.draft.trace_id.map(|trace| format!(" trace=\"{trace}\"")).unwrap_or_default();
    format!(
        "<{priority}>1 {at} - tollgate {} {kind} [tollgate@32473 seq=\"{}\"{trace}] \u{feff}{body}",
        std::process::id(),
        event.seq
    )
}

impl SyslogSink {
    pub(super) fn new(transport: SyslogTransport, address: Arc<str>) -> Self {
        Self { transport, address, connection: None }
    }

    pub(super) async fn send(&mut self, lines: &[Line]) -> Result<(), String> {
        let sending = async {
            match self.transport {
                SyslogTransport::Tcp => self.send_tcp(lines).await,
                SyslogTransport::Udp => self.send_udp(lines).await,
            }
        };
        let sent = tokio::time::timeout(PATIENCE, sending).await;
        let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        sent.map_err(|error| {
            self.connection = None;
            format!("`{}`: {error}", self.address)
        })
    }

    async fn send_tcp(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut stream = match self.connection.take().filter(is_open) {
            Some(stream) => stream,
            None => TcpStream::connect(&*self.address).await?,
        };
        let mut frames = Vec::new();
        for line in lines {
            let message = message(line, &line.text);
            frames.extend(message.len().to_string().into_bytes());
            frames.push(b' ');
            frames.extend(message.into_bytes());
        }
        stream.write_all(&frames).await?;
        stream.flush().await?;
        // Nothing tells that it arrived; a server that closes with something unread says so soon.
        let heard = tokio::time::timeout(SETTLED, stream.readable()).await;
        if heard.is_ok() && !is_open(&stream) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.connection = Some(stream);
        Ok(())
    }

    async fn send_udp(&self, lines: &[Line]) -> io::Result<()> {
        let local = if self.address.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(local).await?;
        socket.connect(&*self.address).await?;
        for line in lines {
            let mut text = message(line, &line.text);
            if text.len() > LONGEST_DATAGRAM {
                let event = &line.event;
                let (seq, hash, bytes) = (event.seq, &event.hash, line.text.len());
                let told = serde_json::json!({"seq": seq, "hash": hash, "too_large_for_udp": bytes});
                text = message(line, &told.to_string());
            }
            socket.send(text.as_bytes()).await?;
        }
        Ok(())
    }
}

/// Whether the server has not closed it.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    match stream.try_read(&mut byte) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    }
}
