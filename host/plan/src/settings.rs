//! Settings of one device: what differs between the cards of one image. `pib flash` puts them into a file on the boot
//! partition, which the stage `firstboot` applies when the device starts.
//!
//! The file has a line `key = value` for each setting, so that a person can edit it in any editor, and a shell can read it
//! without running any of it: a value is all from the first `=` to the end of the line, without quotes or escapes. Lines that
//! begin with `#` are comments.

use std::fmt::Write as _;

use crate::manifest::project::is_hostname;
use crate::manifest::{ManifestError, ManifestText};
use crate::suggest;

/// The file's name in the root folder of the boot partition.
pub const FILE_NAME: &str = "pib-settings.txt";
/// The largest file of settings that is read, in bytes.
pub const MAX_FILE: u64 = 64 << 10;
/// The stage that applies settings.
pub const STAGE: &str = "firstboot";

/// The longest value, in bytes.
const MAX_VALUE: usize = 8 << 10;
/// The most public keys.
const MAX_KEYS: usize = 100;
/// The code of what is wrong with a line of settings.
const SETTING: &str = "pib::flash::setting";

/// What can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The device's host name.
    Hostname,
    /// The user who is made, or changed where there is one.
    User,
    /// The user's password, which the device hashes.
    Password,
    /// The user's password as `crypt` hashes it.
    PasswordHash,
    /// A public key of the user, or of root where no user is set; may be given several times.
    AuthorizedKey,
    /// The country whose radio rules hold.
    WifiCountry,
    /// The name of the Wi-Fi network.
    WifiSsid,
    /// The passphrase of the Wi-Fi network, or its key in hex.
    WifiPassphrase,
    /// The system's locale.
    Locale,
    /// The system's time zone.
    Timezone,
}

impl Key {
    /// All keys, in the order in which they are written and applied.
    pub const ALL: [Self; 10] = [
        Self::Hostname,
        Self::Timezone,
        Self::Locale,
        Self::User,
        Self::Password,
        Self::PasswordHash,
        Self::AuthorizedKey,
        Self::WifiCountry,
        Self::WifiSsid,
        Self::WifiPassphrase,
    ];

    /// Returns the key's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hostname => "hostname",
            Self::User => "user",
            Self::Password => "password",
            Self::PasswordHash => "password-hash",
            Self::AuthorizedKey => "authorized-key",
            Self::WifiCountry => "wifi-country",
            Self::WifiSsid => "wifi-ssid",
            Self::WifiPassphrase => "wifi-passphrase",
            Self::Locale => "locale",
            Self::Timezone => "timezone",
        }
    }

    /// Returns whether the value must not be shown.
    pub fn is_secret(self) -> bool {
        matches!(self, Self::Password | Self::PasswordHash | Self::WifiPassphrase)
    }

    /// Says why a value cannot be this key's; the sentence never repeats the value.
    fn fault(self, value: &str) -> Option<&'static str> {
        if value.trim() != value {
            return Some("it must not begin or end with white space");
        }
        if value.chars().any(char::is_control) {
            return Some("it must be one line without control characters");
        }
        if value.is_empty() {
            return Some("it is empty");
        }
        if value.len() > MAX_VALUE {
            return Some("it is longer than 8 KiB");
        }
        let (is_good, what) = match self {
            Self::Hostname => (
                is_hostname(value) && value != "localhost",
                "a host name has letters, digits and `-`, in parts of at most 63 characters joined by dots",
            ),
            Self::User => (
                is_user(value),
                "a user's name has at most 32 of a-z, 0-9, `_` and `-`, and begins with a letter or `_`",
            ),
            Self::Password => (value.len() <= 255, "it is longer than 255 bytes"),
            Self::PasswordHash => {
                (is_hash(value), "it is not what `openssl passwd -6` or `mkpasswd` print: `$6$...`")
            }
            Self::AuthorizedKey => (
                is_public_key(value),
                "it is not a public key; the line of a file such as ~/.ssh/id_ed25519.pub begins with `ssh-` or `ecdsa-`",
            ),
            Self::WifiCountry => (
                value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase()),
                "a country is two capital letters, e.g. DE",
            ),
            Self::WifiSsid => (value.len() <= 32, "the name of a network has at most 32 bytes"),
            Self::WifiPassphrase => (
                is_passphrase(value),
                "a passphrase has 8 to 63 printable ASCII characters; a key has 64 hex digits",
            ),
            Self::Locale => (is_path_word(value, "_-.@"), "a locale is named like en_US.UTF-8"),
            Self::Timezone => (is_path_word(value, "_-+/"), "a time zone is named like Europe/Berlin"),
        };
        (!is_good).then_some(what)
    }
}

