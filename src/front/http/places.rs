//! The places of a listener: who holds one, and who loses one where none is left.
//!
//! A connection is a stranger's until a request on it is authenticated; so is a TLS handshake. Where no place is free, a
//! newcomer gets the place of a stranger: the one that came first from the network that has most of them. Connections of
//! principals go only where there are too many of them, and then the idlest of the principal that has most. So neither
//! silent peers nor one principal keep a right key out, whichever address it comes from.

use crate::identity::{ClientCertificate, network};
use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// Connections of a listener at a time, where the process may open enough files.
const MOST: usize = 4096;
const LEAST: usize = 64;
/// Connections that have lost their place and are not closed yet; more newcomers wait for them.
const LEAVING: usize = 64;
/// For a first request's whole head, with the TLS handshake.
const FIRST_TIME: Duration = Duration::from_secs(10);
/// For a connection on which nobody was authenticated.
const STRANGER_TIME: Duration = Duration::from_secs(30);
/// A principal's connection without an open request.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// For what is under way on a connection that has used up its time.
const LAST_TIME: Duration = Duration::from_secs(5);
/// Replies that a stranger may leave untaken. A peer that takes them has none of them open for long.
const STRANGE_REPLIES: usize = 16;
/// A reply is handed over in parts of this size, so that what its peer has not taken is known.
const PART: usize = 64 * 1024;

/// How many there may be.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Together.
    all: usize,
    /// Of principals: the rest is for newcomers.
    known: usize,
    first: Duration,
    stranger: Duration,
    idle: Duration,
}

impl Bounds {
    /// A third of the files that the process may open, at most.
    fn now() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
        Self::of((files / 3).clamp(LEAST, MOST))
    }

    fn of(all: usize) -> Self {
        let (first, stranger, idle) = (FIRST_TIME, STRANGER_TIME, IDLE_TIME);
        Self { all, known: all - all / 4, first, stranger, idle }
    }
}

/// One listener's places.
#[derive(Debug)]
pub(super) struct Places {
    bounds: Bounds,
    began: Instant,
    open: Arc<Semaphore>,
    table: Mutex<Table>,
}

type Row = BTreeMap<u64, Arc<Presence>>;

#[derive(Debug, Default)]
struct Table {
    next: u64,
    strangers: HashMap<IpAddr, Row>,
    principals: HashMap<Arc<str>, Row>,
    strange: usize,
    known: usize,
}

/// What is known of one connection.
#[derive(Debug, Default)]
struct Presence {
    gone: CancellationToken,
    /// Whether a whole request head has come.
    heard: AtomicBool,
    known: AtomicBool,
    /// Requests of principals that are not yet answered to the end.
    open: AtomicUsize,
    /// Replies to strangers that are not yet taken.
    untaken: AtomicUsize,
    /// When the last request of a principal ended, in milliseconds.
    last: AtomicU64,
}

fn remove<K: std::hash::Hash + Eq>(
    rows: &mut HashMap<K, Row>,
    key: &K,
    number: u64,
) -> Option<Arc<Presence>> {
    let row = rows.get_mut(key)?;
    let presence = row.remove(&number);
    if row.is_empty() {
        rows.remove(key);
    }
    presence
}

fn largest<K: Clone>(rows: &HashMap<K, Row>) -> Option<(K, &Row)> {
    rows.iter().max_by_key(|(_, row)| row.len()).map(|(key, row)| (key.clone(), row))
}

impl Table {
    fn send_away_a_stranger(&mut self) -> bool {
        let Some((from, row)) = largest(&self.strangers) else { return false };
        let Some(number) = row.keys().next().copied() else { return false };
        let Some(presence) = remove(&mut self.strangers, &from, number) else { return false };
        self.strange -= 1;
        presence.gone.cancel();
        true
    }

