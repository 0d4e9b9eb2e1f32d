//! The command line: one file per command, and what they share.
//!
//! ```text
//! parse ──► Up, Server, …     run by main: they are the platform
//!      └──► Client ──► run    talks to a Hearth that runs, over its API; never to its files but the token
//! ```
//!
//! Results go to stdout, everything else to stderr. Text that a function or a server could have written is made
//! harmless before it reaches a terminal ([`text`]).

mod access;
mod alias;
mod audit;
mod aws_env;
mod backup;
mod canary;
mod client;
mod compare;
mod completions;
mod config;
mod deploy;
mod dev;
mod doctor;
mod env;
mod explain;
mod guess;
mod history;
mod http;
mod ignore;
mod image;
mod init;
mod install;
mod invoke;
mod kept;
mod key;
mod layer;
mod list;
mod logs;
mod manifest;
mod metrics;
mod mq;
mod out;
mod pack;
mod prices;
mod progress;
mod ps;
mod publish;
mod queue;
mod record;
mod restore;
mod rm;
mod routes;
mod runtimes;
mod schedule;
mod secret;
mod service;
mod simulate;
mod sources;
mod text;
mod token;
mod top;
mod triggered;
mod trust;
mod upgrade;
mod waterfall;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use model::{AllowedMount, Memory};

pub use client::default_data_dir;

/// The function answered with an error.
const FUNCTION_ERROR: u8 = 3;
/// No Hearth answers, or it does not let us in.
const NO_HEARTH: u8 = 4;

const EXIT_STATUS: &str = "\
Exit status:
  0  done
  1  it failed
  2  the command line, the manifest or the payload is wrong
  3  the function answered with an error (invoke, compare)
  4  no Hearth answers, or it refuses the token";

/// Hearth runs functions on your own machine, the way AWS Lambda does.
#[derive(Debug, Parser)]
#[command(name = "hearth", version, propagate_version = true, after_help = EXIT_STATUS)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start Hearth here and keep it running
    Up(Box<UpArgs>),
    #[command(hide = true)]
    Server(ServerArgs),
    #[command(hide = true)]
    DockerHost(ServerArgs),
    #[command(flatten)]
    Client(Box<ClientCommand>),
}

