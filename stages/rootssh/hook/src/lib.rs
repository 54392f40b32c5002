//! The hook of the stage rootssh: reads public keys as the ssh server will, and refuses what must not be there.
//!
//! A device that nobody can log in to, or anybody can, is found out only when it is far away; and a private key that
//! was copied into an image is lost for good.

mod key;

use pib_plugin_sdk::{Context, Diagnostic, Hook, ProjectFile, Rendered, export_hook};

use key::{Key, Problem};

/// The config key that names the files.
const KEYS: &str = "authorized-keys";

struct RootSsh;

impl Hook for RootSsh {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        let mut diagnostics = Vec::new();
        let mut seen: Vec<(Key, &ProjectFile)> = Vec::new();
        for file in context.files(KEYS) {
            let keys = match keys_of(file) {
                Ok(keys) => keys,
                Err(problem) => {
                    diagnostics.push(problem);
                    continue;
                }
            };
            for key in keys {
                if let Some(bits) = key.short_rsa() {
                    let message = format!("{} in `{}` has {bits} bits", key.describe(), file.path);
                    let help =
                        "It works, but is weak by today's measure: ssh-keygen -t ed25519 makes a better one.";
                    diagnostics.push(Diagnostic::warning(message).key(KEYS).help(help));
                }
                match seen.iter().find(|(other, _)| other.blob == key.blob) {
                    Some((_, first)) => {
                        let message =
                            format!("{} is both in `{}` and in `{}`", key.describe(), first.path, file.path);
                        let help = "It is installed once. Name one of the files.";
                        diagnostics.push(Diagnostic::warning(message).key(KEYS).help(help));
                    }
                    None => seen.push((key, file)),
                }
            }
        }
        diagnostics
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let mut keys: Vec<Key> = Vec::new();
        for file in context.files(KEYS) {
            for key in keys_of(file).map_err(|problem| problem.message)? {
                if keys.iter().all(|other| other.blob != key.blob) {
                    keys.push(key);
                }
            }
        }
        let lines: String = keys.iter().map(|key| format!("{}\n", key.line)).collect();
        Ok(Rendered::part(part).file("authorized_keys", lines))
    }
}

export_hook!(RootSsh);

/// Returns the keys in a file, or what is wrong with it.
fn keys_of(file: &ProjectFile) -> Result<Vec<Key>, Diagnostic> {
    let path = &file.path;
    let fail = |message: String, help: &str| Diagnostic::error(message).key(KEYS).help(help);
    let bytes = file.read().map_err(|reason| Diagnostic::error(reason).key(KEYS))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        fail(
            format!("`{path}` is not a public key"),
            "A public key is a line of text; its file's name ends in .pub.",
        )
    })?;
    if text.contains("PRIVATE KEY-----") || text.starts_with("PuTTY-User-Key-File") {
        return Err(fail(
            format!("`{path}` is a private key, and would be copied into the image"),
            "Give the public key, in the file whose name ends in .pub; `ssh-keygen -y -f FILE` prints it.",
        ));
    }
    if text.contains("---- BEGIN SSH2 PUBLIC KEY") || text.contains("-----BEGIN PUBLIC KEY-----") {
        return Err(fail(
            format!("`{path}` has a public key in a form that the ssh server does not read"),
            "Convert it: `ssh-keygen -i -f FILE` for the SSH2 form, `ssh-keygen -i -m PKCS8 -f FILE` for the other.",
        ));
    }
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = Key::parse(line).map_err(|Problem { what, help }| {
            fail(format!("line {} of `{path}` {what}", number + 1), help)
        })?;
        keys.push(key);
    }
    if keys.is_empty() {
        return Err(fail(
            format!("`{path}` has no public key"),
            "It has a line for each key: TYPE BASE64 COMMENT.",
        ));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
