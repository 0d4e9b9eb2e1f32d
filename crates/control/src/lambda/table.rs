//! The table of AWS's operations in docs/lambda-api.md, held to the code.

use std::fmt::Write as _;

use aws::service::LAMBDA;

use super::unconfigured::UNCONFIGURED;

/// These are the gateway's.
const ELSEWHERE: [&str; 3] = ["Invoke", "InvokeAsync", "InvokeWithResponseStream"];

fn table() -> String {
    let supported = super::supported();
    let mut table = String::from("| operation | |\n| --- | --- |\n");
    for operation in LAMBDA.operations() {
        let name = operation.name.as_str();
        let how = match name {
            name if ELSEWHERE.contains(&name) || supported.contains(&name) => "supported",
            name if UNCONFIGURED.contains(&name) => "answered as where nothing is configured",
            _ => "refused: `NotImplementedException`",
        };
        let _ = writeln!(table, "| `{name}` | {how} |");
    }
    table
}

#[test]
fn the_table_of_operations_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/lambda-api.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, rest) = text.split_once("| operation | |\n").expect("the table is in the page");
    let end = rest.find("\n\n").map_or(rest.len(), |at| at + 1);
    let shown = format!("| operation | |\n{}", &rest[..end]);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{before}{}{}", table(), &rest[end..])).unwrap();
        return;
    }
    assert_eq!(shown, table(), "UPDATE=1 cargo test -p control the_table writes it anew");
}
