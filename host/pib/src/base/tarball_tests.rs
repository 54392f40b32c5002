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
    assert!(matches!(base, Err(BaseError::Mismatch { .. })), "{base:?}");
    for bad in [&b""[..], b"hello", &[7; 4096], &[0; 1024], &tar()[..600]] {
        let (base, folder) = get(bad, Digest::of(bad));
        assert!(matches!(base, Err(BaseError::Archive { .. })), "{base:?}");
        let left = std::fs::read_dir(folder.path().join("cache/bases/tmp")).unwrap().count();
        assert_eq!(left, 0);
    }
}
