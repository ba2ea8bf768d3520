//! A listener for both of the gateway's ports: TLS, HTTP/1.1 and HTTP/2, and patience within bounds.

use super::{
    core_runtimes::CoreRuntimes,
    places::{Places, Seat, Visit},
};
use crate::front::tls::Tls;
use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use futures::{FutureExt as _, future::BoxFuture};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, Sleep, sleep},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// For a request's head, and between requests.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A peer that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// After a failed accept, which mostly means no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests: an axum router, or a service that needs none.
pub trait Site: Clone + Send + 'static {
    /// Answers one request of this peer. Whoever authenticates it tells the visit so.
    fn answer(
        &self,
        peer: SocketAddr,
        visit: Visit,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response>;
}

impl Site for Router {
    fn answer(
        &self,
        peer: SocketAddr,
        visit: Visit,
        request: Request<Incoming>,
    ) -> BoxFuture<'static, Response> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(visit);
        self.clone().oneshot(request).map(|Ok(response)| response).boxed()
    }
}

/// Serves until `shutdown`, then lets what is in flight finish; a caller that will not wait drops the future.
pub async fn serve<S: Site>(
    listener: TcpListener,
    tls: Option<Tls>,
    site: S,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_on(listener, tls, site, shutdown, None).await
}

/// The same, with the connections on threads of their own.
pub async fn serve_on<S: Site>(
    listener: TcpListener,
    tls: Option<Tls>,
    site: S,
    shutdown: CancellationToken,
    core_runtimes: Option<&CoreRuntimes>,
) -> io::Result<()> {
    let places = Places::new();
    let mut connections = JoinSet::new();
    loop {
        // Finished ones are taken away as they come.
        while connections.try_join_next().is_some() {}
        let accepted = async {
            let permit = places.ready().await?;
            Some(listener.accept().await.map(|(stream, peer)| (stream, peer, permit)))
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (stream, peer, permit) = match accepted {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                tracing::debug!(error = %error, "front.accept_failed");
                places.make_room();
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => break,
        };
        let seat = places.take(peer.ip(), permit);
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (tls, site, shutdown) = (tls.clone(), site.clone(), shutdown.clone());
        match core_runtimes.and_then(CoreRuntimes::next) {
            None => connections.spawn(connection(stream, peer, seat, tls, site, shutdown)),
            Some(lane) => {
                // It leaves this thread's reactor for the other's.
                let Ok(stream) = stream.into_std() else { continue };
                let there = async move {
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        connection(stream, peer, seat, tls, site, shutdown).await;
                    }
                };
                connections.spawn_on(there, lane)
            }
        };
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn connection<S: Site>(
    stream: TcpStream,
    peer: SocketAddr,
    seat: Arc<Seat>,
    tls: Option<Tls>,
    site: S,
    shutdown: CancellationToken,
) {
    let Some(tls) = tls else { return speak(stream, peer, seat, site, shutdown).await };
    let stream = tokio::select! {
        biased;
        () = seat.lost() => return,
        () = seat.overdue() => return,
        stream = tls.acceptor().accept(stream) => stream,
    };
    // Every port scan fails here; there is nobody to tell.
    if let Ok(stream) = stream {
        if let Some(certificate) = tls.certificate(stream.get_ref().1.peer_certificates()) {
            seat.certified(certificate);
        }
        speak(stream, peer, seat, site, shutdown).await;
    }
}

async fn speak<IO, S: Site>(io: IO, peer: SocketAddr, seat: Arc<Seat>, site: S, shutdown: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let from = Arc::clone(&seat);
    let service = service_fn(move |request| {
        let visit = from.visit();
        let answer = site.answer(peer, visit.clone(), request);
        answer.map(|response| Ok::<_, Infallible>(response.map(|body| visit.reply(body))))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(64 * 1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(32 * 1024)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let io = TokioIo::new(Patient::new(io, HEAD_TIME));
    let mut connection = pin!(builder.serve_connection(io, service));
    let whole = async {
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = shutdown.cancelled() => None,
            () = seat.overdue() => {
                connection.as_mut().graceful_shutdown();
                // What came at the last moment is answered.
                return tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = seat.quiet() => Ok(()),
                };
            }
        };
        match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        biased;
        () = seat.lost() => return,
        ended = whole => ended,
    };
    if let Err(error) = ended {
        tracing::trace!(error = %error, "front.connection_ended");
    }
}

/// How an HTTP/2 connection begins (RFC 9113, section 3.4). hyper reads so far as the first bytes are these, without a
/// limit of its own on the time.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection that fails where its peer takes nothing for [`WRITE_TIME`], or does not say within [`HEAD_TIME`] which
/// HTTP it speaks.
struct Patient<IO> {
    io: IO,
    stalled: Pin<Box<Sleep>>,
    waiting: bool,
    /// What has come of [`PREFACE`], while it may be one.
    opening: Option<usize>,
}

impl<IO: Unpin> Patient<IO> {
    fn new(io: IO, opening: Duration) -> Self {
        Self { io, stalled: Box::pin(sleep(opening)), waiting: false, opening: Some(0) }
    }

    /// Looks at the first bytes.
    fn opened(&mut self, bytes: &[u8]) {
        let Some(read) = self.opening else { return };
        let rest = PREFACE.get(read..).unwrap_or_default();
        let same = rest.iter().zip(bytes).take_while(|(a, b)| a == b).count();
        let undecided = same == bytes.len() && same < rest.len();
        self.opening = undecided.then_some(read + same);
    }

    fn watch<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.waiting = false;
            return outcome;
        }
        if !self.waiting {
            self.waiting = true;
            self.stalled.as_mut().reset(Instant::now() + WRITE_TIME);
        }
        match self.stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Patient<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.opening.is_none() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buf);
        self.opened(buf.filled().get(before..).unwrap_or_default());
        if outcome.is_pending() && self.stalled.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Patient<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, buf);
        self.watch(cx, outcome)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.watch(cx, outcome)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, outcome)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.io).poll_shutdown(cx);
        self.watch(cx, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// Whoever does not say which HTTP it speaks is not waited for; whoever has said so may take its time.
    #[tokio::test]
    async fn a_peer_that_says_nothing_is_given_up() {
        let long = Duration::from_secs(3600);
        let short = Duration::from_millis(1);
        let half = PREFACE.get(..14).unwrap();
        for start in [&b""[..], b"P", b"PRI", half] {
            let (mut peer, here) = duplex(1024);
            let mut patient = Patient::new(here, short);
            peer.write_all(start).await.unwrap();
            let mut got = Vec::new();
            let error = patient.read_to_end(&mut got).await.unwrap_err();
            assert_eq!((error.kind(), &got[..]), (io::ErrorKind::TimedOut, start));
        }
        for start in [&b"G"[..], b"PO", b"PRI * HTTP/1.1", PREFACE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"] {
            let (mut peer, here) = duplex(1024);
            let mut patient = Patient::new(here, long);
            // However it comes in.
            for byte in start {
                assert!(patient.opening.is_some_and(|had| PREFACE.starts_with(start.get(..had).unwrap())));
                peer.write_all(&[*byte]).await.unwrap();
                patient.read_u8().await.unwrap();
                if patient.opening.is_none() {
                    break;
                }
            }
            assert_eq!(patient.opening, None, "{start:?}");
        }
    }

    /// The whole way: a request that is answered late is answered.
    #[tokio::test]
    async fn a_late_answer_comes_all_the_same() {
        #[derive(Clone)]
        struct Late(CancellationToken);
        impl Site for Late {
            fn answer(&self, _: SocketAddr, _: Visit, _: Request<Incoming>) -> BoxFuture<'static, Response> {
                let told = self.0.clone();
                async move {
                    told.cancelled().await;
                    Response::new(Body::from("late"))
                }
                .boxed()
            }
        }
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (told, end) = (CancellationToken::new(), CancellationToken::new());
        let (mut peer, here) = duplex(4096);
        let places = Places::new();
        let permit = places.ready().await.unwrap();
        let seat = places.take(address.ip(), permit);
        let served = tokio::spawn(speak(here, address, seat, Late(told.clone()), end.clone()));
        peer.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        told.cancel();
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("late"), "{answer}");
        served.await.unwrap();
    }
}
