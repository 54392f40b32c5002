//! `--build-arg`: values for the `ARG`s that parts declare themselves.
//!
//! What pib declares, project variables and config keys, has its own place and its own checks, so it cannot be
//! overruled here. A proxy's address says how the network is reached and not what is built: it is part of no key, unless a
//! part declares it.

use std::collections::BTreeMap;
use std::ffi::OsString;

use pib_plan::assemble::{Arg, StageInput};
use pib_plan::config;

use crate::project::{Error, Session};

/// The arguments that Docker knows without a declaration.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Reads `NAME=VALUE`, and `NAME` with the environment's value.
pub(crate) fn parse(session: &Session, given: &[String]) -> Result<BTreeMap<String, String>, Error> {
    let read = |text: &String| {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => {
                let value = session.variables.get(&OsString::from(text));
                (text.as_str(), value.map(|value| value.to_string_lossy().into_owned()))
            }
        };
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letter) {
            return Err(Error::usage("--build-arg names no argument", "Write --build-arg NAME=VALUE."));
        }
        let missing = || {
            let message = format!("--build-arg {name} has no value, and the environment has none either");
            Error::usage(message, format!("Write --build-arg {name}=VALUE."))
        };
        let value = value.ok_or_else(missing)?;
        if value.chars().any(char::is_control) {
            let message =
                format!("the value of --build-arg {name} has a line break or another control character");
            return Err(Error::usage(message, "A value is one line of text."));
        }
        Ok((name.to_owned(), value))
    };
    given.iter().map(read).collect()
}

/// Gives each stage the arguments that its part declares.
///
/// # Errors
/// When no part declares one, or it is one of pib's own or decides how the engine itself works.
pub(crate) fn apply(stages: &mut [StageInput], given: &BTreeMap<String, String>) -> Result<(), Error> {
    for (name, value) in given {
        let own = stages.iter().find(|stage| stage.args.iter().any(|arg| arg.name == *name));
        if let Some(stage) = own {
            let message = format!("{name} is an argument that pib gives to stage `{}`", stage.name);
            let help =
                "Set a config key with `pib add --config STAGE.KEY=VALUE`, and a variable in pib.toml.";
            return Err(Error::usage(message, help));
        }
        if config::is_engines_own(name) && !is_proxy(name) {
            let message = format!("{name} decides how the engine works, so --build-arg cannot give it");
            return Err(Error::usage(message, "Give the part's ARG another name."));
        }
        let declares = |stage: &StageInput| stage.part.declares.iter().any(|arg| arg.name == *name);
        let mut found = is_proxy(name);
        for stage in stages.iter_mut().filter(|stage| declares(stage)) {
            stage.args.push(Arg { name: name.clone(), value: value.clone(), keyed: true });
            found = true;
        }
        if !found {
            return Err(unknown(stages, name));
        }
    }
    Ok(())
}

fn unknown(stages: &[StageInput], name: &str) -> Error {
    let known = || stages.iter().flat_map(|stage| &stage.part.declares).map(|arg| arg.name.as_str());
    let help = match pib_plan::suggest::nearest(name, known()) {
        Some(near) => format!("Did you mean `{near}`?"),
        None => format!("A part that is to read it says ARG {name}."),
    };
    Error::usage(format!("no part declares the argument {name}"), help)
}

fn is_proxy(name: &str) -> bool {
    PROXIES.contains(&name.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, text: &str) -> StageInput {
        StageInput {
            name: name.parse().unwrap(),
            version: semver::Version::new(1, 0, 0),
            args: vec![Arg { name: "TIMEOUT".to_owned(), value: "1".to_owned(), keyed: true }],
            part: pib_plan::part::check("p", text).unwrap(),
            files: vec![],
            native: true,
            recorded: false,
            secrets: vec![],
        }
    }

    #[test]
    fn only_what_parts_declare_can_be_given() {
        let mut stages = [stage("a", "ARG LEVEL=1\nRUN a"), stage("b", "RUN b")];
        let given = |name: &str| BTreeMap::from([(name.to_owned(), "2".to_owned())]);
        apply(&mut stages, &given("LEVEL")).unwrap();
        assert_eq!((stages[0].args.len(), stages[1].args.len()), (2, 1));
        apply(&mut stages, &given("HTTP_PROXY")).unwrap();
        assert_eq!(stages[0].args.len(), 2);
        let mut declared = [stage("a", "ARG HTTP_PROXY\nRUN a")];
        apply(&mut declared, &given("HTTP_PROXY")).unwrap();
        assert!(declared[0].args[1].keyed);
        declared[0].args[0].name = "http_proxy".to_owned();
        assert!(apply(&mut declared, &given("http_proxy")).is_err());
        let help = |name: &str| {
            format!("{:?}", apply(&mut [stage("a", "ARG LEVEL\nRUN a")], &given(name)).unwrap_err())
        };
        assert!(help("LEVLE").contains("Did you mean `LEVEL`?"));
        assert!(help("TIMEOUT").contains("--config"));
        assert!(help("OTHER_THING").contains("ARG OTHER_THING"));
        assert!(help("BUILDKIT_SYNTAX").contains("another name"));
    }
}
