//! What a call costs: token counts, prices, the estimate before and the settlement after. Pure.

mod budget;
mod encoding;
mod formula;
mod learned;
mod models;
mod price;
mod token;

pub use budget::{BudgetAction, BudgetRule, BudgetScope, BudgetWindow, BudgetZone};
pub use encoding::{Encoding, Tokenizer};
pub use formula::{PricePart, PriceUnit, ToolPrice, Unpriceable};
pub use learned::{DEFAULT_RESULT_TOKENS, LearnedSizes, RecentSizes, SizeCell};
pub use models::ModelPrice;
pub use price::{Elastic, Estimate, LEAST_RESULT_TOKENS, ModelMatch, PriceTable};
pub use token::{TokenCounter, multiply};
