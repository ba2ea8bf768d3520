//! What a frame of the journal says beside its records: what a group did to counters and open calls, and small things that
//! the projection keeps.

use crate::{
    admission::{Alert, Alerted, Effect, Grant, LoopMark, Reset, Usage, Window, WindowUsage},
    model::PolicyId,
    store::Register,
};

const GRANTED: i64 = 1;
const CARRIED: i64 = 2;
const CLOSED: i64 = 3;
const ASKED: i64 = 4;
const ALERTED: i64 = 5;
const STANDS: i64 = 6;
const COUNTER: i64 = 7;
const OWNER: i64 = 8;
const GONE: i64 = 9;
const LEARNED: i64 = 10;
const KEPT: i64 = 11;
const RETIRED: i64 = 12;
const REGISTERS: i64 = 13;
const REGISTER: i64 = 14;
const FAILED: i64 = 25;
const WORKED: i64 = 26;
const LOOP_ALERTED: i64 = 27;

/// What of its loops stands in a grant.
const REPEAT: i64 = 1;
const LOOPS: i64 = 2;
/// Of what kind a mark is.
const COUNTED: i64 = 0;
const TURN: i64 = 1;
const WATCHED: i64 = 2;
// With the share at which a budget alerted; 5 and 6 did not tell it.
const ALERTED_AT: i64 = 20;
const STANDS_AT: i64 = 21;
const RESET: i64 = 22;
const RESET_ROLLING: i64 = 23;
const SWEPT: i64 = 24;

/// The share that an alert of a record without it is taken for: alerts of budgets were given once.
const ANY_STEP: u8 = 100;

/// One of them.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Note {
    /// What admission is a fold over.
    Effect(Effect),
    /// Where a calendar window stands, as of before what is taken out of the journal, or of another store.
    Stands(Window, WindowUsage),
    /// What a counter's number means: the kind of its window, its policy, its key.
    Counter { id: i64, kind: String, policy_id: String, key: String },
    /// A process that may dispatch calls, and the file whose lock says that it lives.
    Owner { id: i64, name: String, lock: String },
    /// It ended, or was found dead and its calls are settled.
    Gone { id: i64 },
    /// The result size of a tool, in thousandths of a token.
    Learned { tool: String, milli: i64 },
    /// What records refer to by a hash.
    Kept { kind: String, name: String, hash: String, body: String },
    /// Segments before this one are removed, and windows that ended before this time, in microseconds, are forgotten.
    Retired { stays: i64, before: i64 },
    /// All that stands in registers follows in this frame. The newest version that any entry had.
    Registers { newest: i64 },
    /// What an entry of a register becomes, as JSON; none: it is removed.
    Register { register: Register, key: String, version: i64, value: Option<String> },
    /// Windows that ended before this time, in microseconds, are forgotten, and so are counters without any. Counters that
    /// roll are named again behind it where they count something.
    Swept { before: i64 },
}

/// Appends numbers as little-endian groups of seven bits, small ones first (zigzag, so that minus signs are small too).
fn put(out: &mut Vec<u8>, number: i64) {
    let mut left = ((number << 1) ^ (number >> 63)).cast_unsigned();
    loop {
        let low = (left & 0x7f) as u8;
        left >>= 7;
        if left == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

fn take(bytes: &mut &[u8]) -> Option<i64> {
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f).checked_shl(shift)?;
        if first & 0x80 == 0 {
            return Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed());
        }
    }
    None
}

fn take_count(bytes: &mut &[u8]) -> Option<usize> {
    // Each number takes a byte at least: a count beyond what is left is damage, and must not reserve memory.
    usize::try_from(take(bytes)?).ok().filter(|count| *count <= bytes.len())
}

