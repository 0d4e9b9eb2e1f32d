//! Comparisons and prices.

use model::{Cloud, ComparisonId, Prices, Timestamp};
use store::{Comparisons, Functions, StoreError, StoredComparison};

use crate::{Home, name, spec};

fn comparison(function: &str, begun: i64) -> StoredComparison {
    let body = format!("{{\"begun\": {begun}}}");
    StoredComparison { id: ComparisonId::random(), function: name(function), begun: Timestamp(begun), body }
}

#[tokio::test]
async fn the_newest_twenty_of_each_function_are_kept() {
    let home = Home::new();
    let code = home.package("1").await;
    for function in ["f", "other"] {
        home.store.put(spec(function), code.clone(), None).await.unwrap();
    }
    home.store.keep(comparison("other", 0)).await.unwrap();
    for begun in 1..=25 {
        home.store.keep(comparison("f", begun)).await.unwrap();
    }
    let home = home.reopen(|_| {});
    let kept = home.store.comparisons(&name("f")).await.unwrap();
    assert_eq!(kept.iter().map(|one| one.begun.0).collect::<Vec<_>>(), (6..=25).rev().collect::<Vec<_>>());
    assert_eq!(home.store.comparison(kept[3].id).await.unwrap().as_ref(), Some(&kept[3]));
    assert_eq!(home.store.comparisons(&name("other")).await.unwrap().len(), 1);
    assert_eq!(home.store.comparison(ComparisonId::random()).await.unwrap(), None);
}

#[tokio::test]
async fn comparisons_go_with_their_function_and_outlive_a_deploy() {
    let home = Home::new();
    let code = home.package("1").await;
    let absent = home.store.keep(comparison("f", 1)).await;
    assert!(matches!(absent, Err(StoreError::NoSuchFunction(_))), "{absent:?}");
    home.store.put(spec("f"), code.clone(), None).await.unwrap();
    home.store.keep(comparison("f", 1)).await.unwrap();
    home.store.put(spec("f"), code, None).await.unwrap();
    assert_eq!(home.store.comparisons(&name("f")).await.unwrap().len(), 1);
    home.store.delete(&name("f")).await.unwrap();
    assert!(home.store.comparisons(&name("f")).await.unwrap().is_empty());
}

#[tokio::test]
async fn prices_are_none_until_they_are_set_and_then_those() {
    let home = Home::new();
    assert_eq!(home.store.prices().await.unwrap(), None);
    home.store.set_prices(Prices::default()).await.unwrap();
    let prices = Prices { cloud: Some(Cloud::preset("aws-lambda-arm").unwrap()), ..Prices::default() };
    home.store.set_prices(prices.clone()).await.unwrap();
    let home = home.reopen(|_| {});
    assert_eq!(home.store.prices().await.unwrap(), Some(prices));
}
