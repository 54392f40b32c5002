use super::*;
use pib_event::Silent;

fn tar() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    builder.append_data(&mut header, "etc/x", &b"data"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn get(bytes: &[u8], expected: Digest) -> (Result<StoredBase, BaseError>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("base.tar.any");
    std::fs::write(&file, bytes).unwrap();
    let cache = BaseCache::new(folder.path().join("cache"));
    let lock = cache.lock(&Silent).unwrap();
    let reporter: Arc<dyn Reporter> = Arc::new(Silent);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let base = runtime.block_on(fetch(&cache, &lock, &Location::Path(file), expected, &reporter));
    if let Ok(base) = &base {
        assert_eq!(find(&cache, expected).as_ref(), Some(base));
    }
    (base, folder)
}

#[test]
fn every_compression_gives_the_same_base() {
    let plain = tar();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(&plain[..], 1).unwrap();
    for bytes in [plain.clone(), gzip, zstd] {
        let (base, _folder) = get(&bytes, Digest::of(&bytes));
        let base = base.unwrap();
        assert_eq!(base.digest, Digest::of(&plain));
        assert_eq!(std::fs::read(base.path).unwrap(), plain);
    }
}

#[test]
fn another_file_and_what_is_no_tar_are_refused() {
    let (base, _folder) = get(&tar(), Digest::of(b"other"));
    assert!(matches!(base, Err(BaseError::OtherTarball { what: None, .. })), "{base:?}");
    let page = b"<!DOCTYPE html><title>404</title>";
    let (base, _folder) = get(page, Digest::of(b"other"));
    assert!(base.unwrap_err().to_string().contains(", which is an HTML page; get the file again"));
    let xz = |bytes: &[u8]| {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let disk = {
        let mut bytes = vec![0; 1 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes
    };
    let cut = xz(&tar());
    for (bad, reason) in [
        (
            Vec::new(),
            "is empty; pib takes a tar of a root file system, plain or compressed with gzip, xz or zstd: ",
        ),
        (b"hello".to_vec(), "is a text file; "),
        (page.to_vec(), "is an HTML page; "),
        (b"BZh91AY&SY".to_vec(), "`bzcat FILE | zstd -o base.tar.zst`"),
        (disk.clone(), "is a disk image; "),
        (xz(&disk), "is, within its xz compression, a disk image; "),
        (zstd::encode_all(&page[..], 1).unwrap(), "is, within its zstd compression, an HTML page; "),
        (vec![7; 4096], "is not a tar"),
        (tar()[..600].to_vec(), "cannot be unpacked: it ends in the middle of an entry"),
        (cut[..cut.len() / 2].to_vec(), "cannot be unpacked: "),
    ] {
        let (base, folder) = get(&bad, Digest::of(&bad));
        let error = base.unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("base.tar.any"), "{error}");
        let left = std::fs::read_dir(folder.path().join("cache/bases/tmp")).unwrap().count();
        assert_eq!(left, 0);
    }
}

#[test]
fn what_is_no_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (path, what) in [(folder.path(), "a folder"), (&*pipe, "a device, a pipe or a socket")] {
        let error = open(path, "base.tar").unwrap_err().to_string();
        assert!(error.contains(&format!("base.tar is {what}; pib takes")), "{error}");
    }
}

#[test]
fn files_with_holes_are_written_out() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("hole")).unwrap().set_len(1 << 20).unwrap();
    let sparse = |options: &[&str]| {
        let mut tar = std::process::Command::new("tar");
        tar.args(options).arg("-C").arg(folder.path()).args(["-cf", "-", "hole"]);
        tar.output().unwrap().stdout
    };
    for bytes in [sparse(&["-S"]), sparse(&["-S", "--format=pax"])] {
        let (base, _folder) = get(&bytes, Digest::of(&bytes));
        let base = base.unwrap();
        assert_ne!(base.digest, Digest::of(&bytes));
        assert!(std::fs::metadata(base.path).unwrap().len() > 1 << 20);
    }
}
