//! `hearth explain`: the page of an error code. The pages are in the program: no server is asked.

use std::process::ExitCode;

use clap::Args;
use model::FaultCode;

use super::out;

#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A code like HEARTH-F001, or just F001; without one, all are listed
    code: Option<FaultCode>,
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

macro_rules! pages {
    ($($name:ident = $code:literal),* $(,)?) => {
        /// The page of a code. A code without a page does not compile.
        fn page(code: FaultCode) -> &'static str {
            match code {
                $(FaultCode::$name => include_str!(concat!("../../../../docs/faults/", $code, ".md"))),*
            }
        }

        #[cfg(test)]
        const FILES: &[(FaultCode, &str)] = &[$((FaultCode::$name, $code)),*];
    };
}

pages! {
    InvalidRequest = "HEARTH-C001",
    Unauthorized = "HEARTH-C002",
    NotFound = "HEARTH-C003",
    RequestTooLarge = "HEARTH-C004",
    InvalidPackage = "HEARTH-C005",
    TooManyRequests = "HEARTH-C006",
    Conflict = "HEARTH-C007",
    ImageRefused = "HEARTH-C008",
    SecretUnusable = "HEARTH-C009",
    MountRefused = "HEARTH-C010",
    Timeout = "HEARTH-F001",
    OutOfMemory = "HEARTH-F002",
    Exited = "HEARTH-F003",
    InitFailed = "HEARTH-F004",
    InitTimeout = "HEARTH-F005",
    ResponseTooLarge = "HEARTH-F006",
    Protocol = "HEARTH-F007",
    HandlerError = "HEARTH-F008",
    NoForkPoint = "HEARTH-F009",
    SandboxFailed = "HEARTH-P001",
    IsolationUnavailable = "HEARTH-P002",
    RuntimeUnavailable = "HEARTH-P003",
    NoCapacity = "HEARTH-P004",
    Store = "HEARTH-P005",
    Draining = "HEARTH-P006",
    Internal = "HEARTH-P007",
    PackageDamaged = "HEARTH-P008",
}

pub fn run(args: ExplainArgs) -> anyhow::Result<ExitCode> {
    match (args.code, args.json) {
        (Some(code), false) => out::line(page(code).trim_end())?,
        (Some(code), true) => out::json(&described(code))?,
        (None, false) => {
            for code in FaultCode::ALL {
                out::line(&format!("{code}  {}", title(*code)))?;
            }
        }
        (None, true) => out::json(&FaultCode::ALL.iter().map(|code| described(*code)).collect::<Vec<_>>())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn described(code: FaultCode) -> serde_json::Value {
    serde_json::json!({
        "code": code, "title": title(code), "blame": code.blame(), "retry": code.retry(), "page": page(code),
    })
}

/// A page begins with `# CODE: title`.
fn title(code: FaultCode) -> &'static str {
    let first = page(code).lines().next().unwrap_or_default();
    first.split_once(": ").map_or(first, |(_, title)| title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_own_page_of_the_agreed_form() {
        assert_eq!(FILES.len(), FaultCode::ALL.len());
        for (code, file) in FILES {
            assert_eq!(code.as_str(), *file);
            let text = page(*code);
            assert!(text.starts_with(&format!("# {code}: ")), "{code}");
            for part in ["## Causes", "## What to do"] {
                assert!(text.contains(part), "{code} has no part {part}");
            }
        }
    }
}
