//! A client's certificate, once a handshake has verified it.

use jiff::Timestamp;
use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// For how many seconds it is taken to be what it was found to be.
const FRESH: i64 = 5;

/// A certificate that names its holder by URIs (subject alternative names). Other names in it, such as the common name, say
/// nothing.
pub struct ClientCertificate {
    /// The URIs in it.
    pub uris: Box<[Arc<str>]>,
    /// The SHA-256 of the whole certificate, as a token may be bound to it (RFC 8705).
    pub thumbprint: [u8; 32],
    /// Whether it and those that vouch for it count at a time.
    check: Box<dyn Fn(Timestamp) -> bool + Send + Sync>,
    /// The second in which it was last found to count.
    good: AtomicI64,
}

impl ClientCertificate {
    /// With what tells whether it counts at a time: connections live longer than some certificates.
    pub fn new(
        uris: Vec<Arc<str>>,
        thumbprint: [u8; 32],
        check: impl Fn(Timestamp) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { uris: uris.into(), thumbprint, check: Box::new(check), good: AtomicI64::new(i64::MIN) }
    }

    /// Whether it counts.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        let second = now.as_second();
        let good = self.good.load(Ordering::Relaxed);
        if (good..good.saturating_add(FRESH)).contains(&second) {
            return true;
        }
        let valid = (self.check)(now);
        if valid {
            self.good.store(second, Ordering::Relaxed);
        }
        valid
    }
}

impl PartialEq for ClientCertificate {
    fn eq(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint
    }
}

impl Eq for ClientCertificate {}

impl Hash for ClientCertificate {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.thumbprint.hash(state);
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("uris", &self.uris).finish_non_exhaustive()
    }
}
