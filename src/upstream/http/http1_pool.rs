//! Connections over plain HTTP/1.1, each driven by whoever waits for its answer: no task stands between a call and its
//! socket. What needs TLS, and with it perhaps HTTP/2, goes through hyper's own pool.

use super::intra_task_waker::IntraTaskWaker;
use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use parking_lot::Mutex;
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{net::TcpStream, time::Instant};
use tower::ServiceExt as _;

/// Connections at rest on one thread; more than that are closed when they are done.
const MOST_IDLE: usize = 128;
/// A connection that rested so long is not used again.
const IDLE: Duration = Duration::from_secs(30);
/// Connections that turned out to be closed before a request could be written to them.
const TRIES: usize = 3;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum SendError {
    /// Nothing was sent.
    NotSent(Box<dyn std::error::Error + Send + Sync>),
    /// The request may have arrived.
    Broken(hyper::Error),
}

/// The connections to one host.
#[derive(Clone)]
pub(crate) struct Http1Pool {
    connector: HttpConnector,
    /// By the thread that uses them: a connection belongs to the reactor of the thread that opened it.
    idle: Arc<IdlePool>,
}

type IdlePool = [Mutex<Vec<Idle>>; SHELVES];

/// Threads beyond so many share.
const SHELVES: usize = 16;

/// Which shelf is the calling thread's.
fn shelf() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHELVES;
    }
    OWN.with(|own| *own)
}

pub(super) struct Idle {
    line: PooledConnection,
    since: Instant,
}

/// One connection.
pub(super) struct PooledConnection {
    sender: SendRequest<Full<Bytes>>,
    driver: Connection<TokioIo<TcpStream>, Full<Bytes>>,
    /// Driver, request and body wake each other.
    within: IntraTaskWaker,
    ended: bool,
}

impl PooledConnection {
    /// Reads and writes what can be.
    fn drive(&mut self, cx: &mut Context<'_>) {
        match self.drive_with(cx, |_| Poll::Pending) {
            // Nothing comes of it but what it leaves behind.
            Poll::Ready(()) | Poll::Pending => {}
        }
    }

    /// The same, and what goes on with what was read.
    fn drive_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut on: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Self { driver, within, ended, .. } = self;
        within.poll(cx, |cx| {
            // How it ended, the request on it tells.
            *ended = *ended || Pin::new(&mut *driver).poll(cx).is_ready();
            on(cx)
        })
    }

    fn is_usable(&self) -> bool {
        !self.ended && self.sender.is_ready()
    }
}

impl Http1Pool {
    pub(super) fn new(connector: HttpConnector) -> Self {
        Self { connector, idle: Arc::default() }
    }

    /// Sends a request with an origin-form URI and a `Host`, and waits for the head of its answer. `sending` is called
    /// when a connection stands and the request is about to be written.
    pub(super) async fn send(
        &self,
        host: &Uri,
        mut request: Request<Full<Bytes>>,
        sending: impl Fn(),
    ) -> Result<Response<ResponseBody>, SendError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut line = match self.rested().await {
                Some(line) if tries < TRIES => line,
                Some(_) | None => self.connect(host).await?,
            };
            sending();
            let mut answer = pin!(line.within.before_poll(|| line.sender.try_send_request(request)));
            let answered = poll_fn(|cx| line.drive_with(cx, |cx| answer.as_mut().poll(cx))).await;
            match answered {
                Ok(response) => {
                    let lease = Some(Box::new(Lease { line, idle: Arc::downgrade(&self.idle) }));
                    return Ok(response.map(|body| ResponseBody::Own { body, lease }));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if tries < TRIES => request = unsent,
                    Some(_) => return Err(SendError::NotSent(Box::new(error.into_error()))),
                    None => return Err(SendError::Broken(error.into_error())),
                },
            }
        }
    }

    /// A connection that rests and still stands.
    async fn rested(&self) -> Option<PooledConnection> {
        loop {
            let shelf = self.idle.get(shelf())?;
            let Idle { mut line, since } = shelf.lock().pop()?;
            if since.elapsed() > IDLE {
                // The others rest longer still.
                shelf.lock().clear();
                return None;
            }
            // Sees whether the other side has closed it meanwhile.
            let usable = poll_fn(|cx| {
                line.drive(cx);
                Poll::Ready(line.is_usable())
            });
            if usable.await {
                return Some(line);
            }
        }
    }

    async fn connect(&self, host: &Uri) -> Result<PooledConnection, SendError> {
        let stream = self.connector.clone().oneshot(host.clone()).await;
        let stream = stream.map_err(|error| SendError::NotSent(Box::new(error)))?;
        let (sender, driver) =
            http1::handshake(stream).await.map_err(|error| SendError::NotSent(Box::new(error)))?;
        Ok(PooledConnection { sender, driver, within: IntraTaskWaker::new(), ended: false })
    }

    /// Closes what has rested too long.
    pub(super) fn sweep(&self) {
        for shelf in self.idle.iter() {
            shelf.lock().retain(|idle| idle.since.elapsed() <= IDLE);
        }
    }
}

/// The body of an answer. Reading it drives its connection, which rests again at its end; dropped before that, the
/// connection closes, by which the server knows that nobody reads on.
pub(crate) enum ResponseBody {
    /// Of hyper's own pool.
    Pooled(Incoming),
    /// Of a connection of ours.
    Own {
        /// What is read.
        body: Incoming,
        lease: Option<Box<Lease>>,
    },
}

/// A connection, and where it goes afterwards.
pub(super) struct Lease {
    line: PooledConnection,
    idle: Weak<IdlePool>,
}

fn give_back(lease: Lease, cx: &mut Context<'_>) {
    let Lease { mut line, idle } = lease;
    // Takes the end of the body in, after which the next request may be written.
    line.drive(cx);
    if let Some(idle) = idle.upgrade().filter(|_| line.is_usable())
        && let Some(shelf) = idle.get(shelf())
    {
        let mut idle = shelf.lock();
        if idle.len() < MOST_IDLE {
            idle.push(Idle { line, since: Instant::now() });
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Pooled(body) => Pin::new(body).poll_frame(cx),
            Self::Own { body, lease } => {
                let polled = match lease {
                    Some(lease) => lease.line.drive_with(cx, |cx| Pin::new(&mut *body).poll_frame(cx)),
                    None => Pin::new(&mut *body).poll_frame(cx),
                };
                let over = match &polled {
                    Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
                    Poll::Ready(None) => true,
                    Poll::Ready(Some(Err(_))) | Poll::Pending => false,
                };
                if over && let Some(lease) = lease.take() {
                    give_back(*lease, cx);
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pooled(body) | Self::Own { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pooled(body) | Self::Own { body, .. } => body.size_hint(),
        }
    }
}
