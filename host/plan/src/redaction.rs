//! What looks like a secret in names, values and texts, and how it is left out of what is shown.

use std::ops::Range;

/// Words in names of what holds secrets.
const WORDS: [&str; 27] = [
    "APIKEY",
    "AUTH",
    "AUTHORIZATION",
    "BEARER",
    "COOKIE",
    "CRED",
    "CREDENTIAL",
    "CREDENTIALS",
    "CREDS",
    "DSN",
    "JWT",
    "KEY",
    "OTP",
    "PASS",
    "PASSCODE",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PIN",
    "PRIVKEY",
    "PSK",
    "PW",
    "PWD",
    "SECRET",
    "SECRETS",
    "TOKEN",
    "WPA",
];
/// Words that make what they name public: `REPO_PUBLIC_KEY`.
const PUBLIC: [&str; 3] = ["PUBLIC", "PUB", "FINGERPRINT"];
/// Words that make a key one that is kept secret, where a line is shown.
const SECRET_KEYS: [&str; 6] = ["ACCESS", "API", "ENCRYPTION", "PRIVATE", "SECRET", "SIGNING"];
/// Parts of names that are enough, also inside a word: `DBPASSWORD`.
const PARTS: [&str; 4] = ["PASSWD", "PASSWORD", "SECRET", "TOKEN"];
/// How tokens of well-known services and hashed passwords begin.
const STARTS: [&str; 9] = ["ghp_", "github_pat_", "glpat-", "xoxb-", "AKIA", "$6$", "$y$", "$5$", "$1$"];

/// Returns whether a variable or setting looks like a secret, by its name or its value.
pub fn is_suspect(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let words: Vec<&str> = words(&name).collect();
    let is_named =
        words.iter().any(|word| WORDS.contains(word)) || PARTS.iter().any(|part| name.contains(part));
    let is_public = words.iter().any(|word| PUBLIC.contains(word)) || is_openpgp_key(&words, value);
    (is_named && !is_public) || is_secret_value(value)
}

/// Returns whether a name speaks of a key alone, and its value is how OpenPGP names one: `REPO_KEY = 912C773ABBD1B584`. A
/// fingerprint has 40 digits, and a key's id the last 16 of them.
fn is_openpgp_key(words: &[&str], value: &str) -> bool {
    let is_digit = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
    let is_key = words.iter().filter(|word| WORDS.contains(word)).all(|word| *word == "KEY");
    is_key
        && words.contains(&"KEY")
        && !words.iter().any(|word| SECRET_KEYS.contains(word))
        && matches!(value.len(), 16 | 40)
        && value.bytes().all(is_digit)
}

/// Returns the words of a name: `api-key` and `API_KEY` have the same two.
fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
}

fn is_secret_value(value: &str) -> bool {
    let has_password = value.split("://").skip(1).any(|rest| {
        let host = rest.split('/').next().unwrap_or_default();
        host.split_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    has_password || value.contains("PRIVATE KEY") || STARTS.iter().any(|start| value.starts_with(start))
}

/// Returns an address without what lets somebody in: a password, a token in the place of a user, or what follows `?`.
///
/// The user of ssh is a name, and stays.
pub fn without_login(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else {
        return match password_of_ssh(address) {
            Some(length) => format!("***{}", &address[length..]),
            None => address.to_owned(),
        };
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, _)) => (rest, "?***"),
        None => (rest, ""),
    };
    let (authority, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.ends_with("ssh") && !user.contains(':') => format!("{user}@{host}"),
        Some((_, host)) => format!("***@{host}"),
        None => authority.to_owned(),
    };
    format!("{scheme}://{authority}{tail}{query}")
}

/// Returns a manifest's text in which `*` stands for each byte of what lets somebody in: logins in addresses, and quoted
/// values of settings whose names end in a word such as `password`. Every other byte keeps its place.
pub fn stars_in_place(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut open = Open::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        for range in open.hidden(line) {
            bytes[start + range.start..start + range.end].fill(b'*');
        }
        start += line.len();
    }
    // Whole characters were replaced, each by as many stars as it has bytes.
    String::from_utf8(bytes).unwrap_or_default()
}

/// What a line of a manifest leaves open for those after it.
#[derive(Default)]
struct Open {
    /// The quotes that end a text of several lines.
    text: Option<&'static str>,
    /// How many brackets of a secret's value are open.
    brackets: usize,
}

