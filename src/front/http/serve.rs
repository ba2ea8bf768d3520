//! A listener for both of the gateway's ports: TLS, HTTP/1.1 and HTTP/2, and patience within bounds.

use super::lanes::Lanes;
use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use futures::{FutureExt as _, future::BoxFuture};
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, Sleep, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at a time, and of one address.
const MAX_CONNECTIONS: usize = 4096;
const MAX_PER_ADDRESS: usize = 2048;
/// For the TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For a request's head, and between requests.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A peer that takes nothing for so long is gone.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// After a failed accept, which mostly means no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What answers requests: an axum router, or a service that needs none.
pub trait Site: Clone + Send + 'static {
    /// Answers one request of this peer.
    fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> BoxFuture<'static, Response>;
}

impl Site for Router {
    fn answer(&self, peer: SocketAddr, request: Request<Incoming>) -> BoxFuture<'static, Response> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(peer));
        self.clone().oneshot(request).map(|Ok(response)| response).boxed()
    }
}

/// Serves until `shutdown`, then lets what is in flight finish; a caller that will not wait drops the future.
pub async fn serve<S: Site>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    site: S,
    shutdown: CancellationToken,
) -> io::Result<()> {
    serve_on(listener, tls, site, shutdown, None).await
}

/// The same, with the connections on threads of their own.
pub async fn serve_on<S: Site>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    site: S,
    shutdown: CancellationToken,
    lanes: Option<&Lanes>,
) -> io::Result<()> {
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let addresses = Arc::new(Addresses::default());
    let mut connections = JoinSet::new();
    loop {
        // Finished ones are taken away as they come.
        while connections.try_join_next().is_some() {}
        let place = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(error = %error, "front.accept_failed");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(entry) = Addresses::enter(&addresses, peer.ip()) else { continue };
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (tls, site, shutdown) = (tls.clone(), site.clone(), shutdown.clone());
        match lanes.and_then(Lanes::next) {
            None => connections.spawn(async move {
                let _held = (place, entry);
                connection(stream, peer, tls, site, shutdown).await;
            }),
            Some(lane) => {
                // It leaves this thread's reactor for the other's.
                let Ok(stream) = stream.into_std() else { continue };
                let there = async move {
                    let _held = (place, entry);
                    if let Ok(stream) = TcpStream::from_std(stream) {
                        connection(stream, peer, tls, site, shutdown).await;
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
    tls: Option<TlsAcceptor>,
    site: S,
    shutdown: CancellationToken,
) {
    match tls {
        None => speak(stream, peer, site, shutdown).await,
        // Every port scan fails here; there is nobody to tell.
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HANDSHAKE_TIME, tls.accept(stream)).await {
                speak(stream, peer, site, shutdown).await;
            }
        }
    }
}

async fn speak<IO, S: Site>(io: IO, peer: SocketAddr, site: S, shutdown: CancellationToken)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| site.answer(peer, request).map(Ok::<_, Infallible>));
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
    let io = TokioIo::new(Patient { io, stalled: Box::pin(sleep(WRITE_TIME)), waiting: false });
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::trace!(error = %error, "front.connection_ended");
    }
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct Addresses {
    counts: Mutex<HashMap<IpAddr, usize>>,
}

struct Entry {
    addresses: Arc<Addresses>,
    ip: IpAddr,
}

impl Addresses {
    fn enter(addresses: &Arc<Self>, ip: IpAddr) -> Option<Entry> {
        let mut counts = addresses.counts.lock();
        let count = counts.entry(ip).or_insert(0);
        if *count >= MAX_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Entry { addresses: Arc::clone(addresses), ip })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut counts = self.addresses.counts.lock();
        if let Some(count) = counts.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.ip);
            }
        }
    }
}

/// A connection that fails where its peer takes nothing for [`WRITE_TIME`].
struct Patient<IO> {
    io: IO,
    stalled: Pin<Box<Sleep>>,
    waiting: bool,
}

impl<IO: Unpin> Patient<IO> {
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
        Pin::new(&mut self.io).poll_read(cx, buf)
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
