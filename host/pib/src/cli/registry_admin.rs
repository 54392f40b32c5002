//! `pib registry`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use pib_event::ReporterExt as _;
use pib_plan::id::StageName;
use pib_plan::registry_snapshot::RegistryKey;
use serde::Serialize;

use super::completer;
use super::output::print_as;
use crate::ops::mirror::{self, MirrorOptions, RegistryCopy};
use crate::ops::registry_admin::{self, MadeRegistry, NewIndex, WholeRegistry};
use crate::ops::registry_server::{self, AccessLog, RateLimits, ServeOptions};
use crate::ops::registry_signing::{self, SignOptions, SignedRegistry};
use crate::ops::registry_tokens::{self, NewToken, Scope, TokenOptions};
use crate::ops::{Error, Session};

/// Where a registry is served.
#[derive(Debug, Serialize)]
struct ServedAt {
    address: String,
}

/// Make a registry of your own, and look after it
#[derive(Debug, Args)]
pub(super) struct Registry {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(Init),
    Index(Index),
    Verify(Verify),
    Sign(Sign),
    Serve(Serve),
    Mirror(Mirror),
    Token(Token),
}

/// Make a folder a registry without stages
#[derive(Debug, Args)]
struct Init {
    /// The folder, or s3://BUCKET/PREFIX
    folder: PathBuf,
}