impl Open {
    /// Returns what is hidden of the next line.
    fn hidden(&mut self, line: &str) -> Vec<Range<usize>> {
        let mut hidden = Vec::new();
        let mut from = 0;
        if let Some(quotes) = self.text {
            let end = line.find(quotes);
            hidden.push(0..end.unwrap_or(line.trim_end().len()));
            let Some(end) = end else { return hidden };
            (self.text, from) = (None, end + quotes.len());
        }
        // A text of several lines is hidden, whatever it is of.
        let begun = ["\"\"\"", "'''"]
            .into_iter()
            .filter_map(|quotes| Some((from + line[from..].find(quotes)?, quotes)));
        let until = match begun.min() {
            Some((at, quotes)) => {
                let inside = at + quotes.len();
                let end = line[inside..].find(quotes).map(|length| inside + length);
                hidden.push(inside..end.unwrap_or(line.trim_end().len()).max(inside));
                self.text = end.is_none().then_some(quotes);
                at
            }
            None => line.len(),
        };
        let rest = &line[from..until];
        hidden.extend(self.of_settings(rest).into_iter().map(|range| shifted(range, from)));
        if let Some(at) = comment(rest) {
            // Settings are often kept as comments. What one leaves open ends with its line.
            let commented = Self::default().of_settings(&rest[at..]).into_iter().chain(of_words(&rest[at..]));
            hidden.extend(commented.map(|range| shifted(range, from + at)));
        }
        hidden
    }

    /// Returns what is hidden of a piece of a line in which no text of several lines is.
    fn of_settings(&mut self, line: &str) -> Vec<Range<usize>> {
        let value_at = line.find('=').map(|at| at + 1).filter(|at| is_named_secret(&line[..*at]));
        let is_secret = self.brackets > 0 || value_at.is_some();
        let mut hidden = Vec::new();
        let quoted = quoted(line);
        for range in &quoted {
            let (before, value) = (&line[..range.start - 1], &line[range.clone()]);
            // Where a secret comes from is none.
            let is_place = ["env", "file"]
                .iter()
                .any(|key| before.trim_end().trim_end_matches('=').trim_end().ends_with(key));
            if is_named_secret(before)
                || is_token(value)
                || (is_secret && !is_place && range.start > value_at.unwrap_or(0))
            {
                hidden.push(range.clone());
            } else {
                let at = range.start;
                hidden.extend(logins(value).into_iter().flatten().map(|login| shifted(login, at)));
            }
        }
        if let Some(at) = value_at {
            let bare = line[at..].trim_start();
            let start = line.len() - bare.len();
            if !bare.starts_with(['"', '\'', '[', '{']) {
                let end = bare
                    .find(|c: char| c.is_whitespace() || matches!(c, '#' | ',' | '}'))
                    .unwrap_or(bare.len());
                hidden.push(start..start + end);
            }
        }
        if is_secret {
            let is_inside = |at: usize| quoted.iter().any(|range| range.contains(&at));
            let outside =
                line.char_indices().filter(|(at, _)| *at >= value_at.unwrap_or(0) && !is_inside(*at));
            for (_, c) in outside {
                match c {
                    '[' | '{' => self.brackets += 1,
                    ']' | '}' => self.brackets = self.brackets.saturating_sub(1),
                    '#' => break,
                    _ => {}
                }
            }
        }
        hidden
    }
}

/// Returns whether a text begins as tokens of well-known services, hashed passwords and private keys do.
pub fn is_token(value: &str) -> bool {
    value.contains("PRIVATE KEY") || STARTS.iter().any(|start| value.starts_with(start))
}

fn shifted(range: Range<usize>, by: usize) -> Range<usize> {
    range.start + by..range.end + by
}

/// Returns where words of a text have a login in an address.
fn of_words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let words = text.split_inclusive(char::is_whitespace).scan(0, |start, word| {
        let at = *start;
        *start += word.len();
        Some((at, word.trim_end()))
    });
    words.flat_map(|(at, word)| logins(word).into_iter().flatten().map(move |range| shifted(range, at)))
}

/// Returns where what is behind the `#` of a line begins.
fn comment(line: &str) -> Option<usize> {
    let texts = quoted(line);
    let is_inside = |at: usize| texts.iter().any(|range| range.contains(&at));
    line.match_indices('#').find(|(at, _)| !is_inside(*at)).map(|(at, _)| at + 1)
}

/// Returns where the texts in quotes are in a line, without their quotes. What a line only begins goes to its end.
fn quoted(line: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, char)> = None;
    let mut is_escaped = false;
    for (at, c) in line.char_indices() {
        match open {
            None if c == '"' || c == '\'' => open = Some((at + 1, c)),
            None if c == '#' => break,
            Some((start, quote)) if c == quote && !is_escaped => {
                found.push(start..at);
                open = None;
            }
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped && open.is_some_and(|(_, quote)| quote == '"');
    }
    found.extend(open.map(|(start, _)| start..line.trim_end().len().max(start)));
    found
}

