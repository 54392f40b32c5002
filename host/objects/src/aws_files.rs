//! What says where buckets are and lets the user in there: variables, and the files that `aws configure` writes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::access::Access;
use crate::error::ObjectError;

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// What lets a user in, in a file.
const KEYS: [&str; 3] = ["aws_access_key_id", "aws_secret_access_key", "aws_session_token"];
/// What a file says of where buckets are.
const LOCATIONS: [&str; 2] = ["region", "endpoint_url"];
/// The variables that count before the keys of a file.
const BEFORE_FILES: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE"];

/// Returns the settings for buckets by the names that variables have, in lower-case letters. A variable counts before a file.
///
/// # Errors
/// When a file cannot be read, or has no such profile as `AWS_PROFILE` names.
pub(crate) fn settings(access: &Access) -> Result<BTreeMap<String, String>, ObjectError> {
    let mut found = from_files(access)?;
    if BEFORE_FILES.iter().any(|name| access.variable(name).is_some()) {
        KEYS.iter().for_each(|key| drop(found.remove(*key)));
    }
    let named = access.variables().filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty());
    found.extend(named.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
    for key in &KEYS[1..] {
        found.get(*key).into_iter().for_each(|secret| access.hide(secret));
    }
    Ok(found)
}

fn from_files(access: &Access) -> Result<BTreeMap<String, String>, ObjectError> {
    let (named, mut is_there) = (access.variable("AWS_PROFILE"), false);
    let profile = named.unwrap_or("default");
    let mut found = BTreeMap::new();
    for (variable, name) in [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")] {
        let own = access.variable(variable).map(PathBuf::from);
        let Some(path) = own.or_else(|| Some(access.home()?.join(".aws").join(name))) else { continue };
        let text = match pib_file::read_text(&path, MAX_FILE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            text => text.map_err(|error| {
                ObjectError::Settings(format!("`{}` cannot be read: {error}", path.display()))
            })?,
        };
        let heading = match name {
            "config" if profile != "default" => format!("profile {profile}"),
            _ => profile.to_owned(),
        };
        let Some(section) = section(&text, &heading) else { continue };
        is_there = true;
        for (key, value) in section {
            if KEYS.contains(&key) {
                found.insert(key.to_owned(), value.to_owned());
            } else if LOCATIONS.contains(&key) {
                found.insert(format!("aws_{key}"), value.to_owned());
            }
        }
    }
    match named.filter(|_| !is_there) {
        Some(name) => Err(ObjectError::Settings(format!(
            "AWS_PROFILE is `{name}`, and neither ~/.aws/config nor ~/.aws/credentials has that profile"
        ))),
        None => Ok(found),
    }
}

/// Returns the keys of a section, and their values; what is indented belongs to the key before it.
fn section<'a>(text: &'a str, heading: &str) -> Option<BTreeMap<&'a str, &'a str>> {
    let (mut found, mut is_in) = (None, false);
    for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
        if let Some(name) = line.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_in = name.split_whitespace().eq(heading.split_whitespace());
            if is_in {
                found.get_or_insert_with(BTreeMap::new);
            }
        } else if let Some((key, value)) =
            line.split_once('=').filter(|_| is_in && !line.starts_with([' ', '\t']))
            && let Some(found) = &mut found
        {
            found.insert(key.trim(), value.trim());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::sync::Arc;

    use pib_event::Mask;

    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id = AKIADEFAULT\naws_secret_access_key=default-secret\n\
                               # aws_session_token = commented\n[ team ]\naws_access_key_id=AKIATEAM\n\
                               aws_secret_access_key = team=secret\naws_session_token = team-token\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile team]\nregion = eu-north-1\nendpoint_url = \
                          https://s3.team.example\ns3 =\n  region = nested\n[profile]\nregion = none\n";

    fn access(home: &std::path::Path, variables: &[(&str, &str)], mask: &Mask) -> Access {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        Access::new(Arc::new(variables.collect()), Some(home.to_owned()), mask.clone())
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        std::fs::write(home.path().join(".aws/config"), CONFIG).unwrap();
        home
    }

    #[test]
    fn files_have_profiles() {
        let home = home();
        let mask = Mask::default();
        let of = |variables: &[(&str, &str)]| settings(&access(home.path(), variables, &mask));
        let default = of(&[]).unwrap();
        assert_eq!(default["aws_access_key_id"], "AKIADEFAULT");
        assert_eq!(default["aws_region"], "eu-west-1");
        assert!(!default.contains_key("aws_session_token"));
        let team = of(&[("AWS_PROFILE", "team")]).unwrap();
        assert_eq!(team["aws_secret_access_key"], "team=secret");
        assert_eq!(team["aws_endpoint_url"], "https://s3.team.example");
        assert_eq!(team["aws_region"], "eu-north-1");
        let error = of(&[("AWS_PROFILE", "other")]).unwrap_err().to_string();
        assert!(error.contains("`other`"), "{error}");
        assert_eq!(mask.apply("x team-token default-secret".to_owned()), "x *** ***");
    }

    #[test]
    fn variables_count_before_files_and_keys_are_not_mixed() {
        let home = home();
        let mask = Mask::default();
        let variables = [
            ("AWS_PROFILE", "team"),
            ("AWS_ACCESS_KEY_ID", "AKIAOWN"),
            ("AWS_SECRET_ACCESS_KEY", "own-secret"),
            ("AWS_REGION", ""),
        ];
        let found = settings(&access(home.path(), &variables, &mask)).unwrap();
        assert_eq!(found["aws_access_key_id"], "AKIAOWN");
        assert!(!found.contains_key("aws_session_token"), "the token of the file is for other keys");
        assert_eq!(found["aws_region"], "eu-north-1");
        assert_eq!(mask.apply("own-secret".to_owned()), "***");
        let identity = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/x")];
        assert!(!settings(&access(home.path(), &identity, &mask)).unwrap().contains_key("aws_access_key_id"));
    }
}
