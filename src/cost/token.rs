//! Token counts by the model's own encoding. Text comes from agents and upstreams, so counting is
//! bounded work per byte: it goes in chunks of at most 4 KiB, cut between characters.

use super::encoding::{Encoding, Tokenizer};
use serde_json::Value;
use std::{
    io,
    sync::{Arc, OnceLock},
};

/// A longer text is counted in pieces, which keeps a run of a million spaces from costing quadratic
/// time. A boundary may split a token, which overcounts by a few in a hundred thousand.
const CHUNK: usize = 4096;

/// How far back a better place to cut is looked for.
const NEAR: usize = 128;

/// Which implementation counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// The fast one.
    Fast,
    /// The reference: it counts in the encodings that the fast one does not have here (`p50k_base`, `r50k_base`), and tests
    /// hold the fast one against it.
    Reference,
}

/// One encoding's tables.
#[derive(Clone, Copy)]
enum Table {
    Fast(&'static tiktoken::CoreBpe),
    Reference(&'static tiktoken_rs::CoreBPE),
}

impl Table {
    fn load(engine: Engine, encoding: Encoding) -> Self {
        let fast = match engine {
            Engine::Fast => tiktoken::get_encoding(encoding.as_str()),
            Engine::Reference => None,
        };
        fast.map_or_else(
            || {
                Self::Reference(match encoding {
                    Encoding::O200kBase => tiktoken_rs::o200k_base_singleton(),
                    Encoding::O200kHarmony => tiktoken_rs::o200k_harmony_singleton(),
                    Encoding::Cl100kBase => tiktoken_rs::cl100k_base_singleton(),
                    Encoding::P50kBase => tiktoken_rs::p50k_base_singleton(),
                    Encoding::R50kBase => tiktoken_rs::r50k_base_singleton(),
                })
            },
            Self::Fast,
        )
    }

    /// At most as many tokens as bytes, whatever the implementation says.
    fn count_chunk(self, text: &str) -> u64 {
        let count = match self {
            Self::Fast(table) => table.count(text),
            // No special token is allowed from outside; an error of the reference counts as its bound.
            Self::Reference(table) => {
                table.count(text, &std::collections::HashSet::new()).unwrap_or(text.len())
            }
        };
        (count as u64).min(text.len() as u64)
    }
}

/// Counts tokens. Cheap to clone and to make: an encoding's tables are loaded when it is first
/// needed, or by [`TokenCounter::warm`], and then shared by the whole process.
#[derive(Clone)]
pub struct TokenCounter {
    engine: Engine,
    tables: Arc<[OnceLock<Table>; Encoding::NAMED.len()]>,
}

impl std::fmt::Debug for TokenCounter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCounter").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Default for TokenCounter {
    fn default() -> Self {
        Self::load()
    }
}

impl TokenCounter {
    /// A counter; no tables are loaded yet.
    pub fn load() -> Self {
        Self::with(Engine::Fast)
    }

    /// A counter on the reference implementation: slower, and larger in memory. The fast one is held against it.
    pub fn reference() -> Self {
        Self::with(Engine::Reference)
    }

    fn with(engine: Engine) -> Self {
        Self { engine, tables: Arc::new([const { OnceLock::new() }; Encoding::NAMED.len()]) }
    }

    /// Loads an encoding's tables now (about 100 ms), so that no call waits for them.
    pub fn warm(&self, encoding: Encoding) {
        self.table(encoding);
    }

    fn table(&self, encoding: Encoding) -> Table {
        let [o200k, harmony, cl100k, p50k, r50k] = &*self.tables;
        let slot = match encoding {
            Encoding::O200kBase => o200k,
            Encoding::O200kHarmony => harmony,
            Encoding::Cl100kBase => cl100k,
            Encoding::P50kBase => p50k,
            Encoding::R50kBase => r50k,
        };
        *slot.get_or_init(|| Table::load(self.engine, encoding))
    }

