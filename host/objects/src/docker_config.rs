//! What `docker login` and `podman login` have kept, and the credential helpers that they name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::access::Access;
use crate::error::{ObjectError, plain};

/// The largest file that is read, and the longest answer of a helper, in bytes.
const MAX_FILE: u64 = 1 << 20;
const MAX_ANSWER: u64 = 64 << 10;
/// How long a helper may take: it may ask its user.
const HELPER: Duration = Duration::from_secs(60);
/// The user of an answer whose secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// What lets a user in at a registry.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Login {
    Password {
        user: String,
        secret: String,
    },
    /// What tokens are asked for with.
    Identity(String),
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Config {
    auths: BTreeMap<String, Entry>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Where a file says that a login is.
#[derive(Debug, PartialEq, Eq)]
enum Kept {
    Here(Result<Login, ()>),
    Helper(String),
    Nowhere,
}

/// Returns what lets the user in at the registry of a host, where they have logged in there.
///
/// # Errors
/// When a file cannot be read, or a helper fails.
pub(crate) async fn login(access: &Access, host: &str) -> Result<Option<Login>, ObjectError> {
    for path in files(access) {
        let text = match pib_file::read_text(&path, MAX_FILE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| cannot_read(&path, &error.to_string()))?,
        };
        // The text has passwords: what is wrong is told by its line alone.
        let config: Config = serde_json::from_str(&text)
            .map_err(|error| cannot_read(&path, &format!("line {} is not valid", error.line())))?;
        let found = match kept(&config, host) {
            Kept::Here(Ok(login)) => Some(login),
            Kept::Here(Err(())) => {
                return Err(cannot_read(&path, &format!("its entry for {host} is not valid; log in again")));
            }
            Kept::Helper(name) => ask(&name, host).await?,
            Kept::Nowhere => None,
        };
        if let Some(found) = found {
            match &found {
                Login::Password { secret, .. } | Login::Identity(secret) => access.hide(secret),
            }
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn cannot_read(path: &std::path::Path, why: &str) -> ObjectError {
    ObjectError::Settings(format!("`{}` cannot be read: {why}", path.display()))
}

/// Returns the files that may have logins, in the order in which they are looked at.
fn files(access: &Access) -> impl Iterator<Item = PathBuf> {
    let own = access.variable("REGISTRY_AUTH_FILE").map(PathBuf::from);
    let docker = access.variable("DOCKER_CONFIG").map(PathBuf::from);
    let docker =
        docker.or_else(|| Some(access.home()?.join(".docker"))).map(|folder| folder.join("config.json"));
    let podman = access.variable("XDG_RUNTIME_DIR").map(PathBuf::from);
    let podman = podman.map(|folder| folder.join("containers/auth.json"));
    [own, docker, podman].into_iter().flatten()
}

/// Returns the names by which a host's login may be kept; the first is what helpers are asked for.
fn names(host: &str) -> Vec<String> {
    let mut names = match host {
        "docker.io" => vec!["https://index.docker.io/v1/".to_owned(), "index.docker.io".to_owned()],
        _ => Vec::new(),
    };
    names.push(host.to_owned());
    names.extend(["", "/", "/v1/", "/v2/"].map(|end| format!("https://{host}{end}")));
    names.push(format!("http://{host}"));
    names
}

fn kept(config: &Config, host: &str) -> Kept {
    let names = names(host);
    if let Some(helper) = names.iter().find_map(|name| config.cred_helpers.get(name)) {
        return Kept::Helper(helper.clone());
    }
    let entry = names.iter().find_map(|name| config.auths.get(name));
    match entry.and_then(of_entry) {
        Some(login) => Kept::Here(login),
        None => config.creds_store.clone().map_or(Kept::Nowhere, Kept::Helper),
    }
}

/// Returns what an entry has; `None` where that is kept elsewhere.
fn of_entry(entry: &Entry) -> Option<Result<Login, ()>> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    if let Some(token) = some(&entry.identitytoken) {
        return Some(Ok(Login::Identity(token)));
    }
    if let (Some(user), Some(secret)) = (some(&entry.username), some(&entry.password)) {
        return Some(Ok(Login::Password { user, secret }));
    }
    let bytes = some(&entry.auth)?;
    let text = STANDARD.decode(bytes.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    // A password may have colons, a user may not.
    let pair = text.as_deref().and_then(|text| text.trim_end_matches('\0').split_once(':'));
    Some(
        pair.map(|(user, secret)| Login::Password { user: user.to_owned(), secret: secret.to_owned() })
            .ok_or(()),
    )
}

/// Asks a credential helper.
async fn ask(name: &str, host: &str) -> Result<Option<Login>, ObjectError> {
    let program = format!("docker-credential-{name}");
    let fail = |why: &str| {
        ObjectError::Settings(format!("the credential helper `{}` failed: {why}", plain(&program)))
    };
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(fail("its name is not that of a program"));
    }
    let mut helper = Command::new(&program);
    helper.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let mut running = helper.spawn().map_err(|error| fail(&error.to_string()))?;
    let (input, output) = (running.stdin.take(), running.stdout.take());
    let wanted = names(host).swap_remove(0);
    let asked = async {
        if let Some(mut input) = input {
            // One that does not read has its answer ready.
            _ = input.write_all(wanted.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(output) = output {
            output.take(MAX_ANSWER).read_to_end(&mut answer).await?;
        }
        running.wait().await.map(|status| (status, answer))
    };
    let asked = tokio::time::timeout(HELPER, asked).await;
    let asked = asked.map_err(|_| fail(&format!("it did not answer for {} seconds", HELPER.as_secs())))?;
    let (status, answer) = asked.map_err(|error| fail(&error.to_string()))?;
    if !status.success() {
        // It says so by these words, in the protocol that all helpers share.
        return match String::from_utf8_lossy(&answer).contains("credentials not found") {
            true => Ok(None),
            false => Err(fail(&format!("it ended with {status}"))),
        };
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(&answer) else {
        return Err(fail("its answer is not that of a credential helper"));
    };
    Ok(Some(match username == TOKEN_USER {
        true => Login::Identity(secret),
        false => Login::Password { user: username, secret },
    }))
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, host: &str) -> Kept {
        kept(&serde_json::from_str(text).unwrap(), host)
    }

    fn password(user: &str, secret: &str) -> Kept {
        Kept::Here(Ok(Login::Password { user: user.to_owned(), secret: secret.to_owned() }))
    }

    #[test]
    fn logins_are_found_by_all_names_of_a_host() {
        // me:pass:word
        for name in ["x.example:5000", "https://x.example:5000", "https://x.example:5000/v2/"] {
            let text =
                format!("{{\"auths\": {{\"{name}\": {{\"auth\": \"bWU6cGFzczp3b3Jk\"}}}}, \"other\": 1}}");
            assert_eq!(of(&text, "x.example:5000"), password("me", "pass:word"), "{name}");
            assert_eq!(of(&text, "x.example"), Kept::Nowhere, "{name}");
        }
        let hub =
            "{\"auths\": {\"https://index.docker.io/v1/\": {\"username\": \"me\", \"password\": \"pw\"}}}";
        assert_eq!(of(hub, "docker.io"), password("me", "pw"));
        let token = "{\"auths\": {\"x\": {\"auth\": \"\", \"identitytoken\": \"t\"}}}";
        assert_eq!(of(token, "x"), Kept::Here(Ok(Login::Identity("t".to_owned()))));
        assert_eq!(of("{\"auths\": {\"x\": {\"auth\": \"%%\"}}}", "x"), Kept::Here(Err(())));
    }

    #[test]
    fn helpers_are_asked_where_a_file_has_nothing() {
        let text =
            "{\"auths\": {\"x\": {}}, \"credHelpers\": {\"y\": \"ecr-login\"}, \"credsStore\": \"pass\"}";
        assert_eq!(of(text, "x"), Kept::Helper("pass".to_owned()));
        assert_eq!(of(text, "y"), Kept::Helper("ecr-login".to_owned()));
        assert_eq!(of("{}", "x"), Kept::Nowhere);
    }

    #[tokio::test]
    async fn a_helper_is_a_program_of_the_path() {
        for name in ["../evil", "a b", "none-of-this-name-exists"] {
            let error = ask(name, "x").await.unwrap_err().to_string();
            assert!(error.contains("credential helper"), "{error}");
        }
    }

    #[tokio::test]
    async fn no_error_shows_what_a_file_has() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        let variables = [(std::ffi::OsString::from("DOCKER_CONFIG"), folder.path().as_os_str().to_owned())];
        let access = Access::new(std::sync::Arc::new(variables.into()), None, pib_event::Mask::default());
        assert_eq!(login(&access, "x").await.unwrap(), None);
        for text in
            ["{\"auths\": \"hunter2\"}", "hunter2", "{\"auths\": {\"x\": {\"auth\": \"aHVudGVyMg==\"}}}"]
        {
            std::fs::write(&file, text).unwrap();
            let error = login(&access, "x").await.unwrap_err().to_string();
            assert!(error.contains("config.json") && !error.contains("hunter2"), "{error}");
        }
    }
}