fn put_grant(out: &mut Vec<u8>, grant: &Grant) {
    for number in [grant.seq, grant.owner, grant.at, grant.tokens, grant.cost] {
        put(out, number);
    }
    let loops = if grant.loops.is_empty() { 0 } else { LOOPS };
    put(out, loops | i64::from(grant.repeat.is_some()));
    if let Some(repeat) = grant.repeat {
        put(out, repeat);
    }
    if loops != 0 {
        put(out, i64::try_from(grant.loops.len()).unwrap_or(0));
    }
    for mark in &grant.loops {
        let numbers = match mark {
            LoopMark::Counted { key, window_s } => [COUNTED, *key, i64::from(*window_s)],
            LoopMark::Turn { agent, call } => [TURN, *agent, *call],
            LoopMark::Watched { errors } => [WATCHED, *errors, 0],
        };
        numbers.into_iter().for_each(|number| put(out, number));
    }
    put(out, i64::try_from(grant.rolling.len()).unwrap_or(0));
    grant.rolling.iter().for_each(|counter| put(out, *counter));
    put(out, i64::try_from(grant.windows.len()).unwrap_or(0));
    for (counter, start) in &grant.windows {
        put(out, *counter);
        put(out, *start);
    }
}

fn take_grant(bytes: &mut &[u8]) -> Option<Grant> {
    let mut grant = Grant {
        seq: take(bytes)?,
        owner: take(bytes)?,
        at: take(bytes)?,
        tokens: take(bytes)?,
        cost: take(bytes)?,
        ..Grant::default()
    };
    let told = take(bytes)?;
    if told & REPEAT != 0 {
        grant.repeat = Some(take(bytes)?);
    }
    if told & LOOPS != 0 {
        for _ in 0..take_count(bytes)? {
            grant.loops.push(take_mark(bytes)?);
        }
    }
    for _ in 0..take_count(bytes)? {
        grant.rolling.push(take(bytes)?);
    }
    for _ in 0..take_count(bytes)? {
        grant.windows.push((take(bytes)?, take(bytes)?));
    }
    Some(grant)
}

fn take_mark(bytes: &mut &[u8]) -> Option<LoopMark> {
    let (kind, first, second) = (take(bytes)?, take(bytes)?, take(bytes)?);
    Some(match kind {
        COUNTED => LoopMark::Counted { key: first, window_s: u32::try_from(second).ok()? },
        TURN => LoopMark::Turn { agent: first, call: second },
        WATCHED => LoopMark::Watched { errors: first },
        _ => return None,
    })
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put(out, i64::try_from(text.len()).unwrap_or(0));
    out.extend_from_slice(text.as_bytes());
}

