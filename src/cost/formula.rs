//! What one call of a tool costs by itself: an amount, or a formula over its arguments. Integer arithmetic; what an agent
//! writes is bounded, and what cannot be priced is the most that the formula names, or no price at all.

use crate::model::{MicroUsd, pointer::Pointer};
use serde_json::{Value, json};

/// The price of one call of a tool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolPrice {
    /// What each call costs.
    pub base: MicroUsd,
    /// What arguments add to it.
    pub per: Vec<PricePart>,
    /// The most that a call costs: what is charged where the formula gives more, or where an argument cannot be priced.
    pub max: Option<MicroUsd>,
}

/// What one argument adds.
#[derive(Clone, Debug, PartialEq)]
pub struct PricePart {
    /// Which.
    pub argument: Pointer,
    /// What of it is counted.
    pub unit: PriceUnit,
    /// The price of each so many of them, at least 1.
    pub each: u64,
    /// What so many cost.
    pub price: MicroUsd,
    /// How many there are where the argument is absent or null.
    pub default: Option<u64>,
}

/// What of an argument is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PriceUnit {
    /// The number that it is.
    Number,
    /// The elements of the list that it is.
    Item,
    /// The bytes of the text that it is, or of any other value as JSON text.
    Byte,
}

impl PriceUnit {
    /// Each word of a price with what it counts, and how many of these make one.
    pub const NAMED: [(&str, (Self, u64)); 9] = [
        ("number", (Self::Number, 1)),
        ("item", (Self::Item, 1)),
        ("byte", (Self::Byte, 1)),
        ("KB", (Self::Byte, 1_000)),
        ("MB", (Self::Byte, 1_000_000)),
        ("GB", (Self::Byte, 1_000_000_000)),
        ("KiB", (Self::Byte, 1 << 10)),
        ("MiB", (Self::Byte, 1 << 20)),
        ("GiB", (Self::Byte, 1 << 30)),
    ];
}

/// An argument that a price needs is not what it must be, and the price names no most.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its price depends on `{argument}`, which {problem}")]
pub struct Unpriceable {
    /// A pointer into the arguments, as the price writes it.
    pub argument: String,
    /// What is wrong with it; nothing of its value.
    pub problem: &'static str,
}

/// One unit in millionths: a number may have decimals.
const WHOLE: u128 = 1_000_000;

/// More than any number that is priced.
const BEYOND: u128 = i64::MAX as u128 * WHOLE;

impl ToolPrice {
    /// An amount.
    pub fn flat(base: MicroUsd) -> Self {
        Self { base, ..Self::default() }
    }

    /// Whether it depends on the arguments.
    pub fn is_formula(&self) -> bool {
        !self.per.is_empty()
    }

    /// What it says beyond an amount, as JSON; none: it is one.
    pub fn form(&self) -> Option<Value> {
        if !self.is_formula() && self.max.is_none() {
            return None;
        }
        let part = |part: &PricePart| {
            json!({
                "argument": part.argument.as_str(),
                "unit": match part.unit {
                    PriceUnit::Number => "number",
                    PriceUnit::Item => "item",
                    PriceUnit::Byte => "byte",
                },
                "each": part.each,
                "usd": part.price,
                "default": part.default,
            })
        };
        let per: Vec<Value> = self.per.iter().map(part).collect();
        Some(json!({"base_usd": self.base, "per": per, "max_usd": self.max}))
    }

    /// The price of a call with these arguments: never below zero, each part rounded up.
    pub fn of(&self, arguments: &Value) -> Result<MicroUsd, Unpriceable> {
        let most = |price: MicroUsd| self.max.map_or(price, |max| price.min(max)).max(MicroUsd::ZERO);
        let mut sum = self.base.max(MicroUsd::ZERO);
        for part in &self.per {
            match part.of(arguments) {
                Ok(price) => sum = sum.plus(price),
                Err(problem) => {
                    let unpriceable = || Unpriceable { argument: part.argument.as_str().to_owned(), problem };
                    return self.max.map(|max| max.max(MicroUsd::ZERO)).ok_or_else(unpriceable);
                }
            }
        }
        Ok(most(sum))
    }
}

impl PricePart {
    fn of(&self, arguments: &Value) -> Result<MicroUsd, &'static str> {
        let value = self.argument.get(arguments).filter(|value| !value.is_null());
        let count = match (value, self.default) {
            (Some(value), _) => self.unit.count(value)?,
            (None, Some(default)) => u128::from(default) * WHOLE,
            (None, None) => return Err("is not there"),
        };
        // Below 2^63 times 2^63 times 10^6: it may overflow, and then it is the most there is.
        let price = u128::from(self.price.0.max(0).unsigned_abs()).saturating_mul(count);
        let each = u128::from(self.each.max(1)).saturating_mul(WHOLE);
        Ok(MicroUsd(i64::try_from(price.div_ceil(each)).unwrap_or(i64::MAX)))
    }
}

