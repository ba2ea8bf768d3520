//! HTTP/2 by hand: frames that no client library would send.

use std::{io, net::SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

pub(crate) struct Peer {
    stream: TcpStream,
}

/// A literal field without indexing (RFC 7541, section 6.2.2), not Huffman-coded.
pub(crate) fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        length(&mut out, text.len());
        out.extend_from_slice(text.as_bytes());
    }
    out
}

/// An integer with a prefix of seven bits (section 5.1).
fn length(out: &mut Vec<u8>, mut number: usize) {
    if number < 127 {
        return out.push(u8::try_from(number).unwrap());
    }
    out.push(127);
    number -= 127;
    while number >= 128 {
        out.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    out.push(u8::try_from(number).unwrap());
}

impl Peer {
    /// With these settings.
    pub(crate) async fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { stream: TcpStream::connect(address).await.unwrap() };
        peer.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        let pairs = settings.iter().flat_map(|(id, value)| {
            id.to_be_bytes().into_iter().chain(value.to_be_bytes()).collect::<Vec<u8>>()
        });
        peer.frame(SETTINGS, 0, 0, &pairs.collect::<Vec<u8>>()).await.unwrap();
        peer
    }

    pub(crate) async fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.stream.write_all(&frame).await
    }

    /// Begins a request; its head may be left open.
    pub(crate) async fn headers(
        &mut self,
        stream: u32,
        whole: bool,
        fields: &[(&str, &str)],
    ) -> io::Result<()> {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| literal(name, value)).collect();
        self.frame(HEADERS, if whole { END_HEADERS } else { 0 }, stream, &block).await
    }

    /// Begins a request with a head as it is coded, which ends it.
    pub(crate) async fn coded(&mut self, stream: u32, block: &[u8]) -> io::Result<()> {
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, block).await
    }

    pub(crate) async fn continuation(&mut self, stream: u32, block: &[u8]) -> io::Result<()> {
        self.frame(CONTINUATION, 0, stream, block).await
    }

    pub(crate) async fn data(&mut self, stream: u32, last: bool, bytes: &[u8]) -> io::Result<()> {
        self.frame(DATA, u8::from(last), stream, bytes).await
    }

    pub(crate) async fn reset(&mut self, stream: u32) -> io::Result<()> {
        self.frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await
    }

    pub(crate) async fn ping(&mut self) -> io::Result<()> {
        self.frame(PING, 0, 0, &[7; 8]).await
    }

    /// The next frame; pings and settings are acknowledged on the way.
    pub(crate) async fn next(&mut self) -> io::Result<(u8, u32, Vec<u8>)> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, rest @ ..] = head;
            let mut payload = vec![0; usize::try_from(u32::from_be_bytes([0, a, b, c])).unwrap()];
            self.stream.read_exact(&mut payload).await?;
            match (kind, flags & 1) {
                (PING, 0) => self.frame(PING, 1, 0, &payload).await?,
                (SETTINGS, 0) => self.frame(SETTINGS, 1, 0, &[]).await?,
                (PING | SETTINGS, _) => {}
                _ => return Ok((kind, u32::from_be_bytes(rest), payload)),
            }
        }
    }

    /// Reads on, acknowledging what is to be acknowledged, until the server hangs up.
    pub(crate) async fn until_closed(&mut self) {
        while self.next().await.is_ok() {}
    }
}