/// Which listeners speak TLS, where there is a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum TlsOnly {
    Both,
    Ingress,
    Api,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    /// Where functions, logs and the token are kept [default: /var/lib/hearth for root, else the XDG data home]
    #[arg(long, env = "HEARTH_DATA_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Where API and dashboard listen
    #[arg(
        long,
        env = "HEARTH_LISTEN",
        hide_env_values = true,
        default_value = "127.0.0.1:7070",
        value_name = "ADDRESS"
    )]
    pub listen: SocketAddr,
    /// Where functions are called over HTTP
    #[arg(
        long,
        env = "HEARTH_INGRESS",
        hide_env_values = true,
        default_value = "127.0.0.1:8080",
        value_name = "ADDRESS"
    )]
    pub ingress: SocketAddr,
    /// The memory that all instances together may use [default: most of the machine's]
    #[arg(long, env = "HEARTH_MEMORY", hide_env_values = true, value_name = "SIZE")]
    pub memory: Option<Memory>,
    /// Sandboxes kept ready with their runtime up, for cold starts; 0: none
    #[arg(long, env = "HEARTH_STEMS", hide_env_values = true, default_value_t = 8, value_name = "COUNT")]
    pub stems: u16,
    /// Whether Python's sandboxes are copies of a process that waits: faster, but alike in their layout in memory; auto: where
    /// they cannot use up what the kernel gives one user
    #[arg(long, env = "HEARTH_FORK_SERVERS", hide_env_values = true, default_value = "auto", value_name = "WHETHER")]
    pub fork_servers: ForkServers,
    /// What all images together may take on disk
    #[arg(long, env = "HEARTH_IMAGE_SPACE", hide_env_values = true, default_value = "10GB", value_name = "SIZE")]
    pub image_space: Memory,
    /// A folder of this machine's that functions may mount, with all below it; may be given many times
    #[arg(long, env = "HEARTH_ALLOW_MOUNT", hide_env_values = true, value_delimiter = ',', value_name = "FOLDER[:ro]")]
    pub allow_mount: Vec<AllowedMount>,
    /// The keys that secrets are sealed with, for the server's user alone to read [default: secret.key in the data
    /// directory]
    #[arg(long, env = "HEARTH_SECRET_KEY_FILE", hide_env_values = true, value_name = "FILE")]
    pub secret_key_file: Option<PathBuf>,
    /// A registry on another machine to speak plain HTTP to; may be given many times
    #[arg(long, value_name = "HOST:PORT")]
    pub insecure_registry: Vec<String>,
    /// A proxy before the ingress whose X-Forwarded-For is believed; may be given many times
    #[arg(long, env = "HEARTH_TRUSTED_PROXY", hide_env_values = true, value_delimiter = ',', value_name = "NETWORK")]
    pub trusted_proxy: Vec<gateway::Network>,
    /// A certificate chain in PEM: API and ingress speak HTTPS; read anew when it changes
    #[arg(long, env = "HEARTH_TLS_CERT", hide_env_values = true, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key in PEM, for the server's user to read
    #[arg(long, env = "HEARTH_TLS_KEY", hide_env_values = true, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Which of the two speaks HTTPS: both, the ingress alone, or the API alone
    #[arg(
        long,
        env = "HEARTH_TLS_ONLY",
        hide_env_values = true,
        default_value = "both",
        requires = "tls_cert",
        value_name = "both|ingress|api"
    )]
    pub tls_only: TlsOnly,
    /// A private network that is nobody's here, for the functions that have one (egress), /12 to /22
    #[arg(long, env = "HEARTH_NETWORK_RANGE", hide_env_values = true, default_value_t = linux::net::Range::default(), value_name = "NETWORK")]
    pub network_range: linux::net::Range,
    /// gVisor's program [default: where packages put it]
    #[arg(long, env = "HEARTH_RUNSC", hide_env_values = true, value_name = "PATH")]
    pub runsc: Option<PathBuf>,
    /// What makes gVisor's sandboxes: its program, run by Hearth, or the runtime of Docker's that is gVisor
    #[arg(
        long,
        env = "HEARTH_GVISOR_THROUGH",
        hide_env_values = true,
        default_value = "runsc",
        value_name = "runsc|docker[=RUNTIME]"
    )]
    pub gvisor_through: GvisorThrough,
    /// Let everybody who reaches the API's address read /metrics, without a token
    #[arg(long, env = "HEARTH_METRICS_OPEN", hide_env_values = true, value_parser = clap::builder::FalseyValueParser::new())]
    pub metrics_open: bool,
    /// Export traces by OTLP over HTTP to this collector, as OTEL_EXPORTER_OTLP_ENDPOINT says it: http://localhost:4318
    #[arg(long, value_name = "URL")]
    pub otlp: Option<String>,
    /// The region that functions and AWS's tools are told
    #[arg(
        long,
        env = "HEARTH_REGION",
        hide_env_values = true,
        default_value = model::DEFAULT_PLACE.0,
        value_parser = model::parse_region,
        value_name = "REGION"
    )]
    pub region: String,
    /// The account id that functions and AWS's tools are told
    #[arg(
        long,
        env = "HEARTH_ACCOUNT_ID",
        hide_env_values = true,
        default_value = model::DEFAULT_PLACE.1,
        value_parser = model::parse_account,
        value_name = "DIGITS"
    )]
    pub account_id: String,
    /// What a function may reach over the network that AWS's tools make: none, internet, lan, or addresses with commas between
    ///
    /// AWS's API has no word for it. `hearth config NAME egress=…` says otherwise of one function.
    #[arg(long, env = "HEARTH_LAMBDA_EGRESS", hide_env_values = true, default_value = "none", value_name = "EGRESS")]
    pub lambda_egress: model::Egress,
    /// How often one token may ask the API, in the long run; two seconds' worth at once [default: 1000/s]
    #[arg(long, env = "HEARTH_API_RATE", hide_env_values = true, value_name = "COUNT/s")]
    pub api_rate: Option<model::Rate>,
    /// End when nobody holds the other end of its input any more: when the process that started it is gone
    #[arg(long, hide = true)]
    pub until_stdin_closes: bool,
}

