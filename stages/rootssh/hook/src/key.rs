//! One line of an authorized_keys file.

/// The fewest bits of an RSA key that are accepted, and the fewest that pass without a word.
const RSA_BITS: (usize, usize) = (2048, 3072);

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// The line, as it goes into the file.
    pub(crate) line: String,
    /// The key itself.
    pub(crate) blob: Vec<u8>,
    kind: String,
    comment: String,
    rsa_bits: Option<usize>,
}

/// Why a line is no key, as the end of a sentence, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) what: String,
    pub(crate) help: &'static str,
}

const FORM: &str =
    "A line is TYPE BASE64 COMMENT, as ssh-keygen writes it to the file whose name ends in .pub.";
const MAKE: &str = "Make a better one: ssh-keygen -t ed25519.";
const AGAIN: &str = "Copy the file again, whole: it was probably cut off or changed on the way.";

impl Key {
    /// Reads a line that is neither empty nor a comment.
    pub(crate) fn parse(line: &str) -> Result<Self, Problem> {
        let rest = after_options(line);
        let mut words = rest.split_whitespace();
        let kind = words.next().unwrap_or_default();
        check_kind(kind)?;
        let encoded = words.next().ok_or_else(|| problem("has no key after its type", FORM))?;
        let blob = base64(encoded).ok_or_else(|| problem("is not a public key: it is not base64", AGAIN))?;
        let rsa_bits = check_blob(kind, &blob)?;
        let comment = words.collect::<Vec<_>>().join(" ");
        Ok(Self { line: line.to_owned(), blob, kind: kind.to_owned(), comment, rsa_bits })
    }

    /// Returns how to call the key in a message.
    pub(crate) fn describe(&self) -> String {
        if self.comment.is_empty() {
            return format!("a key of type {}", self.kind);
        }
        format!("the key `{}` of type {}", self.comment, self.kind)
    }

    /// Returns the bits of an RSA key that is shorter than it should be.
    pub(crate) fn short_rsa(&self) -> Option<usize> {
        self.rsa_bits.filter(|bits| *bits < RSA_BITS.1)
    }
}

fn problem(what: impl Into<String>, help: &'static str) -> Problem {
    Problem { what: what.into(), help }
}

/// Returns what follows the options that a line may begin with: words joined by commas, values in quotes.
fn after_options(line: &str) -> &str {
    let first = line.split_whitespace().next().unwrap_or_default();
    if is_kind(first) {
        return line;
    }
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' if !escaped => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return line[at..].trim_start(),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    line
}

fn is_kind(word: &str) -> bool {
    ["ssh-", "sk-", "ecdsa-", "rsa-"].iter().any(|start| word.starts_with(start))
}

fn check_kind(kind: &str) -> Result<(), Problem> {
    match kind {
        "ssh-ed25519" | "ssh-rsa" | "sk-ssh-ed25519@openssh.com" | "sk-ecdsa-sha2-nistp256@openssh.com" => {
            Ok(())
        }
        "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => Ok(()),
        "ssh-dss" => Err(problem("is a DSA key, which ssh servers no longer accept", MAKE)),
        _ if kind.contains("-cert-") => Err(problem(
            "is a certificate, not a public key",
            "Give the key that the certificate was made for.",
        )),
        _ if is_kind(kind) => {
            Err(problem(format!("has a key of the unknown type `{}`", shortened(kind)), MAKE))
        }
        _ => Err(problem("is not a public key", FORM)),
    }
}

/// Checks the inside of a key, and returns the bits of an RSA key.
fn check_blob(kind: &str, blob: &[u8]) -> Result<Option<usize>, Problem> {
    let damaged = || problem("is not a whole public key", AGAIN);
    let mut fields = Fields(blob);
    if fields.next().ok_or_else(damaged)? != kind.as_bytes() {
        return Err(problem(format!("calls itself {kind} and is something else inside"), AGAIN));
    }
    let mut bits = None;
    match kind {
        "ssh-ed25519" | "sk-ssh-ed25519@openssh.com" => {
            fields.next().filter(|key| key.len() == 32).ok_or_else(damaged)?;
        }
        "ssh-rsa" => {
            fields.next().filter(|exponent| !exponent.is_empty()).ok_or_else(damaged)?;
            let found = number_bits(fields.next().ok_or_else(damaged)?);
            if found < RSA_BITS.0 {
                return Err(problem(format!("is an RSA key of {found} bits, which is too weak"), MAKE));
            }
            bits = Some(found);
        }
        _ => {
            let curve = fields.next().ok_or_else(damaged)?;
            let length = match curve {
                b"nistp256" => 65,
                b"nistp384" => 97,
                b"nistp521" => 133,
                _ => return Err(damaged()),
            };
            let fits = |point: &&[u8]| point.len() == length && point.first() == Some(&4);
            fields.next().filter(fits).ok_or_else(damaged)?;
        }
    }
    if kind.starts_with("sk-") {
        // The application that the security key knows it by.
        fields.next().ok_or_else(damaged)?;
    }
    if fields.0.is_empty() { Ok(bits) } else { Err(damaged()) }
}

/// The fields of a key: each is its length in four bytes, and so many bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (field, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

fn number_bits(number: &[u8]) -> usize {
    let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
    number.first().map_or(0, |first| number.len() * 8 - first.leading_zeros() as usize)
}

/// Decodes base64 with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=');
    if digits.is_empty() || text.len() - digits.len() > 2 || text.len() % 4 != 0 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len());
    let (mut held, mut bits) = (0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0).then_some(bytes)
}

fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}