fn take_text(bytes: &mut &[u8]) -> Option<String> {
    let length = take_count(bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

/// Writes a note behind the others.
pub(super) fn write(out: &mut Vec<u8>, note: &Note) {
    match note {
        Note::Effect(effect) => write_effect(out, effect),
        Note::Stands((counter, start), WindowUsage { usage, alerted }) => {
            let Alerted { at, step } = *alerted;
            let step = i64::from(step);
            for number in [STANDS_AT, *counter, *start, usage.calls, usage.tokens, usage.cost, at, step] {
                put(out, number);
            }
        }
        Note::Counter { id, kind, policy_id, key } => {
            put(out, COUNTER);
            put(out, *id);
            [kind, policy_id, key].into_iter().for_each(|text| put_text(out, text));
        }
        Note::Owner { id, name, lock } => {
            put(out, OWNER);
            put(out, *id);
            [name, lock].into_iter().for_each(|text| put_text(out, text));
        }
        Note::Retired { stays, before } => {
            [RETIRED, *stays, *before].into_iter().for_each(|number| put(out, number));
        }
        Note::Swept { before } => [SWEPT, *before].into_iter().for_each(|number| put(out, number)),
        Note::Gone { id } => [GONE, *id].into_iter().for_each(|number| put(out, number)),
        Note::Learned { tool, milli } => {
            put(out, LEARNED);
            put_text(out, tool);
            put(out, *milli);
        }
        Note::Kept { kind, name, hash, body } => {
            put(out, KEPT);
            [kind, name, hash, body].into_iter().for_each(|text| put_text(out, text));
        }
        Note::Registers { newest } => [REGISTERS, *newest].into_iter().for_each(|number| put(out, number)),
        Note::Register { register, key, version, value } => {
            put(out, REGISTER);
            put_text(out, register.as_str());
            put_text(out, key);
            put(out, *version);
            put(out, i64::from(value.is_some()));
            if let Some(value) = value {
                put_text(out, value);
            }
        }
    }
}

/// Writes an effect behind the others. What an approval or a grant becomes stands in a record.
pub(super) fn write_effect(out: &mut Vec<u8>, effect: &Effect) {
    match effect {
        Effect::Granted(grant) => {
            put(out, GRANTED);
            put_grant(out, grant);
        }
        Effect::Carried(grant) => {
            put(out, CARRIED);
            put_grant(out, grant);
        }
        Effect::Closed { seq, change } => {
            for number in [CLOSED, *seq, change.calls, change.tokens, change.cost] {
                put(out, number);
            }
        }
        Effect::Asked { at, repeat } => {
            for number in [ASKED, *at, *repeat] {
                put(out, number);
            }
        }
        Effect::Failed { at, errors } => {
            [FAILED, *at, *errors].into_iter().for_each(|number| put(out, number))
        }
        Effect::Worked { errors } => [WORKED, *errors].into_iter().for_each(|number| put(out, number)),
        Effect::LoopAlerted { at, key, window } => {
            [LOOP_ALERTED, *at, *key, *window].into_iter().for_each(|number| put(out, number));
        }
        Effect::Reset(Reset { counter, start: Some(start) }) => {
            [RESET, *counter, *start].into_iter().for_each(|number| put(out, number));
        }
        Effect::Reset(Reset { counter, start: None }) => {
            [RESET_ROLLING, *counter].into_iter().for_each(|number| put(out, number));
        }
        Effect::Alerted(Alert { window, at, step, policy_id, sentence }) => {
            for number in [ALERTED_AT, window.0, window.1, *at, i64::from(*step)] {
                put(out, number);
            }
            put_text(out, policy_id.as_str());
            put_text(out, sentence);
        }
        Effect::Consumed(_) | Effect::GrantUsed(_) => {}
    }
}

/// Reads the notes of a frame; `None` where they are damaged.
pub(super) fn read(mut bytes: &[u8]) -> Option<Vec<Note>> {
    let bytes = &mut bytes;
    let mut notes = Vec::new();
    while !bytes.is_empty() {
        notes.push(match take(bytes)? {
            GRANTED => Note::Effect(Effect::Granted(take_grant(bytes)?)),
            CARRIED => Note::Effect(Effect::Carried(take_grant(bytes)?)),
            CLOSED => Note::Effect(Effect::Closed { seq: take(bytes)?, change: take_usage(bytes)? }),
            ASKED => Note::Effect(Effect::Asked { at: take(bytes)?, repeat: take(bytes)? }),
            FAILED => Note::Effect(Effect::Failed { at: take(bytes)?, errors: take(bytes)? }),
            WORKED => Note::Effect(Effect::Worked { errors: take(bytes)? }),
            LOOP_ALERTED => Note::Effect(Effect::LoopAlerted {
                at: take(bytes)?,
                key: take(bytes)?,
                window: take(bytes)?,
            }),
            ALERTED => Note::Effect(Effect::Alerted(Alert {
                window: (take(bytes)?, take(bytes)?),
                at: take(bytes)?,
                step: ANY_STEP,
                policy_id: PolicyId::from(take_text(bytes)?),
                sentence: take_text(bytes)?,
            })),
            ALERTED_AT => Note::Effect(Effect::Alerted(Alert {
                window: (take(bytes)?, take(bytes)?),
                at: take(bytes)?,
                step: take_step(bytes)?,
                policy_id: PolicyId::from(take_text(bytes)?),
                sentence: take_text(bytes)?,
            })),
            RESET => Note::Effect(Effect::Reset(Reset { counter: take(bytes)?, start: Some(take(bytes)?) })),
            RESET_ROLLING => Note::Effect(Effect::Reset(Reset { counter: take(bytes)?, start: None })),
            SWEPT => Note::Swept { before: take(bytes)? },
            STANDS => {
                let window = (take(bytes)?, take(bytes)?);
                let usage = take_usage(bytes)?;
                Note::Stands(window, WindowUsage { usage, alerted: alerted_once(take(bytes)?) })
            }
            STANDS_AT => {
                let window = (take(bytes)?, take(bytes)?);
                let usage = take_usage(bytes)?;
                let alerted = Alerted { at: take(bytes)?, step: take_step(bytes)? };
                Note::Stands(window, WindowUsage { usage, alerted })
            }
            COUNTER => Note::Counter {
                id: take(bytes)?,
                kind: take_text(bytes)?,
                policy_id: take_text(bytes)?,
                key: take_text(bytes)?,
            },
            OWNER => Note::Owner { id: take(bytes)?, name: take_text(bytes)?, lock: take_text(bytes)? },
            GONE => Note::Gone { id: take(bytes)? },
            RETIRED => Note::Retired { stays: take(bytes)?, before: take(bytes)? },
            LEARNED => Note::Learned { tool: take_text(bytes)?, milli: take(bytes)? },
            KEPT => Note::Kept {
                kind: take_text(bytes)?,
                name: take_text(bytes)?,
                hash: take_text(bytes)?,
                body: take_text(bytes)?,
            },
            REGISTERS => Note::Registers { newest: take(bytes)? },
            REGISTER => Note::Register {
                register: Register::parse(&take_text(bytes)?)?,
                key: take_text(bytes)?,
                version: take(bytes)?,
                value: match take(bytes)? {
                    1 => Some(take_text(bytes)?),
                    _ => None,
                },
            },
            _ => return None,
        });
    }
    Some(notes)
}

fn take_step(bytes: &mut &[u8]) -> Option<u8> {
    u8::try_from(take(bytes)?).ok().filter(|step| *step <= 100)
}

/// The last alert of a window, of which a record says when it was and no more.
fn alerted_once(at: i64) -> Alerted {
    Alerted { at, step: if at == 0 { 0 } else { ANY_STEP } }
}

/// No time of an alert is later, in microseconds: the year 2286.
const LATEST: i64 = 10_000_000_000_000_000;

/// Shares of a cap fit into it.
const STEPS: i64 = 128;

/// An alert as the projection's column has it: its time, and the share with it where that is not the last one.
pub(super) fn alerted_column(alerted: Alerted) -> i64 {
    match alerted.step {
        0 | ANY_STEP => alerted.at,
        step => alerted.at.clamp(0, LATEST - 1).saturating_mul(STEPS).saturating_add(i64::from(step)),
    }
}

/// And back.
pub(super) fn alerted_of(column: i64) -> Alerted {
    match column < LATEST {
        true => alerted_once(column),
        false => Alerted { at: column / STEPS, step: u8::try_from(column % STEPS).unwrap_or(ANY_STEP) },
    }
}

fn take_usage(bytes: &mut &[u8]) -> Option<Usage> {
    Some(Usage { calls: take(bytes)?, tokens: take(bytes)?, cost: take(bytes)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let grant = Grant {
            seq: 7,
            owner: 1,
            at: 1_779_000_000_000_000,
            tokens: 0,
            cost: 1 << 53,
            repeat: Some(i64::MIN),
            loops: vec![
                LoopMark::Counted { key: -9, window_s: 600 },
                LoopMark::Turn { agent: i64::MAX, call: 0 },
                LoopMark::Watched { errors: 3 },
            ],
            rolling: vec![1, i64::MAX],
            windows: vec![(3, 0), (4, -1)],
        };
        let usage = Usage { calls: 0, tokens: -5, cost: 9 };
        let alert = Alert {
            window: (3, 4),
            at: 5,
            step: 80,
            policy_id: PolicyId::from("b"),
            sentence: "ü".to_owned(),
        };
        let notes = [
            Note::Effect(Effect::Granted(grant.clone())),
            Note::Effect(Effect::Carried(Grant { repeat: None, ..grant.clone() })),
            Note::Effect(Effect::Carried(Grant { loops: Vec::new(), ..grant })),
            Note::Effect(Effect::Failed { at: 1, errors: -2 }),
            Note::Effect(Effect::Worked { errors: 3 }),
            Note::Effect(Effect::LoopAlerted { at: 1, key: 2, window: 60_000_000 }),
            Note::Effect(Effect::Closed { seq: 7, change: usage }),
            Note::Effect(Effect::Asked { at: -1, repeat: 0 }),
            Note::Effect(Effect::Alerted(alert)),
            Note::Effect(Effect::Reset(Reset { counter: -3, start: Some(9) })),
            Note::Effect(Effect::Reset(Reset { counter: 3, start: None })),
            Note::Stands((3, 9), WindowUsage { usage, alerted: Alerted { at: 8, step: 100 } }),
            Note::Swept { before: -7 },
            Note::Counter { id: -4, kind: "day".into(), policy_id: "p".into(), key: String::new() },
            Note::Owner { id: 5, name: "o".into(), lock: "/l".into() },
            Note::Gone { id: 5 },
            Note::Retired { stays: 9, before: 10 },
            Note::Learned { tool: "t".into(), milli: 12 },
            Note::Kept { kind: "tool".into(), name: "n".into(), hash: "h".into(), body: "{}".into() },
            Note::Registers { newest: 4 },
            Note::Register {
                register: Register::Freeze,
                key: "all".into(),
                version: 5,
                value: Some("{}".into()),
            },
            Note::Register { register: Register::Vault, key: "k".into(), version: 6, value: None },
        ];
        let mut bytes = Vec::new();
        notes.iter().for_each(|note| write(&mut bytes, note));
        assert_eq!(read(&bytes).unwrap(), notes);
        assert_eq!(read(&[]), Some(Vec::new()));
        for alerted in
            [(0, 0), (1_779_000_000_000_000, 100), (1_779_000_000_000_000, 1), (1_779_000_000_000_001, 99)]
        {
            let alerted = Alerted { at: alerted.0, step: alerted.1 };
            assert_eq!(alerted_of(alerted_column(alerted)), alerted);
        }
        // What was written before shares were told counts as told of all of them.
        let (mut alerted, mut stands) = (Vec::new(), Vec::new());
        [ALERTED, 3, 4, 5].into_iter().for_each(|number| put(&mut alerted, number));
        put_text(&mut alerted, "b");
        put_text(&mut alerted, "s");
        [STANDS, 3, 9, 1, 2, 3, 8].into_iter().for_each(|number| put(&mut stands, number));
        let read_one = |bytes: &[u8]| read(bytes).unwrap().remove(0);
        assert!(matches!(read_one(&alerted), Note::Effect(Effect::Alerted(Alert { at: 5, step: 100, .. }))));
        let once = Alerted { at: 8, step: 100 };
        assert!(
            matches!(read_one(&stands), Note::Stands((3, 9), WindowUsage { alerted, .. }) if alerted == once)
        );
    }

    #[test]
    fn damage_is_seen() {
        for bad in [&[0x80][..], &[2][..], &[8, 2, 0xff], &[200, 1], &[0xff; 12], &[22, 2, 9, 65]] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        let mut bytes = Vec::new();
        write_effect(&mut bytes, &Effect::Granted(Grant { rolling: vec![1, 2, 3], ..Grant::default() }));
        for end in 1..bytes.len() {
            assert_eq!(read(&bytes[..end]), None, "{end}");
        }
    }
}
