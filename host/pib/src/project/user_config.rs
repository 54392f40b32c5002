//! The user's own config file, and the tokens in it and in the environment.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use pib_plan::credential::{Credentials, Withheld};
use pib_plan::manifest::project::ProjectManifest;
use pib_plan::manifest::user::{self, UserConfig};
use pib_plan::registry_snapshot::RegistryKey;

use super::{Error, Session};

/// The largest config file that is read, in bytes.
const MAX_CONFIG: u64 = 1 << 20;

/// Returns what the user's config file says; where there is none, nothing.
///
/// # Errors
/// When it cannot be read, something is wrong in it, or it holds a token and others may read it.
pub(crate) fn load(session: &Session) -> Result<UserConfig, Error> {
    let Some(folder) = &session.config else { return Ok(UserConfig::default()) };
    let path = folder.join(user::FILE_NAME);
    let fail = |error| Error::io("read", &path, error);
    let file = match pib_file::open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(UserConfig::default()),
        file => file.map_err(fail)?,
    };
    let metadata = file.metadata().map_err(fail)?;
    let bytes = pib_file::read_open(file, MAX_CONFIG).map_err(fail)?;
    let text = String::from_utf8(bytes);
    let text = text.map_err(|_| fail(std::io::Error::other("it is not UTF-8 text")))?;
    let config = UserConfig::parse(&session.show(&path).display().to_string(), &text)?;
    let tokens = config.registries.values().filter_map(|registry| registry.token.as_ref());
    tokens.for_each(|token| session.mask.hide(token.as_bytes()));
    if config.has_token() {
        check_private(session.show(&path), metadata.uid(), metadata.mode())?;
    }
    Ok(config)
}

/// Refuses a file with a token that is not the user's own, or that others may read or write.
fn check_private(path: &Path, owner: u32, mode: u32) -> Result<(), Error> {
    let shown = path.display();
    if owner != rustix::process::geteuid().as_raw() {
        let message = format!("`{shown}` holds a token and belongs to another user (user id {owner})");
        return Err(unusable(message, "Write the token into a file of your own, or into a variable."));
    }
    if mode & 0o077 != 0 {
        let message = format!(
            "`{shown}` holds a token, and other users may read or write it (mode {:04o})",
            mode & 0o7777
        );
        return Err(unusable(message, format!("Close it to others: chmod 600 {shown}")));
    }
    Ok(())
}

fn unusable(message: String, help: impl Into<String>) -> Error {
    Error::UserConfig { message, help: help.into() }
}

/// Returns the user's tokens for registries, and warns of those that the project's registries do not get.
///
/// # Errors
/// When the config file or a variable cannot be used.
pub(crate) fn credentials(
    session: &Session,
    registries: &BTreeMap<String, String>,
) -> Result<Credentials, Error> {
    let is_remote = |url: &str| url.starts_with("http://") || url.starts_with("https://");
    if !registries.values().any(|url| is_remote(url)) {
        return Ok(Credentials::default());
    }
    let credentials = all_credentials(session)?;
    for (name, url) in registries.iter().filter(|(_, url)| is_remote(url)) {
        if let Some(withheld) = credentials.withheld(name, url) {
            session.warn_once(warning(session, name, url, &withheld));
        }
    }
    Ok(credentials)
}

/// Returns all tokens of the user's for registries.
///
/// # Errors
/// When the config file or a variable cannot be used.
pub(crate) fn all_credentials(session: &Session) -> Result<Credentials, Error> {
    let config = load(session)?;
    Credentials::new(&config.registries, &session.registries).map_err(|error| {
        let help = "Set it to the whole address of the registry that the token is for: https://HOST/PATH.";
        unusable(format!("{error}: {}", error.source), help)
    })
}

/// Returns the keys that sign the registries of a project: those that it names itself, and the user's own.
///
/// # Errors
/// When the config file cannot be used, or names another key than the project.
pub(crate) fn registry_keys(
    session: &Session,
    manifest: &ProjectManifest,
) -> Result<BTreeMap<String, RegistryKey>, Error> {
    let mut keys = manifest.registry_keys.clone();
    if manifest.registries.is_empty() {
        return Ok(keys);
    }
    for (address, own) in load(session)?.registry_keys {
        let named = keys.insert(address.clone(), own);
        if let Some(named) = named.filter(|named| *named != own) {
            let address = address.trim_end_matches('/');
            return Err(unusable(
                format!(
                    "your config and this project name different keys for the registry {address}: {own} and {named}"
                ),
                "Ask the registry's owner which key is theirs, and correct the other file.",
            ));
        }
    }
    Ok(keys)
}

fn warning(session: &Session, name: &str, url: &str, withheld: &Withheld) -> String {
    match withheld {
        Withheld::NoIndex { token, index } => {
            let file = session.config.as_deref().unwrap_or(Path::new("~/.config/pib")).join(user::FILE_NAME);
            format!(
                "the token in {token} is not sent to {url}, the registry `{name}` of this project: nothing of yours says \
                 which registry it is for. If it is for this one, set {index}={url}, or write into {}: \
                 [registries.{name}] and, below that, index = \"{url}\"",
                file.display()
            )
        }
        Withheld::Elsewhere { index } => format!(
            "your token for the registry `{name}` is not sent to {url}, the registry of that name in this project: it is \
             for {index}"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_token_is_the_users_own() {
        let own = rustix::process::geteuid().as_raw();
        let path = Path::new("config.toml");
        assert!(check_private(path, own, 0o100_600).is_ok() && check_private(path, own, 0o100_400).is_ok());
        for mode in [0o604, 0o640, 0o620, 0o602, 0o644, 0o666] {
            let error = check_private(path, own, 0o100_000 | mode).unwrap_err().to_string();
            assert!(error.contains(&format!("(mode 0{mode:o})")), "{error}");
        }
        let error = check_private(path, own + 1, 0o100_600).unwrap_err().to_string();
        assert!(error.contains("another user"), "{error}");
    }
}