/// Returns whether what stands before a value ends in `NAME =`, where the last word of the name is one of a secret's.
fn is_named_secret(before: &str) -> bool {
    let Some(name) = before.trim_end().strip_suffix('=') else { return false };
    let name = name.trim_end().trim_end_matches(['"', '\'']).to_ascii_uppercase();
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
    // Of `password.value`, too, every part counts.
    let is_outside = |c: char| c != '.' && is_outside(c);
    name.rsplit(is_outside).next().unwrap_or_default().split('.').any(is_secret_name)
}

/// Returns whether the last word of a name is one of a secret's.
fn is_secret_name(name: &str) -> bool {
    let all: Vec<&str> = words(name).collect();
    // A key may be a public one, or the name of an entry.
    if all.last() == Some(&"KEY") && !all.iter().any(|word| SECRET_KEYS.contains(word)) {
        return false;
    }
    all.last().is_some_and(|last| WORDS.contains(last) || PARTS.iter().any(|part| last.contains(part)))
        && !all.iter().any(|word| PUBLIC.contains(word))
}

/// Returns a text without what lets somebody in in the addresses that it names.
pub fn without_logins(text: String) -> String {
    if !text.contains("://") && !text.contains('@') {
        return text;
    }
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | '(' | ')' | '<' | '>' | ',');
    text.split_inclusive(is_edge)
        .map(|word| {
            let end = word.trim_end_matches(is_edge).len();
            let (address, edge) = word.split_at(end);
            // What ends a sentence is no part of the address.
            let address_end = address.trim_end_matches(['.', ':', ';', '!']).len();
            let (address, stop) = address.split_at(address_end);
            // A question mark alone is a pattern's, as in a part that looks at an address.
            let shown = match address.split_once('?') {
                Some((start, rest)) if !rest.contains('=') => format!("{}?{rest}", without_login(start)),
                _ => without_login(address),
            };
            format!("{shown}{stop}{edge}")
        })
        .collect()
}

/// Returns how much of an address is a user with a password, where it is written as ssh has it: `USER:PASSWORD@HOST:PATH`.
fn password_of_ssh(address: &str) -> Option<usize> {
    let (user, place) = address.split_once('@')?;
    // Else it is a name with a version: `pib:stage@0.1.0`.
    let is_digest = place.starts_with("sha256:");
    (user.contains(':') && !user.contains('/') && place.contains(':') && !is_digest).then_some(user.len())
}