/// What makes gVisor's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GvisorThrough {
    /// Hearth runs it.
    Runsc,
    /// Docker does, as one of its runtimes.
    Docker(docker::GvisorRuntime),
}

// === impl GvisorThrough ===

impl FromStr for GvisorThrough {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "runsc" => Ok(Self::Runsc),
            None if text == "docker" => Ok(Self::Docker(docker::GvisorRuntime::Found)),
            Some(("docker", name)) if !name.is_empty() => {
                Ok(Self::Docker(docker::GvisorRuntime::Named(name.to_owned())))
            }
            _ => Err("expected runsc, docker, or docker=RUNTIME with the name of one of Docker's runtimes".into()),
        }
    }
}

/// Whether sandboxes are forked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ForkServers {
    Auto,
    On,
    Off,
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    #[arg(long, value_name = "JSON")]
    pub config: String,
}

/// What talks to a Hearth that runs.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Make a new function folder that works
    Init(init::InitArgs),
    /// Package a folder, zip or file, and make it a function
    Deploy(Box<deploy::DeployArgs>),
    /// Deploy a folder at every change of it, and show what the function writes and how its calls go
    Dev(Box<dev::DevArgs>),
    /// Call a function and print its answer
    Invoke(invoke::InvokeArgs),
    /// Show one call: how it went, and what it was given and answered where that is kept
    Record(record::RecordArgs),
    /// Call a function once more with the event of a call that was kept
    Replay(record::ReplayArgs),
    /// Print what functions wrote
    Logs(logs::LogsArgs),
    /// Show figures of calls: how many, how many failed, how long they took
    Metrics(metrics::MetricsArgs),
    /// Show what goes on, and keep the picture up to date
    Top(top::TopArgs),
    /// List functions
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Show asynchronous events: how many wait, which were set aside
    Queue(queue::QueueArgs),
    /// Make and use message queues: send, receive, purge
    Mq(mq::MqArgs),
    /// Show and pause event sources: message queues, MQTT topics and folders that call functions
    Sources(sources::SourcesArgs),
    /// Show, pause and run schedules: when functions are called by the clock
    Schedule(schedule::ScheduleArgs),
    /// List the instances that live now
    Ps(ps::PsArgs),
    /// Remove a function
    Rm(rm::RmArgs),
    /// Show or change a function's environment variables
    Env(env::EnvArgs),
    /// Show or change a function's settings
    Config(config::ConfigArgs),
    /// Make a version: what a function is now, for good
    Publish(publish::PublishArgs),
    /// List a function's versions, or remove one
    Versions(publish::VersionsArgs),
    /// Make, list and remove aliases: names that lead to versions
    Alias(alias::AliasArgs),
    /// Show what was done to a function, and by whom
    History(history::HistoryArgs),
    /// Show what differs between two revisions of a function
    Diff(history::DiffArgs),
    /// Make a function what it was before
    Rollback(history::RollbackArgs),
    /// Show the canary of a function, promote it or roll it back
    Canary(canary::CanaryArgs),
    /// Set, list and remove what functions must know and nobody may read
    Secret(secret::SecretArgs),
    /// Make, list and remove the keys that routes may ask their callers for
    Key(key::KeyArgs),
    /// Make, list and remove layers: packages that functions share
    Layer(layer::LayerArgs),
    /// Make, list and revoke the tokens that let others use this Hearth, each for what it is for
    Token(token::TokenArgs),
    /// Show who changed what here, and check that the record of it is whole
    Audit(audit::AuditArgs),
    /// List the routes that functions answer
    Routes(routes::RoutesArgs),
    /// Pull, import, list and remove the images that functions run in
    Image(image::ImageArgs),
    /// List the runtimes that functions can use here
    Runtimes(runtimes::RuntimesArgs),
    /// Measure a function on every isolation, and what it costs there
    Compare(Box<compare::CompareArgs>),
    /// Show or set the prices that costs are told in
    Prices(Box<prices::PricesArgs>),
    /// Replay a recorded trace of calls against the keep-alive policy
    Simulate(simulate::SimulateArgs),
    /// Write all that Hearth keeps into a file, while it works
    Backup(backup::BackupArgs),
    /// Make a data directory of a backup
    Restore(restore::RestoreArgs),
    /// Go on with another version of Hearth, without a call that fails
    Upgrade(upgrade::UpgradeArgs),
    /// Make Hearth a service of systemd's on this machine
    Install(service::InstallArgs),
    /// Remove the service, and with --purge all that Hearth keeps
    Uninstall(service::UninstallArgs),
    /// Say what works on this machine, what does not, and why
    Doctor(doctor::DoctorArgs),
    /// Explain an error code
    Explain(explain::ExplainArgs),
    /// Print the environment that points AWS's tools here
    AwsEnv(aws_env::AwsEnvArgs),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// The command line asks for something that cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// Runs a client command to its end. Failures are told here: an error comes back only where telling failed.
