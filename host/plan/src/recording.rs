//! `pib.fetch.lock`: the responses that the parts of a project were given, so that they are given the same again.
//!
//! The text has a line for each response, sorted by address: a JSON object. The first line says which version of this
//! form it has. Two people's additions merge line by line.
//!
//! ```text
//! {"v":1}
//! {"method":"GET","url":"http://deb.debian.org/debian/dists/trixie/InRelease","status":200,"digest":"sha256:…","size":9}
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::id::Digest;
use crate::lockfile::{LockError, merge_conflict};
use crate::manifest::WrongType;

/// The name of the file, beside `pib.lock`.
pub const FILE_NAME: &str = "pib.fetch.lock";
/// The newest form that this code reads, and the one that it writes.
pub const VERSION: u32 = 1;
/// The largest text that is read, in bytes: tens of thousands of responses.
pub const MAX_TEXT: usize = 16 << 20;
/// The longest address, in bytes.
const MAX_URL: usize = 8 << 10;
/// The largest body, in bytes.
pub const MAX_BODY: u64 = 16 << 30;

/// The headers of a response that clients use: how to read the body, whether it has changed, where a redirect leads, which
/// credentials the server wants.
pub const HEADERS: [&str; 6] =
    ["content-encoding", "content-type", "etag", "last-modified", "location", "www-authenticate"];
/// What is recorded of a body whose server did not say its length beforehand: it is given again in the same way.
pub const UNKNOWN_LENGTH: (&str, &str) = ("transfer-encoding", "chunked");
/// The headers of a request by which a server may choose the response. They are recorded where its `Vary` names them
/// (<https://www.rfc-editor.org/rfc/rfc9110#name-vary>).
pub const ASKED: [&str; 7] = [
    "accept",
    "accept-language",
    AUTHORIZATION,
    "content-encoding",
    "content-type",
    "git-protocol",
    "user-agent",
];
/// The header with credentials. It is recorded whether there were any, whatever the server says, and never which.
pub const AUTHORIZATION: &str = "authorization";
/// What is recorded in the place of credentials.
pub const GIVEN: &str = "given";
/// The longest value of one of them, in bytes.
pub const MAX_VALUE: usize = 8 << 10;

const HELP: &str = "Get the file back from version control, or start again with `pib update --packages`.";

/// A request that can be answered from a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// For the whole.
    Get,
    /// For the head alone.
    Head,
    /// For what a server makes of what is sent to it: git asks so.
    Post,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// The address.
    pub url: String,
    /// How.
    pub method: Method,
    /// The digest of what was sent with a `POST`.
    pub sent: Option<Digest>,
    /// Those of its headers by which the server chose the response, of [`ASKED`], by name. One that was not sent is empty.
    pub asked: BTreeMap<String, String>,
}

impl Request {
    /// Returns the request for what is at an address.
    pub fn get(url: impl Into<String>) -> Self {
        Self { url: url.into(), method: Method::Get, sent: None, asked: BTreeMap::new() }
    }

    /// Returns the request without the headers by which the server chose.
    #[must_use]
    pub fn bare(&self) -> Self {
        Self { asked: BTreeMap::new(), ..self.clone() }
    }
}

/// A response that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Its status, e.g. 200 or 404.
    pub status: u16,
    /// The digest of its body.
    pub digest: Digest,
    /// The size of its body in bytes. A response to `HEAD` has no body: there it is the size that the server announced.
    pub size: u64,
    /// Those of its [`HEADERS`], by name.
    pub headers: BTreeMap<String, String>,
}

impl Response {
    /// Returns whether there is a body to be kept: a `HEAD` has none, and nor has what a server says beside the file itself.
    pub fn has_body(&self, method: Method) -> bool {
        self.status == 200 && self.size > 0 && method != Method::Head
    }

    /// Returns whether its server said the length before the body.
    pub fn has_length(&self) -> bool {
        let (name, value) = UNKNOWN_LENGTH;
        self.headers.get(name).is_none_or(|found| found != value)
    }
}

/// The responses of a snapshot, by what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recording {
    responses: BTreeMap<Request, Response>,
}

/// A line of the file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    method: Method,
    url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sent: Option<Digest>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    asked: BTreeMap<String, String>,
    status: u16,
    digest: Digest,
    size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
}

