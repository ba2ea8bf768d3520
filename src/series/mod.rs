//! What charts draw: records folded into counts, by the minute and by who called what. Records come in as text, and rows
//! of figures go out; where both stand is not this room's business. Everything is bounded: names, groups and points.

mod burn;
mod cell;
mod draw;
mod figures;
mod matrix;
mod rollup;
mod seen;
mod wanted;

pub use burn::{Burn, BurnAsk};
pub use cell::{Cell, Durations};
pub use draw::{DrawnGroup, DrawnSeries, Values};
pub use figures::{Answer, Asked, Figuring};
pub use matrix::{Matrix, MatrixCell};
pub use rollup::{Key, NO_NAME, Rollup, Row};
pub use seen::{Counted, Seen, counter_name};
pub use wanted::{
    AskError, By, Catalog, Facet, LEVELS, MOST_GROUPS, MOST_POINTS, MatrixAsk, Measure, SeriesAsk, Span,
    Step, USUAL_GROUPS, minute_of,
};

/// What is beyond the most that is told apart counts under this name.
pub const OTHERS: &str = "(other)";

/// Tools that are in no catalog, as agents named them, count under this name.
pub const UNKNOWN: &str = "(unknown)";

#[cfg(test)]
mod tests;