fn is_user(value: &str) -> bool {
    let begins = value.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    begins && value.len() <= 32 && value.chars().all(letter)
}

fn is_hash(value: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || "./$=,+-*_".contains(c);
    let parts = value.split('$').count();
    value.starts_with('$') && parts >= 4 && value.len() <= 512 && value.chars().all(letter)
}

fn is_public_key(value: &str) -> bool {
    let mut words = value.split(' ');
    let kind = words.next().unwrap_or_default();
    let known = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| kind.starts_with(start));
    let body = words.next().unwrap_or_default();
    known && body.starts_with("AAAA") && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
}

fn is_passphrase(value: &str) -> bool {
    let printable = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    match value.len() {
        8..=63 => printable,
        64 => value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    }
}

/// Returns whether a value may become a part of a path.
fn is_path_word(value: &str, others: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    let begins = value.starts_with(|c: char| c.is_ascii_alphanumeric());
    begins && !value.contains("..") && value.len() <= 100 && value.chars().all(letter)
}

/// Says why something cannot be set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SettingError {
    message: String,
    help: String,
}

impl SettingError {
    fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }

    /// Returns what to do next.
    pub fn help(&self) -> &str {
        &self.help
    }
}

/// The settings of one device.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: Vec<(Key, String)>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Some of the values are secrets.
        f.debug_list().entries(self.values.iter().map(|(key, _)| key)).finish()
    }
}

