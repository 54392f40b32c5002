//! The files of an archive or a package.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use flate2::{Compression, GzBuilder};
use md5::{Digest as _, Md5};
use tar::{EntryType, Header};

use crate::DistError;

/// The files of an archive or a package, by their paths relative to its root, without links.
#[derive(Debug, Default, Clone)]
pub struct FileTree(BTreeMap<String, File>);

#[derive(Debug, Clone)]
struct File {
    content: Vec<u8>,
    mode: u32,
}

impl FileTree {
    /// Adds a file.
    pub fn add(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), File { content: content.into(), mode: 0o644 });
    }

    /// Adds a file that can be executed.
    pub fn add_program(&mut self, path: impl Into<String>, content: impl Into<Vec<u8>>) {
        self.0.insert(path.into(), File { content: content.into(), mode: 0o755 });
    }

    /// Adds a file that is compressed by gzip, without its name and time.
    ///
    /// # Errors
    /// Never in practice: it is written to memory.
    pub fn add_gzipped(&mut self, path: &str, content: &[u8]) -> Result<(), DistError> {
        let mut gzip = GzBuilder::new().write(Vec::new(), Compression::best());
        let packed = gzip.write_all(content).and_then(|()| gzip.finish());
        self.add(format!("{path}.gz"), packed.map_err(|error| DistError::Pack { what: "a page", error })?);
        Ok(())
    }

    /// Returns the content of a file.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.0.get(path).map(|file| file.content.as_slice())
    }

    /// Returns the paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns the room that the files take once they are installed, in KiB: Debian counts each file and folder up.
    #[must_use]
    pub fn installed_kib(&self) -> usize {
        let files = self.0.values().map(|file| file.content.len().div_ceil(1024));
        files.sum::<usize>() + self.folders().len() + 1
    }

    /// Returns the MD5 sums by which dpkg finds changed files.
    #[must_use]
    pub fn md5sums(&self) -> String {
        let line =
            |(path, file): (&String, &File)| format!("{}  {path}\n", hex::encode(Md5::digest(&file.content)));
        self.0.iter().map(line).collect()
    }

    /// Writes the files as a tar stream below `prefix`, each folder before what is in it, all of them root's and of the
    /// time `epoch`.
    ///
    /// # Errors
    /// When `writer` fails, or when a path is too long for a tar.
    pub fn write_tar(&self, prefix: &str, epoch: u64, writer: impl Write) -> std::io::Result<()> {
        let mut tar = tar::Builder::new(writer);
        let mut entries: BTreeMap<String, Option<&File>> = BTreeMap::new();
        entries.insert(format!("{prefix}/"), None);
        entries.extend(self.folders().into_iter().map(|folder| (format!("{prefix}/{folder}/"), None)));
        entries.extend(self.0.iter().map(|(path, file)| (format!("{prefix}/{path}"), Some(file))));
        for (path, file) in entries {
            let mut header = Header::new_gnu();
            header.set_mtime(epoch);
            header.set_uid(0);
            header.set_gid(0);
            header.set_username("root")?;
            header.set_groupname("root")?;
            match file {
                Some(file) => {
                    header.set_mode(file.mode);
                    header.set_size(file.content.len() as u64);
                    append(&mut tar, &mut header, &path, &file.content)?;
                }
                None => {
                    header.set_entry_type(EntryType::Directory);
                    header.set_mode(0o755);
                    header.set_size(0);
                    append(&mut tar, &mut header, &path, &[])?;
                }
            }
        }
        tar.into_inner()?.flush()
    }

    fn folders(&self) -> BTreeSet<&str> {
        let above = |path: &'_ str| path.match_indices('/').map(|(at, _)| at).collect::<Vec<_>>();
        self.0.keys().flat_map(|path| above(path).into_iter().map(|at| &path[..at])).collect()
    }
}

/// Appends an entry whose name keeps its `./`, which `tar::Builder::append_data` removes.
fn append(
    tar: &mut tar::Builder<impl Write>,
    header: &mut Header,
    path: &str,
    content: &[u8],
) -> std::io::Result<()> {
    let field = &mut header.as_old_mut().name;
    if path.len() > field.len() {
        let message = format!("{path} has more than {} bytes", field.len());
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, message));
    }
    field[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    tar.append(header, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> FileTree {
        let mut tree = FileTree::default();
        tree.add_program("usr/bin/pib", *b"#!/bin/sh\n");
        tree.add("usr/share/doc/pib/README.md", vec![b'x'; 1025]);
        tree
    }

    #[test]
    fn a_tar_has_each_folder_before_its_files_and_nothing_of_this_machine() {
        let mut bytes = Vec::new();
        tree().write_tar(".", 1_700_000_000, &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
            assert_eq!(header.mtime().unwrap(), 1_700_000_000);
            let mode = header.mode().unwrap();
            paths.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), mode));
        }
        let expected = [
            ("./", 0o755),
            ("./usr/", 0o755),
            ("./usr/bin/", 0o755),
            ("./usr/bin/pib", 0o755),
            ("./usr/share/", 0o755),
            ("./usr/share/doc/", 0o755),
            ("./usr/share/doc/pib/", 0o755),
            ("./usr/share/doc/pib/README.md", 0o644),
        ];
        assert_eq!(paths, expected.map(|(path, mode)| (path.to_owned(), mode)));
    }

    #[test]
    fn sizes_and_sums_are_debians() {
        // Two files of 1 and 2 KiB, five folders and the root.
        assert_eq!(tree().installed_kib(), 3 + 5 + 1);
        let sums = tree().md5sums();
        assert!(sums.starts_with("3e2b31c72181b87149ff995e7202c0e3  usr/bin/pib\n"), "{sums}");
    }

    #[test]
    fn a_path_that_no_tar_holds_is_an_error() {
        let mut tree = FileTree::default();
        tree.add("x".repeat(101), *b"");
        assert!(tree.write_tar(".", 0, Vec::new()).is_err());
    }
}
