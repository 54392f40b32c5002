//! Finds in a command what no engine lets it do.

/// Files that engines mount over while a command runs, so that what is written to them is in no layer.
const ENGINES_FILES: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];
/// Programs that change the last file that they are given.
const TARGETING: [&str; 4] = ["cp", "install", "ln", "mv"];
/// Programs that change every file that they are given.
const CHANGING: [&str; 4] = ["rm", "tee", "truncate", "unlink"];
/// What may stand before a program's name.
const LEADING: [&str; 10] = ["!", "do", "elif", "else", "env", "exec", "if", "sudo", "then", "while"];

/// A word of a command, or an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `>`, `>>` and their like.
    Redirection,
    /// What ends a simple command.
    End,
}

/// Returns the file of the engine's that a command writes to, as far as its text shows.
pub(super) fn written_file(command: &str) -> Option<&'static str> {
    let tokens = tokens(command);
    let redirected = tokens.windows(2).find_map(|pair| match pair {
        [Token::Redirection, Token::Word(file)] => engines_file(file),
        _ => None,
    });
    redirected.or_else(|| tokens.split(|token| *token == Token::End).find_map(changed))
}

/// Returns the file of the engine's that a program with its arguments writes to, as far as their text shows.
pub(super) fn file_written_by_list(words: &[String]) -> Option<&'static str> {
    let tokens: Vec<Token> = words.iter().cloned().map(Token::Word).collect();
    let is_shell = words.first().is_some_and(|program| program.ends_with("sh"));
    let script = words.iter().skip_while(|word| !(word.starts_with('-') && word.ends_with('c'))).nth(1);
    changed(&tokens).or_else(|| script.filter(|_| is_shell).and_then(|script| written_file(script)))
}

/// Returns the file of the engine's that a simple command changes by its name and arguments.
fn changed(tokens: &[Token]) -> Option<&'static str> {
    let words = tokens.iter().map_while(|token| match token {
        Token::Word(word) => Some(word.as_str()),
        Token::Redirection | Token::End => None,
    });
    let mut words = words.skip_while(|word| LEADING.contains(word) || word.contains('='));
    let program = words.next()?.rsplit('/').next()?;
    let arguments: Vec<&str> = words.collect();
    let in_place = |word: &&str| {
        word.starts_with("--in-place")
            || (word.starts_with('-') && !word.starts_with("--") && word.contains('i'))
    };
    if TARGETING.contains(&program) {
        return engines_file(arguments.last()?);
    }
    let changes = CHANGING.contains(&program) || (program == "sed" && arguments.iter().any(in_place));
    arguments.into_iter().filter(|_| changes).find_map(engines_file)
}

/// Returns the file of the engine's that a path leads to, in whatever way it is written.
fn engines_file(path: &str) -> Option<&'static str> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.strip_prefix('/')?.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    ENGINES_FILES.into_iter().find(|file| file.split('/').skip(1).eq(names.iter().copied()))
}

fn tokens(command: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = command.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let quoted = word.get_or_insert_default();
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    let literal = inner == '\\' && c == '"';
                    quoted.extend(if literal { chars.next() } else { Some(inner) });
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '>' => {
                // A number before it says which stream is meant.
                tokens.extend(word.take().filter(|word| word.parse::<u8>().is_err()).map(Token::Word));
                while chars.next_if(|next| matches!(next, '>' | '|')).is_some() {}
                tokens.push(Token::Redirection);
            }
            ';' | '&' | '|' | '\n' | '(' | ')' | '{' | '}' | '`' => {
                tokens.extend(word.take().map(Token::Word));
                tokens.push(Token::End);
            }
            c if c.is_whitespace() => tokens.extend(word.take().map(Token::Word)),
            c => word.get_or_insert_default().push(c),
        }
    }
    tokens.extend(word.map(Token::Word));
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_to_the_engines_files_is_found() {
        for command in [
            "echo x > /etc/hosts",
            "echo x >>/etc/hosts",
            "set -eu; printf 'a' 1>'/etc/resolv.conf'",
            "echo x | tee -a /etc/hosts > /dev/null",
            "if true; then ln -sf ../run/x /etc/resolv.conf; fi",
            "sed -Ei s,a,b, /etc/hosts",
            "A=b rm -f /tmp/x /etc/resolv.conf",
            "{ mv /tmp/a /etc/hosts; }",
            "echo x > /etc//hosts",
            "echo x > //etc/./hosts",
            "rm /etc/ssh/../resolv.conf",
            "echo x >| /usr/../etc/hosts",
        ] {
            assert!(written_file(command).is_some(), "{command}");
        }
        for command in [
            "cat /etc/hosts > /etc/hosts.orig",
            "cp /etc/resolv.conf /tmp/x",
            "echo 'x > /etc/hosts'",
            "sed s,a,b, /etc/hosts",
            "grep -q x /etc/hosts && rm /tmp/hosts",
            "echo x > /etc/hostname",
        ] {
            assert_eq!(written_file(command), None, "{command}");
        }
    }

    #[test]
    fn a_list_is_read_as_the_command_that_it_is() {
        let written = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            file_written_by_list(&words)
        };
        for words in [
            &["rm", "/etc/hosts"][..],
            &["/usr/bin/tee", "-a", "/etc//hosts"],
            &["/bin/sh", "-c", "echo x > /etc/hosts"],
            &["/bin/bash", "-euc", "echo x >> /etc/./resolv.conf"],
            &["sh", "-e", "-c", "cp a /etc/hosts"],
        ] {
            assert!(written(words).is_some(), "{words:?}");
        }
        for words in [
            &["cat", "/etc/hosts"][..],
            &["echo", "a > /etc/hosts"],
            &["/bin/sh", "-c", "cat /etc/hosts"],
            &["python3", "-c", "x > /etc/hosts"],
        ] {
            assert_eq!(written(words), None, "{words:?}");
        }
    }
}