impl Settings {
    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the names of what is set, each once.
    pub fn names(&self) -> Vec<&'static str> {
        let is_set = |key: &Key| self.get(*key).is_some();
        Key::ALL.into_iter().filter(is_set).map(Key::name).collect()
    }

    fn get(&self, key: Key) -> Option<&str> {
        self.values.iter().find(|(known, _)| *known == key).map(|(_, value)| &**value)
    }

    /// Returns the key of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn key(name: &str) -> Result<Key, SettingError> {
        let names = || Key::ALL.map(Key::name);
        let found = Key::ALL.into_iter().find(|key| key.name() == name);
        found.ok_or_else(|| {
            let help = match suggest::nearest(name, names()) {
                Some(near) => format!("Did you mean `{near}`?"),
                None => format!("The settings are {}.", suggest::list(names())),
            };
            SettingError::new(format!("unknown setting `{name}`"), help)
        })
    }

    /// Sets a value. Of what can be given once, a later value takes the place of an earlier one; public keys are added.
    ///
    /// # Errors
    /// When the value cannot be this key's.
    pub fn set(&mut self, key: Key, value: &str) -> Result<(), SettingError> {
        if let Some(fault) = key.fault(value) {
            return Err(SettingError::new(
                format!("the setting `{}` cannot have this value", key.name()),
                format!("{}{}.", fault[..1].to_uppercase(), &fault[1..]),
            ));
        }
        if key != Key::AuthorizedKey {
            self.values.retain(|(known, _)| *known != key);
        } else if self.values.iter().filter(|(known, _)| *known == key).count() >= MAX_KEYS {
            return Err(SettingError::new(
                format!("there are more than {MAX_KEYS} public keys"),
                "Give fewer of them.",
            ));
        }
        self.values.push((key, value.to_owned()));
        Ok(())
    }

    /// Sets what the lines of a text say: of public keys each line that is no comment is one, of anything else there is
    /// one line.
    ///
    /// # Errors
    /// When there is no value, or more than one, or it cannot be this key's.
    pub fn set_lines(&mut self, key: Key, text: &str) -> Result<(), SettingError> {
        let lines = text.lines().map(str::trim_end);
        if key != Key::AuthorizedKey {
            // The end of the last line is not a part of a value that a file or a program gives.
            return self.set(key, text.strip_suffix('\n').map_or(text, |text| text.trim_end_matches('\r')));
        }
        let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).peekable();
        if keys.peek().is_none() {
            return Err(SettingError::new(
                "there is no public key in what was given",
                "Give a file `*.pub`.",
            ));
        }
        keys.try_for_each(|line| self.set(key, line))
    }

    /// Reads a file of settings.
    ///
    /// # Errors
    /// When a line is not a setting, with its place.
    pub fn add_file(&mut self, file: &str, text: &str) -> Result<(), ManifestError> {
        let source = ManifestText::new(file, text);
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            let start = at;
            at += line.len();
            let line = line.trim_start_matches('\u{feff}').trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            // A value may be a secret: only the key is marked, and shown.
            let lead = text[start..at].find(line).unwrap_or(0);
            let key = line.split('=').next().unwrap_or_default().trim_end();
            let span = start + lead..start + lead + key.len();
            let fail = |error: SettingError| {
                let shown = secretless(text, &span);
                let source = ManifestText::new(&source.file, &shown);
                let shown = source.error(span.clone(), error.to_string(), "this setting");
                shown.with_code(SETTING).with_help(error.help)
            };
            let Some((_, value)) = line.split_once('=') else {
                let error = SettingError::new(
                    format!("`{}` has a line that is not a setting", source.file),
                    "A setting is written as `key = value`, a comment begins with `#`.",
                );
                let whole = start + lead..start + lead + line.len();
                let source = ManifestText::new(&source.file, &secretless(text, &whole));
                let shown = source.error(whole, error.to_string(), "this line");
                return Err(shown.with_code(SETTING).with_help(error.help));
            };
            let key = Self::key(key).map_err(fail)?;
            self.set(key, value.trim()).map_err(fail)?;
        }
        Ok(())
    }

    /// Checks that what is set fits together.
    ///
    /// # Errors
    /// When something is missing, or too much is set.
    pub fn check(&self) -> Result<(), SettingError> {
        let has = |key| self.get(key).is_some();
        let needs = |key: Key, other: Key, help: &str| {
            let message = format!("the setting `{}` needs `{}`", key.name(), other.name());
            if has(key) && !has(other) { Err(SettingError::new(message, help)) } else { Ok(()) }
        };
        if has(Key::Password) && has(Key::PasswordHash) {
            return Err(SettingError::new(
                "both `password` and `password-hash` are set",
                "Set one of the two; a hash is not readable on the card.",
            ));
        }
        needs(Key::Password, Key::User, "Say whose password it is: --set user=NAME.")?;
        needs(Key::PasswordHash, Key::User, "Say whose password it is: --set user=NAME.")?;
        needs(Key::WifiPassphrase, Key::WifiSsid, "Say of which network: --set wifi-ssid=NAME.")?;
        needs(
            Key::WifiSsid,
            Key::WifiCountry,
            "Radio rules differ: --set wifi-country=DE, or where the device is.",
        )
    }

    /// Returns the text of the file on the card, of exactly `room` bytes; none where it does not fit.
    pub fn to_text(&self, room: usize) -> Option<String> {
        let mut text = String::from(
            "# Settings of this device, by `pib flash`. It applies them when it starts, and clears this file.\n",
        );
        for key in Key::ALL {
            for (_, value) in self.values.iter().filter(|(known, _)| *known == key) {
                let _ = writeln!(text, "{} = {value}", key.name());
            }
        }
        let free = room.checked_sub(text.len())?;
        text.extend(std::iter::repeat_n('\n', free));
        Some(text)
    }
}