    /// The tokens of a text.
    pub fn count(&self, encoding: Encoding, text: &str) -> u64 {
        if text.is_empty() {
            return 0;
        }
        let table = self.table(encoding);
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at_checked(cut(rest)).unwrap_or((rest, ""));
            total = total.saturating_add(table.count_chunk(chunk));
            rest = after;
        }
        total
    }

    /// The tokens of a value's compact JSON text, as a model writes and reads it. The whole text is never built.
    pub fn count_value(&self, encoding: Encoding, value: &Value) -> u64 {
        let mut writer = CountingWriter { table: self.table(encoding), pending: Vec::new(), total: 0 };
        match serde_json::to_writer(&mut writer, value) {
            Ok(()) => writer.finish(),
            // The writer never fails and a `Value` has only text keys; were it otherwise, the bound stands.
            Err(_) => value.to_string().len() as u64,
        }
    }

    /// The tokens of a text for a model, multiplied and rounded up where its tokenizer is not public.
    pub fn count_for(&self, tokenizer: Tokenizer, text: &str) -> u64 {
        multiply(self.count(tokenizer.encoding, text), tokenizer.multiplier_milli)
    }

    /// The tokens of a value's compact JSON text for a model.
    pub fn count_value_for(&self, tokenizer: Tokenizer, value: &Value) -> u64 {
        multiply(self.count_value(tokenizer.encoding, value), tokenizer.multiplier_milli)
    }

    /// What a text can take at most, without counting: every token is at least one byte.
    pub fn bound(text: &str) -> u64 {
        text.len() as u64
    }
}

/// `tokens` times so many thousandths, rounded up, saturating.
pub fn multiply(tokens: u64, milli: u32) -> u64 {
    u64::try_from((u128::from(tokens) * u128::from(milli)).div_ceil(1000)).unwrap_or(u64::MAX)
}

/// Where the first chunk of a text ends: at most [`CHUNK`] bytes, before the last single space near
/// them, since a token begins there, else between characters.
fn cut(text: &str) -> usize {
    if text.len() <= CHUNK {
        return text.len();
    }
    let window = text.as_bytes().get(CHUNK - NEAR..CHUNK).unwrap_or_default();
    let plain = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let space = window
        .windows(3)
        .rposition(|three| plain(three.first()) && three.get(1) == Some(&b' ') && plain(three.get(2)));
    match space {
        Some(at) => CHUNK - NEAR + at + 1,
        None => text.floor_char_boundary(CHUNK),
    }
}

/// Counts what is written to it, with the same chunks as [`TokenCounter::count`].
struct CountingWriter {
    table: Table,
    pending: Vec<u8>,
    total: u64,
}

impl CountingWriter {
    fn take_chunk(&mut self, end_of_text: bool) -> bool {
        if self.pending.is_empty() || (!end_of_text && self.pending.len() <= CHUNK) {
            return false;
        }
        // serde_json writes whole characters' bytes, but perhaps not in one piece.
        let valid = match std::str::from_utf8(&self.pending) {
            Ok(text) => text,
            Err(error) => {
                let good = self.pending.get(..error.valid_up_to()).unwrap_or_default();
                std::str::from_utf8(good).unwrap_or_default()
            }
        };
        let end = cut(valid);
        if end == 0 {
            return false;
        }
        let chunk = valid.get(..end).unwrap_or(valid);
        self.total = self.total.saturating_add(self.table.count_chunk(chunk));
        self.pending.drain(..end);
        true
    }

    fn finish(mut self) -> u64 {
        while self.take_chunk(true) {}
        self.total.saturating_add(self.pending.len() as u64)
    }
}

impl io::Write for CountingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A slice of a long string is taken in pieces, so that draining stays linear.
        let room = (CHUNK + 4).saturating_sub(self.pending.len()).max(1);
        let part = bytes.get(..room).unwrap_or(bytes);
        self.pending.extend_from_slice(part);
        self.take_chunk(false);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[path = "token_tests.rs"]
mod tests;
