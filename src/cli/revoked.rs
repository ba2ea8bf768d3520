//! Follows the lists of revoked certificates beside a listener.

use crate::{
    clock::{Clock as _, System},
    front::tls::Tls,
};
use std::{sync::Arc, time::Duration};
use tokio::signal::unix::{SignalKind, signal};

/// How often it is looked whether there is a newer list.
const LISTS: Duration = Duration::from_secs(30);

/// Reads lists of revoked certificates again at SIGHUP and when their file is another one, and tells when they have ended, for
/// ever.
pub(super) async fn follow(tls: Tls, system: Arc<System>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("crl.not_followed: SIGHUP cannot be listened for");
        return;
    };
    let mut told = None;
    loop {
        let ended = tls.ended(system.now());
        if ended != told {
            if let Some(why) = &ended {
                tracing::error!(why, "crl.ended");
            }
            told = ended;
        }
        let in_any_case = tokio::select! {
            Some(()) = hangup.recv() => true,
            () = tokio::time::sleep(LISTS) => false,
        };
        let again = tls.clone();
        let read = tokio::task::spawn_blocking(move || again.read_lists_again(in_any_case)).await;
        match read {
            Ok(Ok(true)) => tracing::info!("crl.read"),
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(why)) => tracing::error!(why, "crl.not_read: the list of before counts"),
        }
    }
}