/// Returns a text of the same length in which nothing can be read but what is in `span`: the rest may be secrets.
fn secretless(text: &str, span: &std::ops::Range<usize>) -> String {
    let hide = |(at, c): (usize, char)| match span.contains(&at) || c == '\n' {
        true => c.to_string(),
        false => "*".repeat(c.len_utf8()),
    };
    text.char_indices().map(hide).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0l me@desk";

    fn read(text: &str) -> Result<Settings, String> {
        let mut settings = Settings::default();
        let told = |error: ManifestError| format!("{error} {}", error.advice().unwrap_or_default());
        settings.add_file("cards.txt", text).map_err(told)?;
        settings.check().map_err(|error| format!("{error} {}", error.help()))?;
        Ok(settings)
    }

    #[test]
    fn a_file_is_read_as_it_is_written_whatever_the_editor() {
        let text = format!(
            "\u{feff}# kitchen\r\nhostname = kitchen\r\n\r\nuser=anna\npassword = a = b # c\nauthorized-key = {KEY}\n\
             authorized-key = {KEY}2\nwifi-country = DE\nwifi-ssid = Caf\u{e9} \"1\" $x\nwifi-passphrase = 12345678\n"
        );
        let settings = read(&text).unwrap();
        assert_eq!(settings.get(Key::Password), Some("a = b # c"));
        assert_eq!(settings.get(Key::WifiSsid), Some("Caf\u{e9} \"1\" $x"));
        assert_eq!(settings.values.len(), 8);
        let written = settings.to_text(4096).unwrap();
        assert_eq!(written.len(), 4096);
        assert_eq!(read(&written).unwrap().names(), settings.names());
        assert!(settings.to_text(300).is_none());
        assert!(!format!("{settings:?}").contains("12345678"));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line_and_without_secrets() {
        let cases = [
            ("hostnam = x", "Did you mean `hostname`?"),
            ("colour = x", "`hostname`, `timezone`"),
            ("hostname = a_b", "letters, digits"),
            ("hostname", "written as `key = value`"),
            ("user = Anna", "user's name"),
            ("password = secret12", "needs `user`"),
            ("user = a\npassword = x\npassword-hash = $6$a$b", "both"),
            ("user = a\npassword-hash = secret12", "openssl passwd"),
            ("authorized-key = -----BEGIN OPENSSH PRIVATE KEY-----", "not a public key"),
            ("wifi-country = de", "two capital letters"),
            ("wifi-ssid = x", "needs `wifi-country`"),
            ("wifi-country = DE\nwifi-passphrase = 12345678", "needs `wifi-ssid`"),
            ("wifi-passphrase = secret", "8 to 63"),
            ("timezone = ../../etc/shadow", "Europe/Berlin"),
            ("locale = a b", "en_US"),
            ("hostname =", "empty"),
        ];
        for (text, expected) in cases {
            let message = read(text).unwrap_err();
            assert!(message.contains(expected), "{text}: {message}");
            assert!(!message.contains("secret"), "{text}: {message}");
        }
        let mut settings = Settings::default();
        let error = settings.add_file("x", "user = a\npassword = topsecret\nhostname = -\n").unwrap_err();
        let shown = format!("{:?}", miette::Report::new(error));
        assert!(!shown.contains("topsecret") && shown.contains("hostname"), "{shown}");
    }

    #[test]
    fn files_of_keys_give_several_and_others_one_value() {
        let mut settings = Settings::default();
        settings.set_lines(Key::AuthorizedKey, &format!("# mine\n{KEY}\r\n\n{KEY}2\n")).unwrap();
        settings.set_lines(Key::Password, "a b\r\n").unwrap();
        assert_eq!(settings.values.len(), 3);
        assert_eq!(settings.get(Key::Password), Some("a b"));
        assert!(settings.set_lines(Key::Password, "a\nb\n").is_err());
        assert!(settings.set_lines(Key::AuthorizedKey, "# none\n").is_err());
    }

    proptest! {
        #[test]
        fn what_is_taken_is_read_back_the_same(value in "\\PC{0,70}", at in 0_usize..10) {
            let key = Key::ALL[at];
            let mut settings = Settings::default();
            if settings.set(key, &value).is_ok() {
                let mut again = Settings::default();
                again.add_file("x", &settings.to_text(4096).unwrap()).unwrap();
                prop_assert_eq!(again, settings);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}(\r?\n|=|#|\u{feff})\\PC{0,40}") {
            let _ = read(&text);
        }
    }
}
