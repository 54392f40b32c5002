//! What the errors of an S3-compatible server mean, in words of pib's own.

use std::error::Error as _;

use object_store::Error;

use crate::error::{ObjectError, innermost, plain};

/// Returns what an error of the server that has the bucket of this name means. Its text may show the key and what was signed,
/// and is not shown.
pub(crate) fn meaning(name: &str, error: Error) -> ObjectError {
    let code = code(&error).unwrap_or_default();
    let denied = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
    let words = match code.as_str() {
        "NoSuchBucket" => format!("there is no bucket `{name}`; make it first"),
        "InvalidAccessKeyId" => "the server does not know the access key (AWS_ACCESS_KEY_ID)".to_owned(),
        "SignatureDoesNotMatch" => {
            "the secret key does not fit the access key (AWS_SECRET_ACCESS_KEY)".to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" => "what lets you in has expired; log in again".to_owned(),
        "RequestTimeTooSkewed" => "the server's clock and this machine's differ; set the clock".to_owned(),
        "AccessDenied" => format!("the server does not let you do that in the bucket `{name}`"),
        "NotImplemented" => {
            "the server cannot write an object only where nobody else has (If-Match, If-None-Match)"
                .to_owned()
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            format!("the bucket `{name}` is in another region; set AWS_REGION")
        }
        "" if denied => format!("the server does not let you do that in the bucket `{name}`"),
        "" => match status(&error) {
            Some(status) => format!("the server answered {status}"),
            None => innermost(&error),
        },
        code => format!("the server answered `{code}`"),
    };
    if denied { ObjectError::Denied(words) } else { ObjectError::Server(words) }
}

/// Returns the text of an error and of all that it was made of.
fn whole_text(error: &Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(source) = next {
        text.push(' ');
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

/// Returns the code by which the server says what is wrong.
pub(crate) fn code(error: &Error) -> Option<String> {
    let text = whole_text(error);
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let is_code =
        !code.is_empty() && code.len() <= 60 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code.then(|| code.to_owned())
}

/// Returns the status of the server's answer, in words.
fn status(error: &Error) -> Option<String> {
    let text = whole_text(error);
    let rest = text.split_once("status code: ")?.1;
    Some(plain(rest.split(':').next()?))
}