pub fn run(command: ClientCommand) -> anyhow::Result<ExitCode> {
    let json = command.json();
    let result = match command {
        ClientCommand::Init(args) => init::run(args),
        ClientCommand::Deploy(args) => deploy::run(*args),
        ClientCommand::Dev(args) => dev::run(*args),
        ClientCommand::Invoke(args) => invoke::run(args),
        ClientCommand::Record(args) => record::show(args),
        ClientCommand::Replay(args) => record::replay(args),
        ClientCommand::Logs(args) => logs::run(args),
        ClientCommand::Metrics(args) => metrics::run(args),
        ClientCommand::Top(args) => top::run(args),
        ClientCommand::List(args) => list::run(args),
        ClientCommand::Ps(args) => ps::run(args),
        ClientCommand::Queue(args) => queue::run(args),
        ClientCommand::Mq(args) => mq::run(args),
        ClientCommand::Sources(args) => sources::run(args),
        ClientCommand::Schedule(args) => schedule::run(args),
        ClientCommand::Rm(args) => rm::run(args),
        ClientCommand::Env(args) => env::run(args),
        ClientCommand::Config(args) => config::run(args),
        ClientCommand::Publish(args) => publish::publish(args),
        ClientCommand::Versions(args) => publish::versions(args),
        ClientCommand::Alias(args) => alias::run(args),
        ClientCommand::History(args) => history::history(args),
        ClientCommand::Diff(args) => history::diff(args),
        ClientCommand::Rollback(args) => history::roll_back(args),
        ClientCommand::Canary(args) => canary::run(args),
        ClientCommand::Secret(args) => secret::run(args),
        ClientCommand::Key(args) => key::run(args),
        ClientCommand::Layer(args) => layer::run(args),
        ClientCommand::Token(args) => token::run(args),
        ClientCommand::Audit(args) => audit::run(args),
        ClientCommand::Routes(args) => routes::run(args),
        ClientCommand::Image(args) => image::run(args),
        ClientCommand::Runtimes(args) => runtimes::run(args),
        ClientCommand::Compare(args) => compare::run(*args),
        ClientCommand::Prices(args) => prices::run(*args),
        ClientCommand::Simulate(args) => simulate::run(args),
        ClientCommand::Backup(args) => backup::run(args),
        ClientCommand::Restore(args) => restore::run(args),
        ClientCommand::Upgrade(args) => upgrade::run(args),
        ClientCommand::Install(args) => service::install(args),
        ClientCommand::Uninstall(args) => service::uninstall(args),
        ClientCommand::Doctor(args) => doctor::run(args),
        ClientCommand::Explain(args) => explain::run(args),
        ClientCommand::AwsEnv(args) => aws_env::run(args),
        ClientCommand::Completions(args) => completions::run(args),
    };
    let error = match result {
        Ok(code) => return Ok(code),
        Err(error) => error,
    };
    // `hearth logs | head` is no failure.
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    if error.chain().any(broken) {
        return Ok(ExitCode::SUCCESS);
    }
    out::error(&error, json);
    Ok(ExitCode::from(exit_code(&error)))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(|cause| cause.is::<Usage>()) {
        return 2;
    }
    match error.chain().find_map(|cause| cause.downcast_ref::<client::ClientError>()) {
        Some(error) if error.no_hearth() => NO_HEARTH,
        // Only the server could tell that what was asked for cannot be.
        Some(error) if error.code() == Some("HEARTH-C001") => 2,
        _ => 1,
    }
}