impl Line {
    /// Returns the request and the response of it.
    ///
    /// # Errors
    /// Says what cannot be used of it.
    fn check(self) -> Result<(Request, Response), &'static str> {
        let Self { method, url, sent, asked, status, digest, size, headers } = self;
        if !is_address(&url) {
            return Err("to a request for what is no address");
        }
        if sent.is_some() != (method == Method::Post) {
            return Err("to a request that sent something, or did not, as none of its kind does");
        }
        if !(100..=599).contains(&status) || size > MAX_BODY {
            return Err("with a status or a size that none has");
        }
        if !headers.iter().all(|(name, value)| is_header(name, value)) {
            return Err("with a header that none has");
        }
        if !asked.iter().all(|(name, value)| is_asked(name, value)) {
            return Err("to a request with a header that none has");
        }
        Ok((Request { url, method, sent, asked }, Response { status, digest, size, headers }))
    }
}

/// Says why a line cannot be read. Its number within itself would mislead.
fn unreadable(error: &serde_json::Error) -> String {
    let told = error.to_string();
    let told = told.rsplit_once(" at line ").map_or(&*told, |(told, _)| told);
    match WrongType::of(told) {
        Some(WrongType { found, expected, .. }) => format!("it has the {found} where {expected} is expected"),
        None => told.to_owned(),
    }
}

/// Returns the request and the response of one line, if it is one.
pub fn parse_line(text: &str) -> Option<(Request, Response)> {
    serde_json::from_str::<Line>(text).ok()?.check().ok()
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct First {
    v: u32,
}

impl Recording {
    /// Parses the text of a recording that was read from `file`.
    ///
    /// # Errors
    /// When the text holds a merge conflict, is of a newer form, or is no recording; each says where and what to do.
    pub fn parse(file: &str, text: &str) -> Result<Self, LockError> {
        if text.len() > MAX_TEXT {
            // A text that is too long is not shown.
            let message = format!("`{file}` is larger than 16 MiB and is surely no recording");
            return Err(LockError::new((file, ""), None, "", message, HELP));
        }
        let fail =
            |span, label, message, help| Err(LockError::new((file, text), Some(span), label, message, help));
        if let Some(span) = merge_conflict(text) {
            let help = "Both sides have asked mirrors for what the recording did not have. Take either side whole, and build.";
            return fail(span, "the conflict begins here", format!("`{file}` holds a merge conflict"), help);
        }
        let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
        let whole = 0..first.trim_end().len();
        match serde_json::from_str::<First>(first) {
            Ok(First { v: VERSION }) => {}
            Ok(First { v }) if v > VERSION => {
                let message = format!(
                    "`{file}` was written by a newer pib: it has version {v}, this pib reads up to {VERSION}"
                );
                return fail(whole, "this version", message, "Update pib.");
            }
            _ => {
                let message = format!("`{file}` does not say its version");
                return fail(whole, "`{\"v\":1}` is missing", message, HELP);
            }
        }
        let mut recording = Self::default();
        let mut start = first.len() + 1;
        for line in rest.split_inclusive('\n') {
            let bare = line.trim_end();
            let span = start..start + bare.len();
            start += line.len();
            if bare.is_empty() {
                continue;
            }
            let line: Line = match serde_json::from_str(bare) {
                Ok(line) => line,
                Err(error) => {
                    return fail(
                        span,
                        "here",
                        format!("could not read `{file}`: {}", unreadable(&error)),
                        HELP,
                    );
                }
            };
            if let Some(what) = recording.add_line(line) {
                return fail(span, "here", format!("`{file}` has a response {what}"), HELP);
            }
        }
        Ok(recording)
    }

    /// Adds a line that was read; returns what cannot be used of it.
    fn add_line(&mut self, line: Line) -> Option<&'static str> {
        match line.check() {
            Ok((request, response)) => self.responses.insert(request, response).map(|_| "twice"),
            Err(what) => Some(what),
        }
    }

    /// Returns the recording of one response.
    pub fn of(request: Request, response: Response) -> Self {
        Self { responses: BTreeMap::from([(request, response)]) }
    }

    /// Returns whether another recording answers a request otherwise than this one does.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.iter().any(|(request, response)| other.get(request).is_some_and(|found| found != response))
    }

    /// Returns the lines of what this recording has and another one does not.
    pub fn lines_beyond(&self, other: &Self) -> String {
        let new = self.iter().filter(|(request, _)| other.get(request).is_none());
        new.map(|(request, response)| line(request, response)).collect()
    }

    /// Returns the text of the file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{{\"v\":{VERSION}}}\n");
        for (request, response) in &self.responses {
            text.push_str(&line(request, response));
        }
        text
    }

    /// Returns the digest of the text.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_text().as_bytes())
    }

    /// Returns the response to a request.
    pub fn get(&self, request: &Request) -> Option<&Response> {
        self.responses.get(request)
    }

    /// Returns the response to a request that has these headers, by name; a header that it does not have is empty.
    pub fn find(&self, request: &Request, header: impl Fn(&str) -> String) -> Option<&Response> {
        let bare = request.bare();
        let given = !header(AUTHORIZATION).is_empty();
        let of_request = self.responses.range(&bare..).take_while(|(found, _)| found.bare() == bare);
        let fits = |found: &Request| {
            found.asked.contains_key(AUTHORIZATION) == given
                && found.asked.iter().all(|(name, value)| name == AUTHORIZATION || header(name) == *value)
        };
        of_request.into_iter().find(|(found, _)| fits(found)).map(|(_, response)| response)
    }

    /// Adds the response to a request, in the place of an earlier one; returns the line that tells of it.
    pub fn add(&mut self, request: &Request, response: Response) -> String {
        let text = line(request, &response);
        self.responses.insert(request.clone(), response);
        text
    }

    /// Adds what another recording has and this one does not.
    pub fn extend(&mut self, other: Self) {
        for (request, response) in other.responses {
            self.responses.entry(request).or_insert(response);
        }
    }

    /// Returns how many responses there are.
    pub fn len(&self) -> usize {
        self.responses.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty()
    }

    /// Returns the requests and their responses, sorted by address.
    pub fn iter(&self) -> impl Iterator<Item = (&Request, &Response)> {
        self.responses.iter()
    }
}

