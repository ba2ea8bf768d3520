#![no_main]

#[path = "../bodies/mod.rs"]
#[allow(dead_code, reason = "one of several")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::uri::run(data));