// === impl ClientCommand ===

impl ClientCommand {
    fn json(&self) -> bool {
        match self {
            Self::Init(_) | Self::Completions(_) => false,
            Self::Deploy(args) => args.json,
            Self::Dev(args) => args.json(),
            Self::Invoke(args) => args.json,
            Self::Record(args) => args.json,
            Self::Replay(args) => args.json,
            Self::Logs(args) => args.json,
            Self::Metrics(args) => args.json,
            Self::Top(args) => args.json,
            Self::List(args) => args.json,
            Self::Ps(args) => args.json,
            Self::Queue(args) => args.json,
            Self::Mq(args) => args.json,
            Self::Sources(args) => args.json,
            Self::Schedule(args) => args.json,
            Self::Rm(args) => args.json,
            Self::Env(args) => args.json,
            Self::Config(args) => args.json,
            Self::Publish(args) => args.json,
            Self::Versions(args) => args.json,
            Self::Alias(args) => args.json,
            Self::History(args) => args.json,
            Self::Diff(args) => args.json,
            Self::Rollback(args) => args.json,
            Self::Canary(args) => args.json,
            Self::Secret(args) => args.json(),
            Self::Key(args) => args.json,
            Self::Layer(args) => args.json,
            Self::Token(args) => args.json,
            Self::Audit(args) => args.json,
            Self::Routes(args) => args.json,
            Self::Image(args) => args.json(),
            Self::Runtimes(args) => args.json,
            Self::Compare(args) => args.json,
            Self::Prices(args) => args.json(),
            Self::Simulate(args) => args.json,
            Self::Backup(args) => args.json,
            Self::Restore(args) => args.json,
            Self::Upgrade(args) => args.json,
            Self::Install(args) => args.json,
            Self::Uninstall(args) => args.json,
            Self::Doctor(args) => args.json,
            Self::Explain(args) => args.json,
            Self::AwsEnv(args) => args.json,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_reads_as_it_did() {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/help");
        let mut root = Cli::command().term_width(100);
        root.build();
        let mut texts = vec![("hearth".to_owned(), root.render_long_help().to_string())];
        for sub in root.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let name = sub.get_name().to_owned();
            texts.push((name, sub.clone().term_width(100).render_long_help().to_string()));
        }
        for (name, text) in texts {
            let path = folder.join(format!("{name}.txt"));
            let text = text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n";
            if std::env::var_os("UPDATE").is_some() {
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(text == kept, "{name}: help changed; UPDATE=1 keeps the new text:\n{text}");
        }
    }

    #[test]
    fn names_its_exit_status() {
        let usage = anyhow::Error::new(Usage("x".into())).context("deploying");
        assert_eq!(exit_code(&usage), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("x")), 1);
        let gone = client::ClientError::Unreachable { endpoint: "http://x".into(), cause: "refused".into() };
        assert_eq!(exit_code(&gone.into()), NO_HEARTH);
        let refused = |code: &str| client::ClientError::Refused {
            status: 400,
            code: Some(code.into()),
            message: "memory = 1MB is out of range".into(),
        };
        assert_eq!(exit_code(&refused("HEARTH-C001").into()), 2);
        assert_eq!(exit_code(&refused("HEARTH-C002").into()), 1);
        assert_eq!(exit_code(&client::ClientError::TooLarge.into()), 1);
    }
}
