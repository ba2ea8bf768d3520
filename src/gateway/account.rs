//! What dispatch learns of the account that a call uses, for whoever asks a person about it.

use std::sync::atomic::AtomicBool;

#[derive(Debug, Default)]
pub(crate) struct AccountTrouble {
    /// It has too few scopes for the call: said by its upstream.
    pub(crate) lacks_scopes: AtomicBool,
    /// Nothing could be sent: it may not be there any more.
    pub(crate) not_sent: AtomicBool,
}
