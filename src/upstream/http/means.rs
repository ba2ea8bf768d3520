//! What the connections of one upstream over HTTP share.

use super::{
    bearer::Bearer,
    pool::{Pool, pool},
};
use crate::{config::OauthConfig, upstream::deps::UpstreamDeps};
use std::sync::Arc;

/// Their pool, and the token where one is needed.
#[derive(Clone)]
pub(in crate::upstream) struct Means {
    pub(in crate::upstream) pool: Pool,
    pub(super) bearer: Option<Arc<Bearer>>,
}

impl Means {
    /// The error says why TLS cannot be set up.
    pub(in crate::upstream) fn new(
        url: &url::Url,
        oauth: Option<&Arc<OauthConfig>>,
        deps: &UpstreamDeps,
    ) -> Result<Self, String> {
        let bearer = oauth.map(|config| Arc::new(Bearer::new(config.clone(), deps.clock.clone())));
        Ok(Self { pool: pool(url, &deps.timing)?, bearer })
    }
}
