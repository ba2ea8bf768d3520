//! What a list of tools costs to read, and which tools go where that is capped.

use super::View;
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

impl View {
    /// The tokens of each tool of `tool_list`, counted once.
    pub fn tool_tokens(&self, count: &dyn Fn(&Value) -> u64) -> &[u64] {
        self.tokens.get_or_init(|| self.tool_list.iter().map(count).collect())
    }

    /// The tools that fit into so many tokens, made once. Taken are first those of the agent's first capability, then those of
    /// its second and so on, within each by name, as long as there is room; one that does not fit any more is left out, and
    /// smaller ones behind it may still fit. So the order of `capabilities` in authority.yaml says what matters most.
    pub fn capped(&self, most: u64, count: &dyn Fn(&Value) -> u64) -> &Arc<CappedTools> {
        self.capped.get_or_init(|| {
            let tokens = self.tool_tokens(count);
            let full_tokens = tokens.iter().fold(0u64, |sum, tokens| sum.saturating_add(*tokens));
            if full_tokens <= most {
                let list = self.tool_list.clone();
                return Arc::new(CappedTools {
                    list,
                    tokens: full_tokens,
                    full_tokens,
                    left_out: Vec::new(),
                });
            }
            let mut order: Vec<(usize, usize)> =
                self.tool_list.iter().enumerate().map(|(place, tool)| (self.rank(tool), place)).collect();
            order.sort_unstable();
            let mut left = most;
            let mut taken = vec![false; tokens.len()];
            for (_, place) in order {
                let needs = tokens.get(place).copied().unwrap_or(u64::MAX);
                if let (Some(rest), Some(taken)) = (left.checked_sub(needs), taken.get_mut(place)) {
                    (left, *taken) = (rest, true);
                }
            }
            let (mut list, mut left_out) = (Vec::new(), Vec::new());
            for (tool, taken) in self.tool_list.iter().zip(taken) {
                match taken {
                    true => list.push(tool.clone()),
                    false => left_out.extend(tool.get("name").and_then(Value::as_str).map(Arc::from)),
                }
            }
            Arc::new(CappedTools { list: Arc::new(list), tokens: most - left, full_tokens, left_out })
        })
    }

    /// Whether the cap was looked at already.
    pub fn is_capped(&self) -> bool {
        self.capped.get().is_some()
    }

    /// The place of the first of the agent's capabilities that covers a tool.
    fn rank(&self, tool: &Value) -> usize {
        let covered = tool.get("name").and_then(Value::as_str).and_then(|name| self.tools.get(name));
        let first = covered.and_then(|covered| covered.capabilities.first());
        first
            .and_then(|first| self.capabilities.iter().position(|capability| capability.id == *first))
            .unwrap_or(usize::MAX)
    }
}
