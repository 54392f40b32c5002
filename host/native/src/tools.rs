//! Which tools the companion has, and in which calls they may stand in for the target's.
//!
//! The list is a text file, `tools`, that pib writes into the companion. One tool, then its rules, a line each, with
//! tabs between the fields:
//!
//! ```text
//! tool     PATH  PACKAGE  VERSION  NAME-IN-CHECKSUMS
//! first    WORD         only where this is the first argument
//! script   PATH         only to run this script; `*` at the end stands for anything, `-m NAME` for a module
//! without  WORD         only to run a text in which this word does not occur
//! ```

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Where the companion is mounted.
pub(crate) const ROOT: &str = "/.pib";

/// The largest script that is searched for words.
const MAX_SCRIPT: u64 = 1 << 20;

/// All tools, by their path in the root file system.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    tools: HashMap<PathBuf, Tool>,
}

/// One tool.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// The package that brings it.
    pub(crate) package: String,
    /// The package's version.
    pub(crate) version: String,
    /// How the package's list of checksums calls the file.
    pub(crate) listed: String,
    first: HashSet<String>,
    scripts: Vec<String>,
    without: Vec<String>,
}

/// What a tool is called for.
#[derive(Debug)]
pub(crate) enum Call {
    /// It is run by name, with these arguments.
    Program(Vec<OsString>),
    /// A script's first line names it.
    Script { option: Option<OsString>, file: PathBuf },
}

impl Tools {
    /// Reads the list of the companion at `root`.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(root.join("tools"))?)
    }

    fn parse(text: &str) -> io::Result<Self> {
        let mut tools: Vec<(PathBuf, Tool)> = Vec::new();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            match (fields.as_slice(), tools.last_mut()) {
                (["tool", path, package, version, listed], _) => {
                    let (package, version) = ((*package).to_owned(), (*version).to_owned());
                    let tool = Tool { package, version, listed: (*listed).to_owned(), ..Tool::default() };
                    tools.push((PathBuf::from(path), tool));
                }
                (["first", word], Some((_, tool))) => _ = tool.first.insert((*word).to_owned()),
                (["script", path], Some((_, tool))) => tool.scripts.push((*path).to_owned()),
                (["without", word], Some((_, tool))) => tool.without.push((*word).to_owned()),
                _ => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, format!("strange line `{line}`")));
                }
            }
        }
        Ok(Self { tools: tools.into_iter().collect() })
    }

    /// Returns whether there are none: then the companion has nothing but the program that starts commands.
    pub(crate) fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    pub(crate) fn has(&self, path: &Path) -> bool {
        self.tools.contains_key(path)
    }

    pub(crate) fn get(&self, path: &Path) -> Option<&Tool> {
        self.tools.get(path)
    }
}

impl Tool {
    /// Returns whether the tool's rules allow the call.
    pub(crate) fn fits(&self, call: &dyn Fn() -> Call) -> bool {
        if self.first.is_empty() && self.scripts.is_empty() && self.without.is_empty() {
            return true;
        }
        let call = call();
        self.fits_first(&call) && self.fits_script(&call) && self.fits_text(&call)
    }

    fn fits_first(&self, call: &Call) -> bool {
        let Call::Program(arguments) = call else { return self.first.is_empty() };
        let first = arguments.first().and_then(|word| word.to_str());
        self.first.is_empty() || first.is_some_and(|word| self.first.contains(word))
    }

    fn fits_script(&self, call: &Call) -> bool {
        self.scripts.is_empty()
            || script(call).is_some_and(|script| {
                self.scripts.iter().any(|allowed| match allowed.strip_suffix('*') {
                    Some(start) => script.starts_with(start),
                    None => *allowed == script,
                })
            })
    }

    fn fits_text(&self, call: &Call) -> bool {
        self.without.is_empty()
            || text(call).is_some_and(|text| {
                let has = |word: &String| text.windows(word.len()).any(|window| window == word.as_bytes());
                !self.without.iter().any(has)
            })
    }
}

