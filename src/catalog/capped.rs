//! Which tools of a list go where its tokens are capped.

use serde_json::Value;
use std::sync::Arc;

/// A list of tools under a cap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CappedTools {
    /// What is listed, in the order of names.
    pub list: Arc<Vec<Value>>,
    /// Its tokens.
    pub tokens: u64,
    /// Those of the whole list.
    pub full_tokens: u64,
    /// What is left out, in the order of names. It can be called all the same.
    pub left_out: Vec<Arc<str>>,
}

impl CappedTools {
    /// The tools of a list that fit into `most` tokens, by what each takes: first those of the lowest rank, within a rank in the
    /// order of the list, as long as there is room. One that does not fit any more is left out, and smaller ones behind it may
    /// still fit.
    pub(super) fn of(
        list: &Arc<Vec<Value>>,
        tokens: &[u64],
        rank: impl Fn(&Value) -> usize,
        most: u64,
    ) -> Self {
        let full_tokens = tokens.iter().fold(0u64, |sum, tokens| sum.saturating_add(*tokens));
        if full_tokens <= most {
            return Self { list: list.clone(), tokens: full_tokens, full_tokens, left_out: Vec::new() };
        }
        let mut order: Vec<(usize, usize)> =
            list.iter().enumerate().map(|(place, tool)| (rank(tool), place)).collect();
        order.sort_unstable();
        let mut left = most;
        let mut taken = vec![false; list.len()];
        for (_, place) in order {
            let needs = tokens.get(place).copied().unwrap_or(u64::MAX);
            if let (Some(rest), Some(taken)) = (left.checked_sub(needs), taken.get_mut(place)) {
                (left, *taken) = (rest, true);
            }
        }
        let (mut listed, mut left_out) = (Vec::new(), Vec::new());
        for (tool, taken) in list.iter().zip(taken) {
            match taken {
                true => listed.push(tool.clone()),
                false => left_out.extend(tool.get("name").and_then(Value::as_str).map(Arc::from)),
            }
        }
        Self { list: Arc::new(listed), tokens: most - left, full_tokens, left_out }
    }
}
