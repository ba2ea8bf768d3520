//! Reads rows as often as what is asked for needs them.

use super::{
    burn::{Burn, BurnAsk, Burning},
    draw::{Drawing, DrawnSeries},
    matrix::{Filling, Matrix},
    rollup::Row,
    wanted::{MatrixAsk, SeriesAsk, Span},
};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A series.
    Series(SeriesAsk),
    /// Agents and tools.
    Matrix(MatrixAsk),
    /// The use of a budget.
    Burn(BurnAsk),
}

impl Asked {
    /// The rows that it needs: no minute is in two of them.
    pub fn spans(&self) -> Vec<Span> {
        match self {
            Self::Series(ask) => vec![ask.span()],
            Self::Matrix(ask) => ask.spans(),
            Self::Burn(ask) => vec![ask.span()],
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A series.
    Series(DrawnSeries),
    /// Agents and tools.
    Matrix(Matrix),
    /// The use of a budget.
    Burn(Burn),
}

/// The work on it: all rows are to be handed to [`Self::take`], and once more as long as [`Self::again`] says so.
#[derive(Debug)]
pub struct Figuring(Work);

#[derive(Debug)]
enum Work {
    Series(Box<Drawing>),
    Matrix(Box<Filling>),
    Burn(Box<Burning>),
}

impl Figuring {
    /// Begins.
    pub fn new(asked: Asked) -> Self {
        Self(match asked {
            Asked::Series(ask) => Work::Series(Box::new(Drawing::new(ask))),
            Asked::Matrix(ask) => Work::Matrix(Box::new(Filling::new(ask))),
            Asked::Burn(ask) => Work::Burn(Box::new(Burning::new(ask))),
        })
    }

    /// Takes a row in.
    pub fn take(&mut self, row: Row<'_>) {
        match &mut self.0 {
            Work::Series(drawing) => drawing.take(row),
            Work::Matrix(filling) => filling.take(row),
            Work::Burn(burning) => burning.take(row),
        }
    }

    /// Whether all rows are needed once more.
    pub fn again(&mut self) -> bool {
        match &mut self.0 {
            Work::Series(drawing) => drawing.again(),
            Work::Matrix(_) | Work::Burn(_) => false,
        }
    }

    /// What came of it.
    pub fn finish(self) -> Answer {
        match self.0 {
            Work::Series(drawing) => Answer::Series(drawing.finish()),
            Work::Matrix(filling) => Answer::Matrix(filling.finish()),
            Work::Burn(burning) => Answer::Burn(burning.finish()),
        }
    }
}