/// Returns the script that an interpreter is to run: a file, or a module as `-m NAME`.
///
/// Options that take no value are passed over. Any other may be a program of its own (`-e`), so there is no script.
fn script(call: &Call) -> Option<String> {
    let real = |path: &Path| fs::canonicalize(path).ok()?.into_os_string().into_string().ok();
    let plain = |word: &str| word.len() > 1 && word[1..].bytes().all(|flag| b"BEIOSTWsuw".contains(&flag));
    match call {
        Call::Script { option: None, file } => real(file),
        Call::Script { option: Some(option), file } => {
            option.to_str()?.split_whitespace().all(plain).then(|| real(file))?
        }
        Call::Program(arguments) => {
            let mut words = arguments.iter();
            while let Some(word) = words.next() {
                match word.to_str()? {
                    "-m" => return Some(format!("-m {}", words.next()?.to_str()?)),
                    option if option.starts_with('-') => plain(option).then_some(())?,
                    path => return path.starts_with('/').then(|| real(Path::new(path)))?,
                }
            }
            None
        }
    }
}

/// Returns the text that a shell is to run: that of a script, or the one that follows `-c`.
fn text(call: &Call) -> Option<Vec<u8>> {
    let read = |path: &Path| {
        let small = fs::metadata(path).ok()?.len() <= MAX_SCRIPT;
        small.then(|| fs::read(path).ok())?
    };
    match call {
        Call::Script { file, .. } => read(file),
        Call::Program(arguments) => {
            let mut words = arguments.iter();
            while let Some(word) = words.next() {
                let bytes = word.as_bytes();
                match bytes.first() {
                    Some(b'-') if bytes.get(1) != Some(&b'-') && bytes.ends_with(b"c") => {
                        return words.next().map(|text| text.as_bytes().to_vec());
                    }
                    Some(b'-') if bytes.len() > 1 => {}
                    _ => return Path::new(word).is_absolute().then(|| read(Path::new(word)))?,
                }
            }
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(words: &[&str]) -> Call {
        Call::Program(words.iter().map(OsString::from).collect())
    }

    fn tool(rules: &str) -> Tool {
        let text = format!("tool\t/usr/bin/x\tx\t1-1\tbin/x\n{rules}");
        Tools::parse(&text).unwrap().get(Path::new("/usr/bin/x")).unwrap().clone()
    }

    #[test]
    fn a_list_is_read() {
        let plain = tool("");
        assert_eq!(
            (plain.package.as_str(), plain.version.as_str(), plain.listed.as_str()),
            ("x", "1-1", "bin/x")
        );
        assert!(plain.fits(&|| program(&[])));
        assert!(Tools::parse("first\tx\n").is_err());
        assert!(Tools::parse("tool\tx\n").is_err());
    }

    #[test]
    fn the_first_argument_decides() {
        let tool = tool("first\trehash\nfirst\t-x\n");
        assert!(tool.fits(&|| program(&["rehash", "y"])));
        assert!(!tool.fits(&|| program(&["version"])));
        assert!(!tool.fits(&|| program(&[])));
    }

    #[test]
    fn the_script_decides() {
        let tool = tool("script\t/usr/bin/*\nscript\t-m py_compile\n");
        let real = fs::canonicalize("/usr/bin/env").unwrap();
        assert!(real.starts_with("/usr/bin"));
        assert!(tool.fits(&|| program(&["/usr/bin/env", "y"])));
        assert!(tool.fits(&|| program(&["-E", "-S", "/usr/bin/env"])));
        assert!(tool.fits(&|| program(&["-m", "py_compile", "-"])));
        assert!(tool.fits(&|| Call::Script { option: Some("-w".into()), file: real.clone() }));
        assert!(!tool.fits(&|| Call::Script { option: Some("-Mlib=x".into()), file: real.clone() }));
        for other in [&["-c", "print()"][..], &["-m", "pip"], &[], &["/etc/passwd"], &["-e", "/usr/bin/env"]]
        {
            assert!(!tool.fits(&|| program(other)), "{other:?}");
        }
    }

    #[test]
    fn the_text_decides() {
        let tool = tool("without\tHOSTTYPE\n");
        assert!(tool.fits(&|| program(&["-ec", "echo $HOME"])));
        assert!(!tool.fits(&|| program(&["-c", "echo $HOSTTYPE"])));
        assert!(!tool.fits(&|| program(&["-s"])));
        assert!(tool.fits(&|| program(&["/etc/passwd"])));
    }
}
