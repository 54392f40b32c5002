//! Writes a tree as an ext4 file system by programs of this machine: mke2fs makes it empty, debugfs fills it.
//!
//! This is the other way to what `ext4` writes: the same entries, owners, modes, times and attributes, by the same sizes,
//! features and identifiers; only the bytes are others. Neither program needs root, a mount or a loop device. Both write to a
//! file in the folder for temporary files, and all of it that is not zero goes into the image. mke2fs is told everything and
//! does not read this machine's configuration: the same version gives the same bytes.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pib_plan::layout::{PartitionSpec, Region};
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::error::DiskError;
use crate::ext4::{self, BLOCK, INODE, NAME, RESERVED, acl, allocated};
use crate::load::WriteRequest;
use crate::tree::{Content, Kind, Node, Tree};

/// What mkext4 gives its file systems.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,\
                        dir_nlink,extra_isize,metadata_csum";
/// Where programs for file systems are, beside what PATH names.
const FOLDERS: [&str; 3] = ["", "/usr/sbin", "/sbin"];
/// How many bytes of files, and how many of commands, are given to debugfs in one run.
const MOST_FILES: u64 = 256 << 20;
const MOST_COMMANDS: usize = 8 << 20;
/// The longest command that debugfs reads, less its line's end.
const MAX_COMMAND: usize = 8000;
/// How often an entry may be linked in an ext4.
const MAX_LINKS: u32 = 65_000;
/// How much of a program's own words is told, in characters.
const MAX_WORDS: usize = 1000;

/// Writes the tree into its region of the image.
pub(crate) fn write(
    request: &WriteRequest<'_>,
    spec: &PartitionSpec,
    tree: &Tree,
    region: Region,
) -> Result<(), DiskError> {
    let temporary = std::env::temp_dir();
    let fail = |error| DiskError::io("write in", &temporary)(error);
    let folder = tempfile::Builder::new().prefix("pib-ext4-").tempdir().map_err(fail)?;
    let path = folder.path().join("image");
    let file = File::options().read(true).write(true).create_new(true).open(&path);
    let file = file.and_then(|file| file.set_len(region.size).map(|()| file));
    let file = file.map_err(fail)?;
    let programs = Programs { made: ext4::made(request.identity).max(1), spec };
    programs.make(request, tree, region.size, &path)?;
    Filling::new(&programs, request.spool, folder.path(), &path).fill(tree)?;
    copy(&file, request, region).map_err(DiskError::image)?;
    let add = |offset, length| request.used.add(region.offset + offset, length);
    allocated::each_run(request.image, region, add).map_err(DiskError::image)
}

/// Returns the version of the programs as they say it; none where they are not there.
pub fn version() -> Option<String> {
    let output = run("mke2fs", |command| command.arg("-V")).ok()?;
    String::from_utf8_lossy(&output.stderr).lines().next().map(str::to_owned)
}

/// Runs a program, which is looked for where users have none in their PATH, too. What it prints beside errors is left out.
fn run(program: &'static str, arguments: impl Fn(&mut Command) -> &mut Command) -> Result<Output, DiskError> {
    for folder in FOLDERS {
        let mut command = Command::new(Path::new(folder).join(program));
        arguments(&mut command).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::null());
        match command.output() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => return other.map_err(|error| DiskError::io("run", Path::new(program))(error)),
        }
    }
    Err(DiskError::Program { program })
}

/// The programs, and what they are told in each run.
struct Programs<'a> {
    /// The second that they take for now.
    made: u32,
    spec: &'a PartitionSpec,
}

