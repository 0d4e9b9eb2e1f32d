//! `hearth alias`: names that lead to versions.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use control::{AliasList, AliasView, AliasWrite};
use model::{AliasName, EnvValue, FunctionName, SecretName, Version};
use ureq::http::Method;

use super::client::{Client, ConnectArgs};
use super::out::{self, Column};
use super::{Usage, text};

#[derive(Debug, Args)]
pub struct AliasArgs {
    #[command(subcommand)]
    command: AliasCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Subcommand)]
enum AliasCommand {
    /// Make an alias, or point it elsewhere
    Set {
        function: FunctionName,
        alias: AliasName,
        /// $LATEST, or the number of a published version [default: as it is]
        #[arg(value_name = "VERSION")]
        to: Option<Version>,
        /// Give another published version a share of the calls
        #[arg(long, value_name = "VERSION=SHARE", value_parser = share)]
        second: Option<(u64, f64)>,
        /// For people, at most 256 bytes
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// A variable that its calls see over the version's; may be given many times
        #[arg(short, long, value_name = "NAME=VALUE", value_parser = super::env::pair)]
        env: Vec<(String, String)>,
        /// The same with a secret
        #[arg(long, value_name = "NAME=SECRET", value_parser = super::access::reference)]
        secret: Vec<(String, SecretName)>,
        /// A variable of its own to remove; may be given many times
        #[arg(long, value_name = "NAME")]
        unset: Vec<String>,
    },
    /// List a function's aliases
    List { function: FunctionName },
    /// Remove an alias
    Rm { function: FunctionName, alias: AliasName },
}

/// A share of calls: `10%` or `0.1`.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = |text: &str| text.trim().parse::<f64>().ok();
    let share = match text.strip_suffix('%') {
        Some(percent) => number(percent).map(|percent| percent / 100.0),
        None => number(text),
    };
    let share = share.filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a share of the calls, like 10% or 0.1".to_owned())
}

/// The same for people.
pub fn shown(share: f64) -> String {
    format!("{}%", (share * 10_000.0).round() / 100.0)
}

fn share(text: &str) -> Result<(u64, f64), String> {
    let bad = || "expected VERSION=SHARE, like 8=10%".to_owned();
    let (version, share) = text.split_once('=').ok_or_else(bad)?;
    Ok((version.parse().map_err(|_| bad())?, percent(share)?))
}

pub fn run(args: AliasArgs) -> anyhow::Result<ExitCode> {
    let client = Client::new(&args.connect)?;
    let path = |function: &FunctionName| format!("/api/v1/functions/{function}/aliases");
    match args.command {
        AliasCommand::Set { function, alias, to, second, description, env, secret, unset } => {
            let weights: Option<BTreeMap<_, _>> =
                second.map(|(number, share)| [(number.to_string(), share)].into_iter().collect());
            // Pointed elsewhere, it leads there alone, unless a second one is named.
            let weights = weights.or_else(|| to.is_some().then(BTreeMap::new));
            let mut own: BTreeMap<String, Option<EnvValue>> = unset.into_iter().map(|name| (name, None)).collect();
            own.extend(env.into_iter().map(|(name, value)| (name, Some(value.into()))));
            own.extend(secret.into_iter().map(|(name, secret)| (name, Some(secret.into()))));
            if to.is_none() && weights.is_none() && description.is_none() && own.is_empty() {
                let why = "nothing to set: expected a VERSION, --second, --description, --env, --secret or --unset";
                bail!(Usage(why.to_owned()));
            }
            let write = AliasWrite { version: to, description, weights, env: Some(own) };
            let set: AliasView = client.write(Method::PUT, &format!("{}/{alias}", path(&function)), &write)?;
            if args.json {
                out::json(&set)?;
            } else {
                out::line(&text::one_line(&format!("{function}:{alias} leads to {}", leads(&set))))?;
            }
        }
        AliasCommand::List { function } => {
            let AliasList { aliases } = client.get(&path(&function))?;
            if args.json {
                out::json(&aliases)?;
            } else if aliases.is_empty() {
                out::note(&format!("{function} has no aliases: `hearth alias set {function} live VERSION` makes one"));
            } else {
                let columns = ["alias", "leads to", "changed", "description"].map(|name| (name, Column::Left));
                let rows = aliases.into_iter().map(|one| {
                    let (leads, changed) = (leads(&one), format!("{} ago", text::ago(&one.modified)));
                    vec![one.name, leads, changed, one.description]
                });
                out::table(&columns, rows.collect())?;
            }
        }
        AliasCommand::Rm { function, alias } => {
            client.delete(&format!("{}/{alias}", path(&function)))?;
            if args.json {
                out::json(&serde_json::json!({"function": function, "alias": alias, "removed": true}))?;
            } else {
                out::line(&format!("removed the alias {alias} of {function}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn leads(alias: &AliasView) -> String {
    let second = alias.weights.iter().map(|(version, share)| format!(", {} version {version}", shown(*share)));
    let second = second.collect::<String>();
    let own = match alias.env.len() {
        0 => String::new(),
        _ => format!(", with its own {}", alias.env.keys().map(String::as_str).collect::<Vec<_>>().join(", ")),
    };
    format!("version {}{second}{own}", alias.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_the_whole() {
        assert_eq!(percent("10%"), Ok(0.1));
        assert_eq!(percent("0.25"), Ok(0.25));
        assert_eq!(share("8=5%"), Ok((8, 0.05)));
        assert_eq!((shown(0.25), shown(0.0725)), ("25%".into(), "7.25%".into()));
        for bad in ["", "%", "110%", "-1%", "2", "nan"] {
            assert!(percent(bad).is_err(), "{bad}");
        }
        assert!(share("8").is_err() && share("x=5%").is_err());
    }
}
