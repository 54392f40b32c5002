//! `pib config`

use clap::Args;

use super::completer;
use super::options::TargetArg;
use super::output::print_as;
use crate::ops::effective_config::{self, From, Setting};
use crate::ops::{Error, Session};

/// Show what is set, and from where
#[derive(Debug, Args)]
pub(super) struct Config {
    /// Show only the settings whose names begin so, e.g. image
    #[arg(add = completer::setting())]
    key: Option<String>,
    #[command(flatten)]
    target: TargetArg,
}

pub(super) fn run(session: &Session, json: bool, args: &Config) -> Result<(), Error> {
    let all = effective_config::settings(&args.target.session(session))?;
    let begins = |setting: &Setting| match &args.key {
        Some(key) => setting.key == *key || setting.key.starts_with(&format!("{key}.")),
        None => true,
    };
    let names: Vec<String> = all.iter().map(|setting| setting.key.clone()).collect();
    let found: Vec<Setting> = all.into_iter().filter(begins).collect();
    if let (true, Some(key)) = (found.is_empty(), &args.key) {
        let help = match pib_plan::suggest::only_nearest(key, names.iter().map(String::as_str)) {
            Some(near) => format!("Did you mean `{near}`?"),
            None => "`pib config` lists all settings.".to_owned(),
        };
        return Err(Error::usage(format!("nothing called `{key}` is set"), help));
    }
    print_as(json, &found, |found| table(found))
}

fn table(settings: &[Setting]) -> String {
    let width = settings.iter().map(|setting| setting.key.len()).max().unwrap_or_default();
    let lines = settings.iter().map(|setting| {
        let value = match (&setting.value, setting.hidden) {
            (_, true) => "(set, not shown)",
            (Some(value), _) => value,
            (None, _) => "(see the file)",
        };
        let place = setting.place.as_deref().unwrap_or_default();
        let from = match setting.from {
            From::Default => "default",
            From::CommandLine | From::Environment | From::Project | From::User => place,
        };
        format!("{:width$}  {value}  [{from}]", setting.key)
    });
    lines.collect::<Vec<_>>().join("\n")
}