impl Programs<'_> {
    fn run(&self, program: &'static str, arguments: &[&OsStr]) -> Result<Output, DiskError> {
        let made = self.made.to_string();
        run(program, |command| {
            // The second is what versions from 1.47.1 on read.
            command.env("E2FSPROGS_FAKE_TIME", &made).env("SOURCE_DATE_EPOCH", &made);
            command.env("MKE2FS_CONFIG", "/dev/null").args(arguments)
        })
    }

    fn failed(&self, program: &str, words: &str) -> DiskError {
        let words: String = words.trim().chars().take(MAX_WORDS).collect();
        let reason = format!("{program} says: {}", if words.is_empty() { "nothing" } else { &words });
        DiskError::Writer { label: self.spec.label.clone(), filesystem: NAME, reason }
    }

    /// Makes an empty file system.
    fn make(
        &self,
        request: &WriteRequest<'_>,
        tree: &Tree,
        size: u64,
        image: &Path,
    ) -> Result<(), DiskError> {
        let uuid = ext4::uuid(request.identity, self.spec);
        let extended =
            format!("hash_seed={uuid},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0,nodiscard");
        let reserved = self.spec.reserved.unwrap_or(RESERVED).to_string();
        let inodes = ext4::inode_count(tree, size).to_string();
        let journal = format!("size={}", ext4::journal(size) >> 20);
        let (block, inode) = (BLOCK.to_string(), INODE.to_string());
        let words = ["-q", "-F", "-b", &block, "-I", &inode, "-N", &inodes, "-m", &reserved, "-J", &journal];
        let names = ["-L", &self.spec.label, "-U", &uuid, "-O", FEATURES, "-E", &extended];
        let mut arguments: Vec<&OsStr> = words.iter().chain(&names).map(OsStr::new).collect();
        let blocks = (size / BLOCK).to_string();
        arguments.extend([image.as_os_str(), OsStr::new(&blocks)]);
        let output = self.run("mke2fs", &arguments)?;
        match output.status.success() {
            true => Ok(()),
            false => Err(self.failed("mke2fs", &String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// Has debugfs carry out commands. It ends with success whatever becomes of them, and says of each that fails why.
    fn carry_out(&self, script: &Path, image: &Path) -> Result<(), DiskError> {
        let arguments = [OsStr::new("-w"), OsStr::new("-f"), script.as_os_str(), image.as_os_str()];
        let output = self.run("debugfs", &arguments)?;
        let words = String::from_utf8_lossy(&output.stderr);
        let is_banner = |line: &str| {
            line.strip_prefix("debugfs ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let errors: Vec<&str> =
            words.lines().filter(|line| !line.trim().is_empty() && !is_banner(line)).collect();
        match output.status.success() && errors.is_empty() {
            true => Ok(()),
            false => Err(self.failed("debugfs", &errors.join("\n"))),
        }
    }
}

/// Fills a file system in a few runs of debugfs, so that the files that it reads do not all take room at once.
struct Filling<'a> {
    programs: &'a Programs<'a>,
    spool: &'a File,
    folder: &'a Path,
    image: &'a Path,
    /// The commands of the next run, the folder that they are in, and the files that they read.
    commands: String,
    at: Option<String>,
    files: Option<TempDir>,
    count: u64,
    bytes: u64,
}

impl<'a> Filling<'a> {
    fn new(programs: &'a Programs<'a>, spool: &'a File, folder: &'a Path, image: &'a Path) -> Self {
        let (commands, at, files) = (String::new(), None, None);
        Self { programs, spool, folder, image, commands, at, files, count: 0, bytes: 0 }
    }

    fn fill(mut self, tree: &Tree) -> Result<(), DiskError> {
        let mut links: HashMap<usize, u32> = HashMap::new();
        for (_, identity, _) in tree.entries() {
            *links.entry(identity).or_default() += 1;
        }
        let mut known: HashMap<usize, &str> = HashMap::new();
        for (path, identity, node) in tree.entries() {
            let count = links.get(&identity).copied().unwrap_or(1);
            if count > MAX_LINKS {
                return Err(
                    self.misplaced(path, format!("it has {count} hard links, and ext4 takes {MAX_LINKS}"))
                );
            }
            let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
            if let Some(first) = known.get(&identity) {
                self.enter(path, parent)?;
                self.command(path, &["ln", &format!("/{first}"), name])?;
                continue;
            }
            known.insert(identity, path);
            if !path.is_empty() {
                self.enter(path, parent)?;
                self.create(path, name, node)?;
            }
            self.describe(path, node, count)?;
            if self.bytes >= MOST_FILES || self.commands.len() >= MOST_COMMANDS {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn create(&mut self, path: &str, name: &str, node: &Node) -> Result<(), DiskError> {
        let device = |letter: &str, major: &u32, minor: &u32| {
            [letter.to_owned(), major.to_string(), minor.to_string()]
        };
        let node = match &node.kind {
            Kind::Folder => return self.command(path, &["mkdir", name]),
            Kind::Symlink(target) => return self.command(path, &["symlink", name, target]),
            Kind::File(content) => {
                let file = self.content(content)?;
                return self.command(path, &["write", &file, name]);
            }
            Kind::Fifo => return self.command(path, &["mknod", name, "p"]),
            Kind::CharDevice { major, minor } => device("c", major, minor),
            Kind::BlockDevice { major, minor } => device("b", major, minor),
        };
        let [letter, major, minor] = &node;
        self.command(path, &["mknod", name, letter, major, minor])
    }

    /// Sets owner, mode, times and attributes of an entry that is there.
    fn describe(&mut self, path: &str, node: &Node, links: u32) -> Result<(), DiskError> {
        let kind = u32::from(node.kind.mode_bits());
        let whole = format!("/{path}");
        let (mode, time) = (format!("0{:o}", kind | u32::from(node.mode)), format!("@{}", node.mtime));
        let (uid, gid, count) = (node.uid.to_string(), node.gid.to_string(), links.to_string());
        let mut fields = vec![("mode", &mode), ("uid", &uid), ("gid", &gid)];
        fields.extend(["atime", "ctime", "mtime", "crtime"].map(|field| (field, &time)));
        if links > 1 {
            fields.push(("links_count", &count));
        }
        for (field, value) in fields {
            self.command(path, &["sif", &whole, field, value])?;
        }
        for (name, value) in &node.xattrs {
            if let Some(Err(reason)) = acl::on_disk(name, value) {
                return Err(self.misplaced(path, reason));
            }
            let file = self.content(&Content::Bytes(value.clone()))?;
            self.command(path, &["ea_set", "-f", &file, &whole, name])?;
        }
        Ok(())
    }

    /// Goes to the folder in which the next commands are; `write` and `mknod` take names only.
    fn enter(&mut self, path: &str, folder: &str) -> Result<(), DiskError> {
        if self.at.as_deref() != Some(folder) {
            self.command(path, &["cd", &format!("/{folder}")])?;
            self.at = Some(folder.to_owned());
        }
        Ok(())
    }

    /// Adds a command. debugfs takes words in quotation marks, in which one that is doubled stands for itself.
    fn command(&mut self, path: &str, words: &[&str]) -> Result<(), DiskError> {
        if words.iter().any(|word| word.contains(['\n', '\r', '\0'])) {
            let reason =
                "it has a line break in a name, which debugfs does not take; leave `writer` out of [image]";
            return Err(self.misplaced(path, reason.to_owned()));
        }
        let words: Vec<String> =
            words.iter().map(|word| format!("\"{}\"", word.replace('"', "\"\""))).collect();
        let command = words.join(" ");
        if command.len() > MAX_COMMAND {
            let reason = "its names are longer than debugfs takes; leave `writer` out of [image]";
            return Err(self.misplaced(path, reason.to_owned()));
        }
        self.commands.push_str(&command);
        self.commands.push('\n');
        Ok(())
    }

    fn misplaced(&self, path: &str, reason: String) -> DiskError {
        let label = self.programs.spec.label.clone();
        DiskError::Misplaced { path: path.to_owned(), label, filesystem: NAME, reason }
    }

    /// Writes a file's content where debugfs can read it; returns the path.
    fn content(&mut self, content: &Content) -> Result<String, DiskError> {
        let fail = |error| DiskError::io("write in", self.folder)(error);
        if self.files.is_none() {
            self.files = Some(tempfile::tempdir_in(self.folder).map_err(fail)?);
        }
        let folder = self.files.as_ref().map_or(self.folder, TempDir::path);
        self.count += 1;
        let path = folder.join(self.count.to_string());
        let mut file = File::create(&path).map_err(fail)?;
        match content {
            Content::Bytes(bytes) => file.write_all(bytes),
            Content::Spool { offset, size } => copy_range(self.spool, *offset, *size, &mut file),
        }
        .map_err(fail)?;
        self.bytes += content.size();
        Ok(path.to_string_lossy().into_owned())
    }

    /// Has the commands so far carried out.
    fn flush(&mut self) -> Result<(), DiskError> {
        if self.commands.is_empty() {
            return Ok(());
        }
        let script: PathBuf = self.folder.join("commands");
        std::fs::write(&script, &self.commands).map_err(DiskError::io("write", &script))?;
        self.programs.carry_out(&script, self.image)?;
        self.commands.clear();
        (self.at, self.files, self.bytes) = (None, None, 0);
        Ok(())
    }
}

/// Copies a part of a file.
fn copy_range(from: &File, mut at: u64, size: u64, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; usize::try_from(size).unwrap_or(usize::MAX).min(1 << 20)];
    let end = at + size;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        from.read_exact_at(&mut buffer[..want], at)?;
        to.write_all(&buffer[..want])?;
        at += want as u64;
    }
    Ok(())
}

/// Copies a file system into its region; what is zero stays a hole.
fn copy(from: &File, request: &WriteRequest<'_>, region: Region) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while at < region.size {
        at = match seek(from, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK * BLOCK,
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let want = usize::try_from(region.size - at).unwrap_or(usize::MAX).min(buffer.len());
        from.read_exact_at(&mut buffer[..want], at)?;
        for block in buffer[..want].chunks(BLOCK as usize) {
            if block.iter().any(|byte| *byte != 0) {
                request.used.add(region.offset + at, block.len() as u64);
                request.image.write_all_at(block, region.offset + at)?;
            }
            at += block.len() as u64;
        }
    }
    Ok(())
}
