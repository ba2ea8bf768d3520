//! What the connections of one upstream over HTTP share.

use super::{
    bearer::Bearer,
    pool::{Pool, pool},
};
use crate::{
    config::OauthConfig,
    model::{ConnectionKey, Holder, UpstreamName},
    upstream::deps::UpstreamDeps,
};
use std::sync::Arc;

/// Their pool, and the token where one is needed.
#[derive(Clone)]
pub(in crate::upstream) struct Means {
    pub(in crate::upstream) pool: Pool,
    pub(super) bearer: Option<Arc<Bearer>>,
}

impl Means {
    /// The error says why TLS cannot be set up, or nobody can connect.
    pub(in crate::upstream) fn new(
        url: &url::Url,
        oauth: Option<&Arc<OauthConfig>>,
        (upstream, holder): (&UpstreamName, &Holder),
        deps: &UpstreamDeps,
    ) -> Result<Self, String> {
        let bearer = |config: &Arc<OauthConfig>| {
            let key = ConnectionKey { upstream: upstream.clone(), holder: holder.clone() };
            Bearer::new(config.clone(), key, deps.credentials.as_ref(), deps.clock.clone()).map(Arc::new)
        };
        Ok(Self { pool: pool(url, &deps.timing)?, bearer: oauth.map(bearer).transpose()? })
    }
}
