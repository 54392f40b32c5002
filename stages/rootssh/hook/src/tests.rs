use pib_plugin_sdk::Severity;
use pib_plugin_sdk::testing::Harness;

use super::*;

fn field(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

fn line(kind: &str, fields: &[&[u8]]) -> String {
    let inside: Vec<u8> =
        std::iter::once(field(kind.as_bytes())).chain(fields.iter().map(|f| field(f))).flatten().collect();
    format!("{kind} {} me@home", encode(&inside))
}

fn ed25519(seed: u8) -> String {
    line("ssh-ed25519", &[&[seed; 32]])
}

fn rsa(bits: usize) -> String {
    // A number of so many bits has a zero byte before it where its highest bit would be a sign.
    let number = [&[0][..], &vec![0x80; bits / 8]].concat();
    line("ssh-rsa", &[&[1, 0, 1], &number])
}

fn told(content: &str) -> Vec<Diagnostic> {
    Harness::new("rootssh").project_file(KEYS, "keys/me.pub", content).validate::<RootSsh>()
}

fn error(content: &str) -> String {
    let told = told(content);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].severity, told[0].key.as_deref()), (Severity::Error, Some(KEYS)), "{told:?}");
    assert!(told[0].help.is_some());
    told[0].message.clone()
}

#[test]
fn real_keys_are_read() {
    let real =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl user@example.com";
    assert_eq!(told(real), []);
    let point = [&[4][..], &[7; 64]].concat();
    assert_eq!(told(&line("ecdsa-sha2-nistp256", &[b"nistp256", &point])), []);
    assert_eq!(told(&line("sk-ecdsa-sha2-nistp256@openssh.com", &[b"nistp256", &point, b"ssh:"])), []);
    assert_eq!(told(&line("sk-ssh-ed25519@openssh.com", &[&[1; 32], b"ssh:"])), []);
    assert_eq!(told(&rsa(4096)), []);
}

#[test]
fn all_keys_of_all_files_are_rendered_once() {
    let (one, two) = (ed25519(1), ed25519(2));
    let restricted = format!("from=\"10.0.0.0/8\",command=\"echo \\\"a b\\\"\" {}", ed25519(3));
    let harness = Harness::new("rootssh")
        .project_file(KEYS, "a.pub", format!("# mine\n\n{one}\r\n{restricted}\n"))
        .project_file(KEYS, "b.pub", format!("{one}\n{two}"));
    let told = harness.validate::<RootSsh>();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].severity, Severity::Warning);
    assert!(told[0].message.contains("`me@home`") && told[0].message.contains("`b.pub`"), "{told:?}");
    let rendered = harness.render::<RootSsh>("RUN true\n").unwrap();
    let expected = format!("{one}\n{restricted}\n{two}\n");
    assert_eq!(rendered, Rendered::part("RUN true\n").file("authorized_keys", expected));
}

#[test]
fn private_keys_are_refused() {
    let openssh =
        "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n";
    assert_eq!(error(openssh), "`keys/me.pub` is a private key, and would be copied into the image");
    assert!(error("-----BEGIN RSA PRIVATE KEY-----\n").contains("private key"));
    assert!(error("PuTTY-User-Key-File-3: ssh-ed25519\n").contains("private key"));
    assert!(error("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n").contains("does not read"));
}

#[test]
fn weak_and_broken_keys_are_refused() {
    assert_eq!(
        error(&format!("{}\n{}", ed25519(1), rsa(1024))),
        "line 2 of `keys/me.pub` is an RSA key of 1024 bits, which is too weak"
    );
    assert!(error(&line("ssh-dss", &[b"x"])).contains("DSA"));
    assert!(error(&line("ssh-ed25519-cert-v01@openssh.com", &[b"x"])).contains("certificate"));
    assert!(error(&line("ssh-new", &[b"x"])).contains("unknown type `ssh-new`"));
    assert!(error(&line("ssh-ed25519", &[&[1; 31]])).contains("not a whole"));
    assert!(error(&line("ssh-ed25519", &[&[1; 32], b"more"])).contains("not a whole"));
    assert!(error(&ed25519(1).replace("ssh-ed25519", "ssh-rsa")).contains("something else inside"));
    assert!(error("ssh-ed25519\n").contains("no key after its type"));
    assert!(error("ssh-ed25519 AAAA!AAA\n").contains("not base64"));
    assert!(error(&ed25519(1)[..40]).contains("whole"));
    assert!(error("hello there\n").contains("line 1"));
    assert!(error("# only a comment\n").contains("has no public key"));
    let binary = Harness::new("rootssh").project_file(KEYS, "k", [0xff; 9]).validate::<RootSsh>();
    assert!(binary[0].message.contains("not a public key"), "{binary:?}");
}

#[test]
fn a_short_rsa_key_passes_with_a_warning() {
    let told = told(&rsa(2048));
    assert_eq!((told[0].severity, told.len()), (Severity::Warning, 1));
    assert!(told[0].message.ends_with("has 2048 bits"), "{told:?}");
}
