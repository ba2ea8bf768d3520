//! Any bytes on stdin: the front ends when they end, and writes nothing but JSON-RPC, one message a line.

use super::quiet;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tollgate::{
    clock::System,
    front::stdio::{StdioOptions, run as serve},
};

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
}

pub(crate) fn run(data: &[u8]) {
    let options = StdioOptions {
        max_message: 4096,
        ids: Arc::new(System::default()),
        shutdown: CancellationToken::new(),
    };
    let mut out = Vec::new();
    RUNTIME.with(|runtime| {
        let stdout = std::io::Cursor::new(&mut out);
        runtime.block_on(serve(quiet::Quiet::new(), quiet::agent(), options, data, stdout)).expect("an end");
    });
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let message: serde_json::Value = serde_json::from_slice(line).expect("JSON");
        assert!(message.is_object() || message.is_array());
    }
}
