//! What pib and the system under test say to each other, a line at a time, over a port of its own.
//!
//! pib sends `run NONCE SECONDS BYTES SCRIPT`, the script in base64. The agent in the system sends `ready BOOT` once, where
//! BOOT is the kernel's identifier of this boot, and for each script
//! `end NONCE CODE STDOUT. STDERR.`, where CODE is the exit code or `timeout`, and the outputs are in base64, each cut at
//! BYTES. The dots keep an empty output from being no word. Kernel messages and what commands print never reach the port,
//! and the nonce tells a late answer from the one that is waited for: nothing that a system prints is taken for a result.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The most of an output that a test's reply has, in bytes.
pub const MAX_OUTPUT: usize = 64 << 10;
/// The most of a long output, e.g. of a journal, in bytes.
pub const MAX_LONG_OUTPUT: usize = 4 << 20;
/// The longest line that a system may send, in bytes: two long outputs in base64, and some words.
pub const MAX_LINE: usize = 2 * (MAX_LONG_OUTPUT / 3 + 2) * 4 + 256;

/// How a script ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this exit code.
    Exit(u8),
    /// It was stopped when its time was over.
    TimedOut,
}

/// What came of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// How it ended.
    pub ending: Ending,
    /// The beginning of what it printed to standard output.
    pub stdout: Vec<u8>,
    /// The beginning of what it printed to standard error.
    pub stderr: Vec<u8>,
}

/// A line of the agent's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// The agent is there, in this boot.
    Ready(String),
    /// The script of this nonce ended.
    End(String, Reply),
}

/// Returns the line that has the agent run a script for at most `limit`, and send at most `most` bytes of each output.
pub fn request(nonce: &str, limit: Duration, most: usize, script: &str) -> String {
    format!("run {nonce} {} {most} {}\n", limit.as_secs().max(1), STANDARD.encode(script))
}

/// Reads a line of the agent's; none where it is not one.
pub fn parse(line: &str) -> Option<Message> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words[..] {
        ["ready", boot] => Some(Message::Ready(boot.to_owned())),
        ["end", nonce, code, stdout, stderr] => {
            let ending = match code {
                "timeout" => Ending::TimedOut,
                _ => Ending::Exit(code.parse().ok()?),
            };
            let decode = |word: &str| STANDARD.decode(word.strip_suffix('.')?).ok();
            let reply = Reply { ending, stdout: decode(stdout)?, stderr: decode(stderr)? };
            Some(Message::End(nonce.to_owned(), reply))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_agents_lines_are_read() {
        assert_eq!(parse("ready 1b-2c\r\n"), Some(Message::Ready("1b-2c".to_owned())));
        let reply = Reply { ending: Ending::Exit(3), stdout: b"hi\n".to_vec(), stderr: vec![] };
        assert_eq!(parse("end n1 3 aGkK. .\n"), Some(Message::End("n1".to_owned(), reply.clone())));
        let late = Reply { ending: Ending::TimedOut, ..reply };
        assert_eq!(parse("end n1 timeout aGkK. ."), Some(Message::End("n1".to_owned(), late)));
        for line in
            ["", "ready", "end n1 0 . ", "end n1 256 . .", "end n1 0 a. .", "end n1 0 aGkK .", "[  1.0] x"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
        assert_eq!(request("n1", Duration::from_millis(10), 5, "id\n"), "run n1 1 5 aWQK\n");
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in ".{0,200}") {
            let _ = parse(&line);
        }

        #[test]
        fn outputs_come_as_they_are(out in proptest::collection::vec(any::<u8>(), 0..300)) {
            let line = format!("end n 0 {}. .", STANDARD.encode(&out));
            let Some(Message::End(_, reply)) = parse(&line) else { panic!("{line}") };
            prop_assert_eq!(reply.stdout, out);
        }
    }
}
