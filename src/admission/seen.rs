//! The counters that a decision saw, as its record says them.

use super::{admit::Ruling, window};
use crate::model::{
    MicroUsd,
    text::{self, Object},
};
use serde_json::Value;

impl Ruling<'_> {
    /// The `limits` of the decision's record, as JSON text: those that were given, and the counters that were seen.
    /// `None`: there is nothing to add.
    pub fn record(&self, given: Option<&Value>) -> Option<String> {
        let repeats = self.repeats.filter(|(_, seen)| *seen > 0);
        let looped = self.loops.iter().filter(|looped| looped.seen > 0);
        if self.checks.is_empty() && repeats.is_none() && looped.clone().next().is_none() {
            return None;
        }
        let mut out = Vec::with_capacity(512);
        out.push(b'{');
        match given {
            Some(Value::Object(given)) => {
                for (key, value) in given.iter().filter(|(key, _)| *key != "counters") {
                    text::string(&mut out, key);
                    out.push(b':');
                    text::value(&mut out, value);
                    out.push(b',');
                }
            }
            Some(other) => {
                out.extend_from_slice(b"\"given\":");
                text::value(&mut out, other);
                out.push(b',');
            }
            None => {}
        }
        out.extend_from_slice(b"\"counters\":[");
        let mut counters = Counters { out: &mut out, empty: true };
        for check in &self.checks {
            let (limit, used) = (check.limit, check.standing.usage);
            let place = (limit.id.as_str(), limit.key, window::word(limit.window));
            if let Some(cap) = limit.caps.calls {
                counters.count(place, "calls", used.calls, cap);
            }
            if let Some(cap) = limit.caps.tokens {
                counters.count(place, "tokens", used.tokens, cap);
            }
            if let Some(cap) = limit.caps.cost {
                counters.money(place, "cost_usd", used.cost, cap);
            }
        }
        if let Some((limit, seen)) = repeats {
            let place = ("loop", self.agent, "minute");
            counters.count(place, "repeats", i64::from(seen), i64::from(limit.max));
        }
        for looped in looped {
            let check = &looped.check;
            let window = format!("{}s", check.rule.window_s);
            let key = if check.of_workflow { "workflow" } else { self.agent };
            let (seen, cap) = (i64::from(looped.seen), i64::from(check.rule.count));
            counters.count(("loop", key, &window), check.kind.as_str(), seen, cap);
        }
        out.extend_from_slice(b"]}");
        // Everything in it came from text.
        String::from_utf8(out).ok()
    }
}

/// The counters of a record.
struct Counters<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl Counters<'_> {
    fn counter(
        &mut self,
        (id, key, window): (&str, &str, &str),
        unit: &'static str,
        amounts: impl FnOnce(&mut Object<'_>),
    ) {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        let mut counter = Object::new(self.out);
        counter.text("id", Some(id));
        counter.text("key", Some(key));
        counter.text("window", Some(window));
        counter.text("unit", Some(unit));
        amounts(&mut counter);
        counter.end();
    }

    fn count(&mut self, place: (&str, &str, &str), unit: &'static str, used: i64, cap: i64) {
        self.counter(place, unit, |counter| {
            text::integer(counter.member("used"), used);
            text::integer(counter.member("cap"), cap);
        });
    }

    fn money(&mut self, place: (&str, &str, &str), unit: &'static str, used: i64, cap: i64) {
        self.counter(place, unit, |counter| {
            counter.money("used", Some(MicroUsd(used)));
            counter.money("cap", Some(MicroUsd(cap)));
        });
    }
}