/// Write the index again from the archives; what was yanked stays so
#[derive(Debug, Args)]
struct Index {
    /// The registry's folder, or s3://BUCKET/PREFIX
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The file of the registry's key, where it is signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Sign all of a registry as it is, so that nobody who passes it on can change it unseen
///
/// Projects name the key that this shows: [registries.NAME] key = "ed25519:...". From then on, `pib publish`, `yank`, `registry index` and
/// `registry serve` take the key's file, and sign what they change.
#[derive(Debug, Args)]
struct Sign {
    /// The registry's folder, or s3://BUCKET/PREFIX
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// The file of the key; it is made where there is none
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The file of another key, which signs from now on; it is made where there is none
    #[arg(long, value_name = "FILE")]
    rotate_to: Option<PathBuf>,
    /// For how many days the signature counts [default: as before, or 30]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: Option<u32>,
    /// The number of the snapshot, where its last one is lost [default: the next one]
    #[arg(long, value_name = "N")]
    number: Option<u64>,
}

/// Check that every line of the index has its archive, and says what the archive says
#[derive(Debug, Args)]
struct Verify {
    /// The registry's folder, s3://BUCKET/PREFIX, or oci://HOST/NAMESPACE
    #[arg(default_value = ".")]
    folder: PathBuf,
}

/// Serve a registry: its files, publishing with tokens, and pages for people
#[derive(Debug, Args)]
struct Serve {
    /// The registry's folder, or s3://BUCKET/PREFIX
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Listen at this address; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8400")]
    listen: SocketAddr,
    /// The file of tokens; without it nothing can be published
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The file of the registry's key, where it is signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Add a line of JSON for each request; - is standard output
    #[arg(long, value_name = "FILE|-")]
    access_log: Option<PathBuf>,
    /// How many changes a token may make in a minute; 0: any
    #[arg(long, value_name = "N", default_value_t = 120)]
    limit_token: u32,
    /// How many changes an address may make in a minute; 0: any
    #[arg(long, value_name = "N", default_value_t = 240)]
    limit_address: u32,
    /// How many wrong tokens an address may send; 0: any
    #[arg(long, value_name = "N", default_value_t = 10)]
    limit_failures: u32,
    /// Believe the X-Forwarded-For of the proxy in front
    #[arg(long)]
    behind_proxy: bool,
    /// How long requests may go on when the server ends
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    grace: u64,
}

/// Copy a registry into a folder, or go on with a copy
///
/// What its key has not signed, and archives with another digest than the index has, are refused. The copy keeps the signed snapshot, so
/// that projects use it with the same key; `pib registry serve` serves it. Run the command again to bring the copy up to date.
#[derive(Debug, Args)]
struct Mirror {
    /// The registry: a folder, an address, or the name of one of the project's or yours
    #[arg(value_name = "DIR|URL|NAME", add = completer::registry())]
    source: String,
    /// The folder of the copy
    folder: PathBuf,
    /// A stage to copy, with all its versions [default: all stages]
    #[arg(value_name = "STAGE")]
    stages: Vec<StageName>,
    /// The key that signs it [default: yours, or the first seen]
    #[arg(long, value_name = "ed25519:...")]
    key: Option<RegistryKey>,
}

/// Make a token for somebody who publishes; it is shown once, and the file keeps its digest
#[derive(Debug, Args)]
struct Token {
    /// Whose it is
    name: String,
    /// The server's file of tokens
    #[arg(long, value_name = "FILE")]
    tokens: PathBuf,
    /// What it allows; may be given again [default: all of it]
    #[arg(long, value_enum)]
    scope: Vec<TokenScope>,
    /// A stage that it is for, or the beginning of names with a `*`; may be given again [default: all]
    #[arg(long, value_name = "NAME|START*")]
    stage: Vec<String>,
    /// For how many days
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum TokenScope {
    /// Publish stages that the registry does not have
    PublishNew,
    /// Publish versions of stages that it has
    PublishUpdate,
    /// Yank versions, and take that back
    Yank,
    /// Add owners of stages, and remove them
    ChangeOwners,
}

impl From<TokenScope> for Scope {
    fn from(scope: TokenScope) -> Self {
        match scope {
            TokenScope::PublishNew => Self::PublishNew,
            TokenScope::PublishUpdate => Self::PublishUpdate,
            TokenScope::Yank => Self::Yank,
            TokenScope::ChangeOwners => Self::ChangeOwners,
        }
    }
}

impl Registry {
    /// Returns whether it runs until a signal ends it, which it sees to itself.
    pub(super) fn is_server(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

/// Runs the command; a server ends in order when `stopped` is ready.
pub(super) async fn run(
    session: &Session,
    json: bool,
    args: Registry,
    stopped: impl Future<Output = ()>,
) -> Result<(), Error> {
    match args.command {
        Command::Init(args) => {
            print_as(json, &registry_admin::init(session, &args.folder).await?, MadeRegistry::to_text)
        }
        Command::Index(args) => print_as(
            json,
            &registry_admin::index(session, &args.folder, args.key.as_deref()).await?,
            NewIndex::to_text,
        ),
        Command::Verify(args) => {
            print_as(json, &registry_admin::verify(session, &args.folder).await?, WholeRegistry::to_text)
        }
        Command::Sign(args) => {
            let options = SignOptions {
                registry: args.folder,
                key: args.key,
                rotate_to: args.rotate_to,
                days: args.days,
                number: args.number,
            };
            print_as(json, &registry_signing::sign(session, &options).await?, SignedRegistry::to_text)
        }
        Command::Serve(args) => serve(session, json, args, stopped).await,
        Command::Mirror(args) => {
            let Mirror { source, folder, stages, key } = args;
            let options = MirrorOptions { source, folder, stages, key };
            print_as(json, &mirror::mirror(session, &options).await?, RegistryCopy::to_text)
        }
        Command::Token(args) => {
            let scopes = match args.scope.is_empty() {
                true => Scope::ALL.to_vec(),
                false => args.scope.into_iter().map(Scope::from).collect(),
            };
            let options = TokenOptions { name: args.name, scopes, stages: args.stage, days: args.days };
            let made = registry_tokens::create(session, &args.tokens, &options)?;
            session.reporter.note(made.hint());
            print_as(json, &made, NewToken::to_text)
        }
    }
}

async fn serve(
    session: &Session,
    json: bool,
    args: Serve,
    stopped: impl Future<Output = ()>,
) -> Result<(), Error> {
    let log = match args.access_log {
        Some(path) if path.as_os_str() == "-" => {
            Some(AccessLog::to(session.reporter.clone(), Box::new(std::io::stdout()))?)
        }
        Some(path) => Some(AccessLog::file(session, &path)?),
        None => None,
    };
    let options = ServeOptions {
        registry: args.folder,
        listen: args.listen,
        tokens: args.tokens,
        key: args.key,
        limits: RateLimits {
            token: args.limit_token,
            address: args.limit_address,
            failures: args.limit_failures,
        },
        behind_proxy: args.behind_proxy,
        log,
        grace: Duration::from_secs(args.grace),
    };
    let started = |address| {
        let started = ServedAt { address: format!("http://{address}") };
        print_as(json, &started, |started| format!("Serving at {}; Ctrl-C ends it", started.address))
    };
    registry_server::serve(session, &options, started, stopped).await
}
