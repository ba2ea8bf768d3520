//! What one process on a store does at a time: to deliver, to watch the record.

use super::StoreFuture;
use std::fmt;

/// Held until it is dropped, or until this process is cut off from what says so; it ends with the process.
pub trait Duty: Send + Sync + fmt::Debug {
    /// Whether it is still held. Where it is not, another process may have it by now.
    fn is_held(&self) -> bool;
}

/// Of a store that one process uses.
#[derive(Debug)]
struct Alone;

impl Duty for Alone {
    fn is_held(&self) -> bool {
        true
    }
}

pub(super) fn alone<'a>() -> StoreFuture<'a, Option<Box<dyn Duty>>> {
    Box::pin(std::future::ready(Ok(Some(Box::new(Alone) as Box<dyn Duty>))))
}