impl PriceUnit {
    /// How many of them there are, in millionths.
    fn count(self, value: &Value) -> Result<u128, &'static str> {
        let whole = |count: usize| (count as u128).saturating_mul(WHOLE);
        match (self, value) {
            (Self::Number, Value::Number(number)) => {
                if let Some(number) = number.as_u64() {
                    return Ok(u128::from(number).saturating_mul(WHOLE).min(BEYOND));
                }
                let text = number.to_string();
                match MicroUsd::parse_up(&text) {
                    // A number of less than a millionth is above zero, and counts as one.
                    Ok(count) if count.0 > 0 || (count.0 == 0 && !text.starts_with('-')) => {
                        Ok(u128::from(count.0.unsigned_abs()))
                    }
                    // Beyond what is read exactly: next to nothing, or more than is priced.
                    Err(_) if !text.starts_with('-') => match text.parse::<f64>() {
                        Ok(number) if number < 1.0 => Ok(WHOLE),
                        Ok(_) | Err(_) => Ok(BEYOND),
                    },
                    Ok(_) | Err(_) => Err("is below zero"),
                }
            }
            (Self::Number, _) => Err("is not a number"),
            (Self::Item, Value::Array(items)) => Ok(whole(items.len())),
            (Self::Item, _) => Err("is not a list"),
            (Self::Byte, Value::String(text)) => Ok(whole(text.len())),
            (Self::Byte, other) => Ok(whole(crate::model::text::of(other).len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(argument: &str, unit: PriceUnit, each: u64, price: i64) -> PricePart {
        PricePart {
            argument: Pointer::parse(argument).unwrap(),
            unit,
            each,
            price: MicroUsd(price),
            default: None,
        }
    }

    fn check(price: &ToolPrice, arguments: &str, expect: Result<i64, &str>) {
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let found = price.of(&arguments).map(|price| price.0).map_err(|error| error.to_string());
        match (found, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect, "{arguments}"),
            (Err(found), Err(expect)) => assert!(found.contains(expect), "{arguments}: {found}"),
            (found, expect) => panic!("{arguments}: {found:?}, expected {expect:?}"),
        }
    }

    #[test]
    fn a_price_follows_rows_bytes_and_items() {
        let rows = ToolPrice {
            base: MicroUsd(1_000),
            per: vec![
                part("/rows", PriceUnit::Number, 1, 100),
                part("/content", PriceUnit::Byte, 1_000_000, 20_000),
            ],
            max: None,
        };
        check(&rows, r#"{"rows": 10, "content": ""}"#, Ok(2_000));
        check(&rows, r#"{"rows": 0, "content": "1234567"}"#, Ok(1_001));
        check(&rows, r#"{"rows": 2.5, "content": ""}"#, Ok(1_250));
        check(&rows, r#"{"rows": 1e3, "content": "x"}"#, Ok(101_001));
        // Another value is as long as its JSON text.
        check(&rows, r#"{"rows": 0, "content": {"a": [1, 2]}}"#, Ok(1_001));
        let items = ToolPrice { per: vec![part("/ids", PriceUnit::Item, 2, 7)], ..ToolPrice::default() };
        check(&items, r#"{"ids": [1, 2, 3]}"#, Ok(11));
        check(&items, r#"{"ids": []}"#, Ok(0));
        check(&ToolPrice::flat(MicroUsd(9)), r#"{"rows": -1}"#, Ok(9));
        check(&ToolPrice::flat(MicroUsd(-9)), "{}", Ok(0));
    }

    /// What an agent writes makes no call free and wraps nothing round.
    #[test]
    fn hostile_arguments_cost_the_most_or_are_refused() {
        let open =
            ToolPrice { base: MicroUsd(5), per: vec![part("/rows", PriceUnit::Number, 1, 100)], max: None };
        let capped = ToolPrice { max: Some(MicroUsd(3_000)), ..open.clone() };
        for (arguments, problem) in [
            ("{}", "is not there"),
            (r#"{"rows": null}"#, "is not there"),
            (r#"{"rows": -1}"#, "is below zero"),
            (r#"{"rows": -1e-30}"#, "is below zero"),
            (r#"{"rows": -1e300}"#, "is below zero"),
            (r#"{"rows": -9223372036854775808}"#, "is below zero"),
            (r#"{"rows": "10"}"#, "is not a number"),
            (r#"{"rows": [10]}"#, "is not a number"),
            (r#"{"rows": {"n": 1}}"#, "is not a number"),
            (r#"{"rows": true}"#, "is not a number"),
            (r#"[]"#, "is not there"),
            ("null", "is not there"),
        ] {
            check(&open, arguments, Err(problem));
            check(&capped, arguments, Ok(3_000));
        }
        for huge in [
            "18446744073709551615",
            "1e300",
            "99999999999999999999999999999999999999999999999",
            "9223372036854775807.5",
        ] {
            let arguments = format!(r#"{{"rows": {huge}}}"#);
            let price: Value = serde_json::from_str(&arguments).unwrap();
            assert!(open.of(&price).unwrap().0 > 1 << 60, "{huge}");
            check(&capped, &arguments, Ok(3_000));
        }
        check(&open, r#"{"rows": 1e-300}"#, Ok(105));
        check(&open, r#"{"rows": 0.0000001}"#, Ok(6));
        check(&capped, r#"{"rows": 10}"#, Ok(1_005));
        let default = PricePart { default: Some(50), ..part("/rows", PriceUnit::Number, 1, 100) };
        let defaulted = ToolPrice { per: vec![default], ..ToolPrice::default() };
        check(&defaulted, "{}", Ok(5_000));
        check(&defaulted, r#"{"rows": 1}"#, Ok(100));
        check(&defaulted, r#"{"rows": "1"}"#, Err("is not a number"));
        let all = u64::MAX;
        let dear = PricePart {
            default: Some(all),
            price: MicroUsd(i64::MAX),
            ..part("/x", PriceUnit::Number, 1, 0)
        };
        check(&ToolPrice { per: vec![dear.clone(), dear], ..ToolPrice::default() }, "{}", Ok(i64::MAX));
    }
}