/// Returns where an address has a login, and where it has what follows `?`.
fn logins(value: &str) -> [Option<Range<usize>>; 2] {
    let Some(scheme) = value.find("://") else {
        return [password_of_ssh(value).map(|length| 0..length), None];
    };
    let start = scheme + 3;
    let rest = &value[start..];
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let is_name = |user: &&str| !user.contains(':') && value[..scheme].ends_with("ssh");
    let user = authority.rsplit_once('@').map(|(user, _)| user).filter(|user| !is_name(user));
    [user.map(|user| start..start + user.len()), rest.find('?').map(|at| start + at + 1..value.len())]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_are_told_by_names_and_values() {
        for (name, value) in [
            ("WEBUI_ADMIN_PASSWD", "admin"),
            ("ROOT_PASSWORD", ""),
            ("API_TOKEN", "x"),
            ("api-key", "x"),
            ("BASIC_AUTH", "x"),
            ("WPA", "x"),
            ("ADMIN_PW", "x"),
            ("SESSION_COOKIE", "x"),
            ("WIFI_PSK", "x"),
            ("REPO", "https://me:word@example.org/x"),
            ("BLOB", "-----BEGIN OPENSSH PRIVATE KEY-----"),
            ("HASH", "$6$abc$def"),
            ("API_KEY", "912C773ABBD1B584"),
            ("CAMERA_KEY", "912c773abbd1b584"),
        ] {
            assert!(is_suspect(name, value), "{name}");
        }
        for (name, value) in [
            ("REPO_PUBLIC_KEY", "x"),
            ("ARCH_REPO_KEY", "912C773ABBD1B584"),
            ("ARCH_REPO_KEY", "F5CC8C1D8C2B8B7C7B6D5A4C912C773ABBD1B584"),
            ("KEYMAP", "us"),
            ("AUTHOR", "me"),
            ("REPO_URL", "https://example.org/a@b"),
        ] {
            assert!(!is_suspect(name, value), "{name}");
        }
    }

    #[test]
    fn nothing_that_lets_somebody_in_is_left_in_an_address() {
        for (text, shown) in [
            ("https://me:hunter2@x.example/a", "https://***@x.example/a"),
            ("https://hunter2@x.example", "https://***@x.example"),
            ("http://a@b:hunter2@x.example:3128/", "http://***@x.example:3128/"),
            ("https://x.example/a?sig=hunter2", "https://x.example/a?***"),
            ("ssh://me@builder", "ssh://me@builder"),
            ("ssh://me:hunter2@builder", "ssh://***@builder"),
            ("git@x.example:a/b", "git@x.example:a/b"),
            ("me:hunter2@x.example:a/b", "***@x.example:a/b"),
            ("/a/b@c", "/a/b@c"),
            ("pib:stage@0.1.0", "pib:stage@0.1.0"),
        ] {
            assert_eq!(without_login(text), shown);
        }
    }

    #[test]
    fn texts_lose_the_logins_of_their_addresses() {
        for (text, shown) in [
            ("fetching http://u:hunter2@x/y failed", "fetching http://***@x/y failed"),
            ("`https://x/a?sig=hunter2`: 404.", "`https://x/a?***`: 404."),
            ("see https://x.example.", "see https://x.example."),
            ("case http://?*)", "case http://?*)"),
            (
                "debian:trixie@sha256:abcd and pib:stage@0.1.0, me@x",
                "debian:trixie@sha256:abcd and pib:stage@0.1.0, me@x",
            ),
            ("two  blanks\nstay", "two  blanks\nstay"),
        ] {
            assert_eq!(without_logins(text.to_owned()), shown);
        }
    }

    #[test]
    fn a_shown_line_has_stars_for_what_lets_somebody_in() {
        for (line, shown) in [
            (
                "index = \"https://me:hunter2@x.example/a\" # b",
                "index = \"https://**********@x.example/a\" # b",
            ),
            (
                "a = { url = 'https://x.example/a?sig=hunter2' }",
                "a = { url = 'https://x.example/a?***********' }",
            ),
            ("git = \"me:hunter2@x.example:a\"", "git = \"**********@x.example:a\""),
            ("git = \"git@x.example:a\"", "git = \"git@x.example:a\""),
            ("wifi-psk = \"hünter2\"", "wifi-psk = \"********\""),
            ("\"ROOT_PASSWORD\" = \"hunt\\\"er2\"", "\"ROOT_PASSWORD\" = \"*********\""),
            ("token = \"hunter2", "token = \"*******"),
            ("key-url = \"https://x.example/key\"", "key-url = \"https://x.example/key\""),
            ("key = \"repo.asc\"", "key = \"repo.asc\""),
            ("peer-key = \"AAAA\"", "peer-key = \"AAAA\""),
            ("private-key = \"AAAA\"", "private-key = \"****\""),
            ("psk = { file = \"a\" }", "psk = { file = \"a\" }"),
            ("psk = { value = \"a\", env = \"B\" }", "psk = { value = \"*\", env = \"B\" }"),
            ("token = hunter2 # b", "token = ******* # b"),
            ("password.a = { b = \"hunter2\" }", "password.a = { b = \"*******\" }"),
            ("psk = [\n\"hunter2\"\n]\na = \"b\"", "psk = [\n\"*******\"\n]\na = \"b\""),
            ("a = \"\"\"\nhunter2\nx\"\"\"\nb = \"c\"", "a = \"\"\"\n*******\n*\"\"\"\nb = \"c\""),
            ("a = 1 # psk = \"hunter2\"", "a = 1 # psk = \"*******\""),
            ("#password = hunter2 # old", "#password = ******* # old"),
            ("a = \"#\" # see https://me:hunter2@x.example", "a = \"#\" # see https://**********@x.example"),
            ("db-dsn = \"x\"\nadmin-pwd = 'y'", "db-dsn = \"*\"\nadmin-pwd = '*'"),
            ("public-key = \"ssh-ed25519 AAAA\"", "public-key = \"ssh-ed25519 AAAA\""),
        ] {
            assert_eq!(stars_in_place(line), shown);
        }
    }

    proptest! {
        #[test]
        fn a_shown_text_keeps_its_length_and_its_lines(text in "(\\PC|[\"'=@:?#\\n/]){0,80}") {
            let shown = stars_in_place(&text);
            prop_assert_eq!(shown.len(), text.len());
            prop_assert_eq!(shown.lines().count(), text.lines().count());
        }
    }
}
