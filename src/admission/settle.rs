//! How a call ends, and what that makes of its reservation.

use super::{
    effect::{Effect, Grant},
    state::State,
    usage::{Usage, amount, money},
};
use crate::model::MicroUsd;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It took so much; `None` keeps what was reserved, for nobody knows.
    Settled {
        /// Tokens.
        tokens: Option<u64>,
        /// Money.
        cost: Option<MicroUsd>,
    },
    /// It was never dispatched: it took nothing. It counts as a call all the same.
    NeverDispatched,
    /// Its process ended first: whether the upstream acted is unknown, and what was reserved stays.
    Unknown,
}

/// Closes a call. `None`: it is not open, and a second end changes nothing.
pub fn settle(state: &State, seq: i64, end: End) -> Option<Effect> {
    let grant = state.open(seq)?;
    Some(Effect::Closed { seq, change: end.change(grant) })
}

impl End {
    fn change(self, grant: &Grant) -> Usage {
        let real = |real: Option<i64>, reserved: i64| real.map_or(0, |real| real.saturating_sub(reserved));
        match self {
            Self::Settled { tokens, cost } => Usage {
                calls: 0,
                tokens: real(tokens.map(amount), grant.tokens),
                cost: real(cost.map(money), grant.cost),
            },
            Self::NeverDispatched => {
                Usage { calls: 0, tokens: real(Some(0), grant.tokens), cost: real(Some(0), grant.cost) }
            }
            Self::Unknown => Usage::default(),
        }
    }
}
