//! rust-event: totals an order, called with an event. AWS Lambda's runtime for Rust is used as it is.

use std::fmt;

use lambda_runtime::{Error, LambdaEvent, run, service_fn};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Order {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    cents: u64,
    count: u64,
}

#[derive(Debug, PartialEq, Serialize)]
struct Total {
    items: usize,
    cents: u64,
}

/// An error with a type of its own: callers see that type as `errorType`.
#[derive(Debug, PartialEq)]
enum Refused {
    Empty,
    TooMuch(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "an order without items"),
            Self::TooMuch(name) => write!(f, "{name}: that is more than can be counted"),
        }
    }
}

impl std::error::Error for Refused {}

fn total(order: &Order) -> Result<Total, Refused> {
    if order.items.is_empty() {
        return Err(Refused::Empty);
    }
    let mut cents: u64 = 0;
    for item in &order.items {
        let sum = item.cents.checked_mul(item.count).and_then(|price| cents.checked_add(price));
        cents = sum.ok_or_else(|| Refused::TooMuch(item.name.clone()))?;
    }
    Ok(Total { items: order.items.len(), cents })
}

async fn handle(event: LambdaEvent<Order>) -> Result<Total, Error> {
    // What is printed is in the function's log, under the request's id.
    println!("an order of {} items", event.payload.items.len());
    Ok(total(&event.payload)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    // What stands here runs once for each instance, before its first event: load and connect here.
    run(service_fn(handle)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(items: &[(&str, u64, u64)]) -> Order {
        let item = |(name, cents, count): &(&str, u64, u64)| Item { name: (*name).into(), cents: *cents, count: *count };
        Order { items: items.iter().map(item).collect() }
    }

    #[test]
    fn an_order_is_totalled() {
        assert_eq!(total(&order(&[("milk", 129, 2), ("salt", 50, 1)])), Ok(Total { items: 2, cents: 308 }));
    }

    #[test]
    fn what_cannot_be_totalled_is_refused() {
        assert_eq!(total(&order(&[])), Err(Refused::Empty));
        assert_eq!(total(&order(&[("gold", u64::MAX, 2)])), Err(Refused::TooMuch("gold".into())));
    }
}
