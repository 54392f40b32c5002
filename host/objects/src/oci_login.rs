//! Lets the user in at a registry: what it asks for, and the tokens that it takes (the distribution project's
//! "Token Authentication", and RFC 7617 for passwords).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pib_plan::credential::is_this_machine;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;
use url::Url;
use url::form_urlencoded::Serializer;

use crate::access::Access;
use crate::docker_config::Login;
use crate::error::{ObjectError, innermost};

/// How long a server of tokens has for its answer, and the longest that is read, in bytes.
const ANSWER: Duration = Duration::from_secs(30);
const MAX_ANSWER: usize = 256 << 10;

/// What a registry asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// A user and a password.
    Basic,
    /// A token, which is to be had at an address.
    Bearer { realm: String, service: Option<String> },
}

/// A server's answer to who asks for a token.
#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// Returns what an answer of the status 401 asks for: a token where it gives the choice.
pub(crate) fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut found = None;
    for text in texts {
        let (scheme, parameters) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            let value = |name: &str| {
                let mut all = parameters_of(parameters).into_iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
            };
            if let Some(realm) = value("realm") {
                return Some(Challenge::Bearer { realm, service: value("service") });
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            found = Some(Challenge::Basic);
        }
    }
    found
}

/// Returns the names and values of a list such as `realm="https://x/",service="y"`.
fn parameters_of(text: &str) -> Vec<(String, String)> {
    let (mut found, mut rest) = (Vec::new(), text);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([',', ' ', '\t']).to_owned();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let (mut value, mut end, mut escaped) = (String::new(), quoted.len(), false);
                for (at, letter) in quoted.char_indices() {
                    match letter {
                        '\\' if !escaped => escaped = true,
                        '"' if !escaped => {
                            end = at + 1;
                            break;
                        }
                        letter => {
                            value.push(letter);
                            escaped = false;
                        }
                    }
                }
                (value, &quoted[end..])
            }
            None => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = next;
    }
    found
}

/// Returns the header that sends a user and a password.
pub(crate) fn basic(user: &str, secret: &str) -> Option<HeaderValue> {
    header(&format!("Basic {}", STANDARD.encode(format!("{user}:{secret}"))))
}

fn header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Asks for a token with a scope, and returns the header that sends it. The registry at `base` has named the address.
///
/// # Errors
/// When the address is not protected, or gives no token.
pub(crate) async fn token(
    client: &reqwest::Client,
    access: &Access,
    base: &Url,
    (realm, service): (&str, Option<&str>),
    scope: &str,
    login: Option<&Login>,
) -> Result<HeaderValue, ObjectError> {
    let mut url = token_address(base, realm)?;
    let host = url.host_str().unwrap_or_default().to_owned();
    let fail = |why: &str| ObjectError::Server(format!("asking {host} for a token failed: {why}"));
    let request = match login {
        Some(Login::Identity(token)) => {
            let mut form = Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", token);
            form.append_pair("client_id", "pib").append_pair("scope", scope);
            if let Some(service) = service {
                form.append_pair("service", service);
            }
            client.post(url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form.finish())
        }
        _ => {
            if let Some(service) = service {
                url.query_pairs_mut().append_pair("service", service);
            }
            url.query_pairs_mut().append_pair("scope", scope);
            match login {
                Some(Login::Password { user, secret }) => client.get(url).basic_auth(user, Some(secret)),
                _ => client.get(url),
            }
        }
    };
    let sent = tokio::time::timeout(ANSWER, request.send()).await;
    let sent = sent.map_err(|_| fail(&format!("no answer came for {} seconds", ANSWER.as_secs())))?;
    let mut response = sent.map_err(|error| fail(&innermost(&error.without_url())))?;
    if !response.status().is_success() {
        let text = format!("asking {host} for a token failed: it answered {}", response.status());
        return Err(match response.status().as_u16() {
            401 | 403 => ObjectError::Denied(text),
            _ => ObjectError::Server(text),
        });
    }
    let mut answer = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| fail(&innermost(&error.without_url())))? {
        answer.extend_from_slice(&chunk);
        if answer.len() > MAX_ANSWER {
            return Err(fail("its answer is too long"));
        }
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| fail("its answer has no token"))?;
    let token = answer.token.or(answer.access_token).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| fail("its answer has no token"))?;
    access.hide(&token);
    header(&format!("Bearer {token}")).ok_or_else(|| fail("its token is not valid"))
}

/// Returns where tokens are to be had. A password goes there: so it is protected, or all of it is on this machine.
fn token_address(base: &Url, realm: &str) -> Result<Url, ObjectError> {
    let bad = |why: &str| {
        let host = base.host_str().unwrap_or_default();
        ObjectError::Server(format!("{host} names an address for tokens that {why}"))
    };
    let url = Url::parse(realm).map_err(|_| bad("is not one"))?;
    if url.host_str().is_none_or(str::is_empty) || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("is not one"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_this_machine(&url) && is_this_machine(base) => Ok(url),
        _ => Err(bad("is not protected")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(texts: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        }
        challenge(&headers)
    }

    fn bearer(realm: &str, service: Option<&str>) -> Option<Challenge> {
        Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
    }

    #[test]
    fn registries_ask_for_a_password_or_a_token() {
        assert_eq!(of(&["Basic realm=\"Registry\""]), Some(Challenge::Basic));
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",scope=\"a:b:pull,push\"";
        assert_eq!(of(&[hub]), bearer("https://auth.docker.io/token", Some("registry.docker.io")));
        assert_eq!(
            of(&["Basic realm=x", "bearer Realm=https://x/t , service = y"]),
            bearer("https://x/t", Some("y"))
        );
        assert_eq!(of(&["Bearer realm=\"a\\\"b\",service=\"c,d\""]), bearer("a\"b", Some("c,d")));
        assert_eq!(of(&["Bearer service=\"x\""]), None);
        assert_eq!(of(&["Negotiate", ""]), None);
    }

    #[test]
    fn a_password_goes_only_where_it_is_protected() {
        let at = |base: &str, realm: &str| token_address(&Url::parse(base).unwrap(), realm).is_ok();
        assert!(at("https://x.example", "https://auth.example/token"));
        assert!(at("http://127.0.0.1:5000", "http://localhost:5001/token"));
        for realm in [
            "http://auth.example/",
            "http://127.0.0.1/",
            "ftp://x/",
            "x",
            "https://me:pw@x.example/",
            "file:///x",
        ] {
            assert!(!at("https://x.example", realm), "{realm}");
        }
    }

    #[test]
    fn a_password_is_in_no_debug_text() {
        let value = basic("me", "hunter2").unwrap();
        assert_eq!(value.to_str().unwrap(), "Basic bWU6aHVudGVyMg==");
        assert!(!format!("{value:?}").contains("bWU6"));
        assert_eq!(basic("me", "a\nb").map(|value| value.is_sensitive()), Some(true));
    }

    proptest! {
        #[test]
        fn no_challenge_ends_in_a_panic(text in "\\PC{0,80}") {
            parameters_of(&text);
            parameters_of(&format!("realm=\"{text}"));
        }
    }
}
