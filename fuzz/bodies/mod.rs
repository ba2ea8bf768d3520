//! What each target does with one input. The fuzzer's targets and the bounded run of `cargo test` share it.

pub(crate) mod front_http;
pub(crate) mod front_stdio;
pub(crate) mod policy;
mod quiet;
pub(crate) mod redaction;
pub(crate) mod schema;
pub(crate) mod upstream;
pub(crate) mod upstream_stream;
pub(crate) mod uri;
mod world;