    fn send_away_an_idle_one(&mut self) {
        let Some((of, row)) = largest(&self.principals) else { return };
        let rank = |p: &Presence| (p.open.load(Ordering::Relaxed) > 0, p.last.load(Ordering::Relaxed));
        let idlest = row.iter().min_by_key(|(_, presence)| rank(presence)).map(|(number, _)| *number);
        let Some(number) = idlest else { return };
        let Some(presence) = remove(&mut self.principals, &of, number) else { return };
        self.known -= 1;
        presence.gone.cancel();
    }
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Self::within(Bounds::now())
    }

    fn within(bounds: Bounds) -> Arc<Self> {
        let open = Arc::new(Semaphore::new(bounds.all + LEAVING));
        Arc::new(Self { bounds, began: Instant::now(), open, table: Mutex::default() })
    }

    /// Waits until connections that have lost their places are closed. What it gives belongs to the next seat.
    pub(super) async fn ready(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.open).acquire_owned().await.ok()
    }

    /// A place for a newcomer. Somebody may lose theirs for it.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr, permit: OwnedSemaphorePermit) -> Arc<Seat> {
        let from = network(peer);
        let presence = Arc::new(Presence::default());
        presence.last.store(self.millis(), Ordering::Relaxed);
        let mut table = self.table.lock();
        if table.strange + table.known >= self.bounds.all && !table.send_away_a_stranger() {
            table.send_away_an_idle_one();
        }
        let number = table.next;
        table.next += 1;
        table.strange += 1;
        table.strangers.entry(from).or_default().insert(number, Arc::clone(&presence));
        drop(table);
        Arc::new(Seat {
            places: Arc::clone(self),
            number,
            from,
            since: Instant::now(),
            principal: OnceLock::new(),
            certificate: OnceLock::new(),
            presence,
            _permit: permit,
        })
    }

    /// Where the process can open no more files.
    pub(super) fn make_room(&self) {
        self.table.lock().send_away_a_stranger();
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// One connection's place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Seat {
    places: Arc<Places>,
    number: u64,
    from: IpAddr,
    since: Instant,
    principal: OnceLock<Arc<str>>,
    certificate: OnceLock<Arc<ClientCertificate>>,
    presence: Arc<Presence>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// A request's whole head has come.
    pub(super) fn visit(self: &Arc<Self>) -> Visit {
        self.presence.heard.store(true, Ordering::Relaxed);
        Visit(Arc::new(Inner {
            seat: Arc::clone(self),
            known: AtomicBool::new(false),
            untaken: AtomicBool::new(false),
            share: OnceLock::new(),
        }))
    }

    /// Its handshake has verified this certificate of its client.
    pub(super) fn certified(&self, certificate: Arc<ClientCertificate>) {
        self.certificate.get_or_init(|| certificate);
    }

    /// Waits until the place was given to somebody else.
    pub(super) async fn lost(&self) {
        self.presence.gone.cancelled().await;
    }

    /// Waits until the connection has used up its time: that for its first request, a stranger's time in all, or the
    /// time that a principal's connection may be idle.
    pub(super) async fn overdue(&self) {
        let bounds = self.places.bounds;
        sleep_until(self.since + bounds.first).await;
        if !self.presence.heard.load(Ordering::Relaxed) {
            return;
        }
        loop {
            let until = if !self.presence.known.load(Ordering::Relaxed) {
                self.since + bounds.stranger
            } else if self.presence.open.load(Ordering::Relaxed) > 0 {
                Instant::now() + bounds.idle
            } else {
                let last = Duration::from_millis(self.presence.last.load(Ordering::Relaxed));
                self.places.began + last + bounds.idle
            };
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }

    /// Waits until a connection that is asked to end may be ended: a request that a principal has sent all the same is
    /// answered.
    pub(super) async fn quiet(&self) {
        loop {
            sleep(LAST_TIME).await;
            if self.presence.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }

    /// The first principal of a connection is whom it is counted for.
    fn is_of(&self, principal: &Arc<str>) {
        if self.principal.get().is_some() {
            return;
        }
        let mut table = self.places.table.lock();
        // One that has lost its place meanwhile gets none back.
        let Some(presence) = remove(&mut table.strangers, &self.from, self.number) else { return };
        self.principal.get_or_init(|| Arc::clone(principal));
        presence.known.store(true, Ordering::Relaxed);
        table.strange -= 1;
        table.known += 1;
        table.principals.entry(Arc::clone(principal)).or_default().insert(self.number, presence);
        if table.known > self.places.bounds.known {
            table.send_away_an_idle_one();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut table = self.places.table.lock();
        match self.principal.get() {
            Some(principal) => {
                let held = remove(&mut table.principals, principal, self.number).is_some();
                table.known -= usize::from(held);
            }
            None => {
                let held = remove(&mut table.strangers, &self.from, self.number).is_some();
                table.strange -= usize::from(held);
            }
        }
    }
}

/// One request on a connection, until its reply is taken to the end.
#[derive(Clone, Debug)]
pub struct Visit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    seat: Arc<Seat>,
    known: AtomicBool,
    untaken: AtomicBool,
    share: OnceLock<Arc<AtomicUsize>>,
}

impl Visit {
    /// It is authenticated. What of its reply is not taken yet is counted in `share`.
    pub(in crate::front) fn is_of(&self, principal: &Arc<str>, share: Option<&Arc<AtomicUsize>>) {
        if !self.0.known.swap(true, Ordering::Relaxed) {
            self.0.seat.presence.open.fetch_add(1, Ordering::Relaxed);
            self.0.seat.is_of(principal);
        }
        if let Some(share) = share {
            self.0.share.get_or_init(|| Arc::clone(share));
        }
    }

    /// The certificate of its client.
    pub(super) fn certificate(&self) -> Option<&Arc<ClientCertificate>> {
        self.0.seat.certificate.get()
    }

    /// The reply, which keeps the request open until it is taken.
    pub(super) fn reply(self, body: Body) -> Body {
        let inner = &*self.0;
        if !inner.known.load(Ordering::Relaxed) && !inner.untaken.swap(true, Ordering::Relaxed) {
            let presence = &inner.seat.presence;
            let others = presence.untaken.fetch_add(1, Ordering::Relaxed);
            if others >= STRANGE_REPLIES && !presence.known.load(Ordering::Relaxed) {
                presence.gone.cancel();
            }
        }
        let mut reply = Reply { body, rest: Bytes::new(), counted: 0, visit: self };
        let whole = reply.body.size_hint().exact().and_then(|size| usize::try_from(size).ok());
        reply.count(whole.unwrap_or_default());
        Body::new(reply)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let presence = &self.seat.presence;
        if *self.known.get_mut() {
            presence.last.store(self.seat.places.millis(), Ordering::Relaxed);
            presence.open.fetch_sub(1, Ordering::Relaxed);
        }
        if *self.untaken.get_mut() {
            presence.untaken.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

struct Reply {
    body: Body,
    rest: Bytes,
    /// Of its bytes, in the principal's share.
    counted: usize,
    visit: Visit,
}

impl Reply {
    fn count(&mut self, more: usize) {
        if let Some(share) = self.visit.0.share.get() {
            share.fetch_add(more, Ordering::Relaxed);
            self.counted += more;
        }
    }

    fn uncount(&mut self, taken: usize) {
        let taken = taken.min(self.counted);
        if let Some(share) = self.visit.0.share.get() {
            share.fetch_sub(taken, Ordering::Relaxed);
            self.counted -= taken;
        }
    }
}

impl HttpBody for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            match frame.into_data() {
                Ok(data) => this.rest = data,
                Err(frame) => return Poll::Ready(Some(Ok(frame))),
            }
            // Of a stream nobody knew how much comes.
            if this.counted < this.rest.len() {
                this.count(this.rest.len() - this.counted);
            }
        }
        let part = this.rest.split_to(this.rest.len().min(PART));
        this.uncount(part.len());
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(inner.lower().saturating_add(rest));
        hint
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.uncount(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    async fn sit(places: &Arc<Places>, from: IpAddr) -> Arc<Seat> {
        let permit = places.ready().await.unwrap();
        places.take(from, permit)
    }

    fn is_lost(seat: &Seat) -> bool {
        seat.presence.gone.is_cancelled()
    }

    fn held(places: &Places) -> (usize, usize) {
        let table = places.table.lock();
        assert_eq!(table.strangers.values().map(BTreeMap::len).sum::<usize>(), table.strange);
        assert_eq!(table.principals.values().map(BTreeMap::len).sum::<usize>(), table.known);
        (table.strange, table.known)
    }

    #[tokio::test]
    async fn a_newcomer_gets_the_place_of_the_oldest_stranger_of_the_largest_network() {
        let places = Places::within(Bounds::of(8));
        let name: Arc<str> = Arc::from("agent:a");
        let mine = sit(&places, A).await;
        let visit = mine.visit();
        visit.is_of(&name, None);
        let lone = sit(&places, B).await;
        let mut silent = Vec::new();
        for _ in 0..6 {
            silent.push(sit(&places, A).await);
        }
        assert_eq!(held(&places), (7, 1));
        let next = sit(&places, A).await;
        assert!(is_lost(&silent[0]) && !silent[1..].iter().any(|seat| is_lost(seat)));
        assert!(!is_lost(&mine) && !is_lost(&lone) && !is_lost(&next));
        let other = sit(&places, B).await;
        assert!(is_lost(&silent[1]) && !is_lost(&lone) && !is_lost(&other));
        assert_eq!(held(&places), (7, 1));
        // Whoever has lost the place is authenticated too late.
        silent[0].visit().is_of(&name, None);
        assert_eq!(held(&places), (7, 1));
        drop((silent, next, other, lone, visit, mine));
        assert_eq!(held(&places), (0, 0));
    }

    #[tokio::test]
    async fn principals_leave_room_and_the_largest_pays_with_its_idlest() {
        let places = Places::within(Bounds::of(8));
        let (many, one): (Arc<str>, Arc<str>) = (Arc::from("agent:many"), Arc::from("agent:one"));
        let mut seats = Vec::new();
        let mut busy = Vec::new();
        for turn in 0..6 {
            let seat = sit(&places, A).await;
            let visit = seat.visit();
            visit.is_of(&many, None);
            // All but the third are in the middle of something.
            if turn != 2 {
                busy.push(visit);
            }
            seats.push(seat);
        }
        assert_eq!(held(&places), (0, 6));
        let seat = sit(&places, A).await;
        seat.visit().is_of(&one, None);
        assert!(is_lost(&seats[2]) && !is_lost(&seat));
        assert_eq!(held(&places), (0, 6));
        let strangers = [sit(&places, A).await, sit(&places, A).await];
        let last = sit(&places, B).await;
        assert!(is_lost(&strangers[0]) && !is_lost(&seat) && !is_lost(&last));
        assert_eq!(seats.iter().filter(|seat| is_lost(seat)).count(), 1);
    }

    #[tokio::test]
    async fn each_kind_of_connection_has_its_time() {
        let (long, short) = (Duration::from_secs(3600), Duration::from_millis(20));
        let all = Bounds { first: Duration::ZERO, stranger: long, idle: long, ..Bounds::of(8) };
        let name: Arc<str> = Arc::from("agent:a");
        // Whoever has sent nothing is overdue first.
        let silent = sit(&Places::within(Bounds { first: short, ..all }), A).await;
        silent.overdue().await;
        let stranger = sit(&Places::within(Bounds { stranger: short, ..all }), A).await;
        drop(stranger.visit());
        stranger.overdue().await;
        let idle = sit(&Places::within(Bounds { idle: short, ..all }), A).await;
        let visit = idle.visit();
        visit.is_of(&name, None);
        // An open request of a principal has no such end.
        assert!(tokio::time::timeout(short * 10, idle.overdue()).await.is_err());
        drop(visit);
        idle.overdue().await;
        // Each by its own time and no other's.
        for bounds in
            [Bounds { first: short, stranger: short, ..all }, Bounds { first: short, idle: short, ..all }]
        {
            let seat = sit(&Places::within(bounds), A).await;
            let visit = seat.visit();
            if bounds.stranger == short {
                visit.is_of(&name, None);
            }
            drop(visit);
            assert!(tokio::time::timeout(short * 10, seat.overdue()).await.is_err());
        }
    }

    #[tokio::test]
    async fn a_reply_is_open_and_counted_until_it_is_taken() {
        let places = Places::within(Bounds::of(8));
        let (name, share): (Arc<str>, Arc<AtomicUsize>) = (Arc::from("agent:a"), Arc::default());
        let seat = sit(&places, A).await;
        let visit = seat.visit();
        visit.is_of(&name, Some(&share));
        let mut body = visit.reply(Body::from(vec![7; 3 * PART + 5]));
        assert_eq!(body.size_hint().exact(), Some(3 * PART as u64 + 5));
        assert_eq!(share.load(Ordering::Relaxed), 3 * PART + 5);
        let part = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((part.len(), share.load(Ordering::Relaxed)), (PART, 2 * PART + 5));
        assert_eq!(seat.presence.open.load(Ordering::Relaxed), 1);
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), 2 * PART + 5);
        assert_eq!(share.load(Ordering::Relaxed), 0);
        assert_eq!(seat.presence.open.load(Ordering::Relaxed), 0);

        let visit = seat.visit();
        visit.is_of(&name, Some(&share));
        drop(visit.reply(Body::from("left")));
        assert_eq!(share.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_stranger_that_takes_no_reply_is_sent_away() {
        let places = Places::within(Bounds::of(8));
        let stranger = sit(&places, A).await;
        let replies: Vec<_> = (0..STRANGE_REPLIES).map(|_| stranger.visit().reply(Body::empty())).collect();
        assert!(!is_lost(&stranger));
        let one_more = stranger.visit().reply(Body::empty());
        assert!(is_lost(&stranger));
        drop((replies, one_more));
        assert_eq!(stranger.presence.untaken.load(Ordering::Relaxed), 0);
    }
}
