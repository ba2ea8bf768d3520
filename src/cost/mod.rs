//! What a call costs: token counts, prices, the estimate before and the settlement after. Pure.

mod budget;
mod price;

pub use budget::{BudgetAction, BudgetRule, BudgetScope, BudgetWindow};
pub use price::{Encoding, Estimate, ModelPrice, PriceTable};
