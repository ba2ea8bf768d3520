//! Clients that Tollgate registered at issuers, as the vault keeps them.

use crate::{model::ClientAuth, upstream::oauth::KnownClient};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
pub(super) struct WrittenClient {
    id: String,
    secret: Option<String>,
    post: bool,
    #[serde(default)]
    expires: Option<i64>,
}

impl WrittenClient {
    pub(super) fn of(client: &KnownClient) -> Self {
        let secret = client.secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let post = client.auth_method == ClientAuth::Post;
        Self { id: client.id.clone(), secret, post, expires: client.expires }
    }

    pub(super) fn read(self) -> KnownClient {
        let auth_method = if self.post { ClientAuth::Post } else { ClientAuth::Basic };
        let (secret, expires) = (self.secret.map(SecretString::from), self.expires);
        KnownClient { id: self.id, secret, auth_method, expires }
    }
}

pub(super) fn read_client(text: &SecretString) -> Option<KnownClient> {
    serde_json::from_str(text.expose_secret()).ok().map(WrittenClient::read)
}

pub(super) fn write_client(client: &KnownClient) -> Option<SecretString> {
    serde_json::to_string(&WrittenClient::of(client)).ok().map(SecretString::from)
}