fn line(request: &Request, response: &Response) -> String {
    let (Request { url, method, sent, asked }, Response { status, digest, size, headers }) =
        (request.clone(), response.clone());
    let line = Line { method, url, sent, asked, status, digest, size, headers };
    // A structure of texts and numbers is always JSON.
    serde_json::to_string(&line).map(|text| text + "\n").unwrap_or_default()
}

/// Returns whether an address can be recorded: of a web server, as the URL standard writes it, without a password.
pub fn is_address(text: &str) -> bool {
    text.len() <= MAX_URL
        && Url::parse(text).is_ok_and(|url| {
            matches!(url.scheme(), "http" | "https") && url.as_str() == text && url.password().is_none()
        })
}

/// Returns whether a header is recorded, and can have this value.
pub fn is_header(name: &str, value: &str) -> bool {
    (HEADERS.contains(&name) && is_value(value)) || (name, value) == UNKNOWN_LENGTH
}

/// Returns whether a header of a request is recorded, and can have this value.
pub fn is_asked(name: &str, value: &str) -> bool {
    ASKED.contains(&name) && is_value(value) && (name != AUTHORIZATION || value == GIVEN)
}

fn is_value(value: &str) -> bool {
    value.len() <= MAX_VALUE && !value.contains(char::is_control) && value.is_ascii()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response(body: &[u8]) -> Response {
        let headers = BTreeMap::from([("content-type".to_owned(), "text/plain".to_owned())]);
        Response { status: 200, digest: Digest::of(body), size: body.len() as u64, headers }
    }

    fn parse(text: &str) -> Result<Recording, String> {
        Recording::parse(FILE_NAME, text).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again_and_is_sorted() {
        let mut recording = Recording::default();
        for url in ["http://b.example/x", "http://a.example/y?z=1"] {
            recording.add(&Request::get(url), response(url.as_bytes()));
        }
        let head = Request { method: Method::Head, ..Request::get("http://a.example/y?z=1") };
        recording.add(&head, Response { headers: BTreeMap::new(), ..response(b"") });
        let sent = |text: &[u8]| Some(Digest::of(text));
        let post =
            |text| Request { method: Method::Post, sent: sent(text), ..Request::get("https://c.example/") };
        recording.add(&post(b"1"), response(b"one"));
        recording.add(&post(b"2"), response(b"two"));
        let text = recording.to_text();
        let urls: Vec<&str> = recording.iter().map(|(request, _)| &*request.url).collect();
        assert_eq!(urls[..3], ["http://a.example/y?z=1", "http://a.example/y?z=1", "http://b.example/x"]);
        assert_eq!(text.lines().count(), 6);
        assert_eq!(recording.get(&post(b"2")), Some(&response(b"two")));
        assert_eq!(parse(&text), Ok(recording.clone()));
        assert_eq!(recording.digest(), Digest::of(text.as_bytes()));
        assert_eq!(
            recording.get(&Request::get("http://b.example/x")),
            Some(&response(b"http://b.example/x"))
        );
        assert_eq!(
            recording.get(&Request { method: Method::Head, ..Request::get("http://b.example/x") }),
            None
        );
        assert_eq!(parse("{\"v\":1}\n"), Ok(Recording::default()));
    }

    #[test]
    fn a_response_is_found_by_what_the_server_chose_it_by() {
        let mut recording = Recording::default();
        let with = |pairs: &[(&str, &str)]| Request {
            asked: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Request::get("http://a.example/x")
        };
        recording.add(&with(&[("accept", "text/html")]), response(b"page"));
        recording.add(&with(&[("accept", "")]), response(b"whatever"));
        recording.add(&with(&[("authorization", GIVEN)]), response(b"mine"));
        recording.add(&Request::get("http://a.example/y"), response(b"everybody's"));
        let text = recording.to_text();
        assert!(text.contains("\"asked\":{\"accept\":\"text/html\"}"), "{text}");
        assert_eq!(parse(&text), Ok(recording.clone()));
        let find = |path: &str, headers: &[(&str, &str)]| {
            let header = |name: &str| {
                let found = headers.iter().find(|(known, _)| *known == name);
                found.map_or_else(String::new, |(_, value)| (*value).to_owned())
            };
            recording.find(&Request::get(format!("http://a.example/{path}")), header).map(|found| found.size)
        };
        assert_eq!(find("x", &[("accept", "text/html"), ("user-agent", "me")]), Some(4));
        assert_eq!(find("x", &[]), Some(8));
        assert_eq!(find("x", &[("accept", "text/plain")]), None);
        assert_eq!(find("x", &[("authorization", "anything"), ("accept", "text/html")]), Some(4));
        assert_eq!(find("y", &[("accept", "text/html")]), Some(11));
        assert_eq!(find("y", &[("authorization", "Basic eA==")]), None);
        let lie = text.replace(GIVEN, "Basic eA==");
        assert!(parse(&lie).unwrap_err().contains("a header that none has"));
    }

    #[test]
    fn recordings_contradict_each_other_where_both_answer_a_request() {
        let of = |url: &str, body: &[u8]| Recording::of(Request::get(url), response(body));
        let (a, b) = ("http://a.example/", "http://b.example/");
        let both = {
            let mut both = of(a, b"1");
            both.extend(of(b, b"2"));
            both
        };
        for (other, contradicts) in
            [(Recording::default(), false), (of(a, b"1"), false), (of(b, b"1"), true), (of(a, b""), true)]
        {
            assert_eq!(both.contradicts(&other), contradicts, "{other:?}");
            assert_eq!(other.contradicts(&both), contradicts, "{other:?}");
        }
        let beyond = both.lines_beyond(&of(a, b"3"));
        assert_eq!(parse_line(beyond.trim_end()), Some((Request::get(b), response(b"2"))));
        assert_eq!(parse_line(&beyond[..beyond.len() / 2]), None);
    }

    #[test]
    fn what_is_no_recording_is_refused_with_its_line() {
        let mut good = Recording::default();
        good.add(&Request::get("http://a.example/"), response(b"x"));
        let good = good.to_text();
        let (first, line) = good.split_once('\n').unwrap();
        for (text, says) in [
            (String::new(), "does not say its version"),
            ("version = 1\n".to_owned(), "does not say its version"),
            ("{\"v\":2}\n".to_owned(), "newer pib"),
            (format!("{first}\n<<<<<<< ours\n{line}"), "merge conflict"),
            (format!("{first}\n{line}{line}"), "twice"),
            (format!("{first}\n{}", line.replace("http://a.example/", "ftp://a.example/")), "no address"),
            (
                format!("{first}\n{}", line.replace("http://a.example/", "http://u:p@a.example/")),
                "no address",
            ),
            (format!("{first}\n{}", line.replace("GET", "POST")), "sent something"),
            (format!("{first}\n{}", line.replace("200", "2000")), "a status"),
            (format!("{first}\n{}", line.replace("\"size\":1", "\"size\":99999999999999")), "a size"),
            (format!("{first}\n{}", line.replace("content-type", "set-cookie")), "a header"),
            (format!("{first}\n{}", line.replace("text/plain", "a\\r\\nb")), "a header"),
            (format!("{first}\n{}", line.replace("\"size\"", "\"length\"")), "could not read"),
            (format!("{first}\n{}", &line[..line.len() / 2]), "could not read"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(parse(&"x".repeat(MAX_TEXT + 1)).unwrap_err().contains("16 MiB"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\{\"v\":1\\}\n)?[ -~\n]{0,200}") {
            let _ = parse(&text);
        }
    }
}
