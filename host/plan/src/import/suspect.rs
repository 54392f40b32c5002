//! Which variables look like secrets.

/// Words in names of variables that hold secrets.
const WORDS: [&str; 13] = [
    "PASS",
    "PASSWD",
    "PASSWORD",
    "PASSPHRASE",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "KEY",
    "PSK",
    "CREDENTIAL",
    "CREDENTIALS",
    "PIN",
    "APIKEY",
];
/// Words behind which a key is none that is kept secret.
const PUBLIC: [&str; 3] = ["PUBLIC", "PUB", "FINGERPRINT"];

/// Returns whether a variable looks like a secret, by its name or its value.
pub fn is_suspect(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let has = |words: &[&str]| name.split('_').any(|word| words.contains(&word));
    let ends = ["PASSWD", "PASSWORD", "SECRET", "TOKEN"].iter().any(|word| name.contains(word));
    let by_name = (has(&WORDS) || ends) && !has(&PUBLIC);
    let in_address = value.split("://").skip(1).any(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.split_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let starts = ["ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA", "$6$", "$y$", "$5$", "$1$"];
    by_name
        || in_address
        || value.contains("PRIVATE KEY")
        || starts.iter().any(|start| value.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_told_by_names_and_values() {
        for (name, value) in [
            ("WEBUI_ADMIN_PASSWD", "admin"),
            ("ROOT_PASSWORD", ""),
            ("API_TOKEN", "x"),
            ("WIFI_PSK", "x"),
            ("REPO", "https://me:word@example.org/x"),
            ("BLOB", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("HASH", "$6$abc$def"),
        ] {
            assert!(is_suspect(name, value), "{name}");
        }
        for (name, value) in
            [("REPO_PUBLIC_KEY", "x"), ("KEYMAP", "us"), ("REPO_URL", "https://example.org/a@b")]
        {
            assert!(!is_suspect(name, value), "{name}");
        }
    }
}
