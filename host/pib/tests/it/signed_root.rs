//! A root file system that its maker signs and replaces by newer ones at the same address, served over HTTP.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use pgp::composed::{ArmorOptions, DetachedSignature, KeyType, SecretKeyParamsBuilder};
use pgp::composed::{SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password};
use rand::rngs::OsRng;

use crate::web;

/// The name of the tarball.
pub(crate) const TARBALL: &str = "root-latest.tar.gz";
/// The name of its signature.
pub(crate) const SIGNATURE: &str = "root-latest.tar.gz.sig";
/// The name of the file with the public key.
const KEY: &str = "builder.asc";

/// What a server has, and how often each file was asked for.
#[derive(Default)]
struct Served {
    files: BTreeMap<String, Vec<u8>>,
    asked: BTreeMap<String, usize>,
    /// Whether only half of the tarball arrives.
    cuts: bool,
}

/// A maker of root file systems, and the server that has the newest.
pub(crate) struct SignedRoot {
    key: SignedSecretKey,
    served: Arc<Mutex<Served>>,
    address: String,
}

impl SignedRoot {
    /// Starts the server at an address of this machine.
    pub(crate) fn at(ip: &str) -> Self {
        let served = Arc::new(Mutex::new(Served::default()));
        let shared = Arc::clone(&served);
        let address = web::serve_at(ip, move |mut stream, request| {
            let name = request.target.trim_start_matches('/').to_owned();
            let (found, cuts) = {
                let mut served = shared.lock().unwrap();
                *served.asked.entry(name.clone()).or_default() += 1;
                (served.files.get(&name).cloned(), served.cuts && name == TARBALL)
            };
            let head = match &found {
                Some(bytes) => format!("200 OK\r\nContent-Length: {}", bytes.len()),
                None => "404 Not Found\r\nContent-Length: 0".to_owned(),
            };
            let body = found.unwrap_or_default();
            let sent = if cuts { body.len() / 2 } else { body.len() };
            let _ = write!(stream, "HTTP/1.1 {head}\r\nConnection: close\r\n\r\n");
            let _ = stream.write_all(&body[..sent]);
        });
        let key = key();
        let root = Self { key, served, address };
        let public = SignedPublicKey::from(root.key.clone()).to_armored_string(ArmorOptions::default());
        root.put(KEY, public.unwrap().into_bytes());
        root
    }

    /// Has the server give this tarball from now on, signed by the maker.
    pub(crate) fn publish(&self, tarball: Vec<u8>) {
        self.put(SIGNATURE, sign(&self.key, &tarball));
        self.put(TARBALL, tarball);
    }

    /// Has the server give a file from now on.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        self.served.lock().unwrap().files.insert(name.to_owned(), bytes);
    }

    pub(crate) fn remove(&self, name: &str) {
        self.served.lock().unwrap().files.remove(name);
    }

    /// Has the server send half of the tarball from now on, or all of it.
    pub(crate) fn cut(&self, cuts: bool) {
        self.served.lock().unwrap().cuts = cuts;
    }

    /// Returns how often a file was asked for.
    pub(crate) fn asked(&self, name: &str) -> usize {
        self.served.lock().unwrap().asked.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn fingerprint(&self) -> String {
        format!("{:X}", self.key.primary_key.fingerprint())
    }

    /// Returns the lines of an init stage that say where the tarball is and who signs it.
    pub(crate) fn table(&self) -> String {
        let Self { address, .. } = self;
        format!(
            "url = \"{address}/{TARBALL}\"\nkeys = [\"{}\"]\nkey-url = \"{address}/{KEY}\"\n",
            self.fingerprint()
        )
    }
}

/// Makes a key that may sign.
pub(crate) fn key() -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params.key_type(KeyType::Ed25519Legacy).can_certify(true).can_sign(true);
    params.primary_user_id("Builder <builder@example.org>".to_owned());
    params.build().unwrap().generate(OsRng).unwrap()
}

/// Returns the signature of a file.
pub(crate) fn sign(key: &SignedSecretKey, bytes: &[u8]) -> Vec<u8> {
    let (hash, password) = (HashAlgorithm::Sha256, Password::empty());
    let signature = DetachedSignature::sign_binary_data(OsRng, &key.primary_key, &password, hash, bytes);
    signature.unwrap().to_bytes().unwrap()
}
