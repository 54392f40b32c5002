//! Which addresses are on the public internet, and a client that reaches no others.
//!
//! What a stranger's program asks pib to fetch must not come from this machine, from its network, or from the service by
//! which a cloud tells its machines their secrets (169.254.169.254).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use crate::{NetError, SILENCE, client};

/// Returns a client that follows no redirects. With `public_only` it reaches public addresses alone: [`check_public`] has to
/// be asked first about addresses that are numbers.
///
/// # Errors
/// When the TLS library cannot be set up.
pub fn forwarding_client(public_only: bool) -> Result<reqwest::Client, NetError> {
    let start = || {
        let builder = reqwest::Client::builder();
        match public_only {
            // A proxy of the environment's is asked by name for what it would then look up itself.
            true => builder.dns_resolver(Arc::new(PublicOnly)).no_proxy(),
            false => builder,
        }
    };
    client(start, SILENCE, reqwest::redirect::Policy::none)
}

/// Returns the public addresses of a host.
///
/// # Errors
/// When it has none, or cannot be looked up.
pub async fn public_addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let all: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    let public: Vec<SocketAddr> = all.into_iter().filter(|address| is_public(address.ip())).collect();
    if public.is_empty() { Err(not_public(host)) } else { Ok(public) }
}

/// Returns an error where an address is a number that is not public.
///
/// # Errors
/// Then.
pub fn check_public(url: &Url) -> io::Result<()> {
    let ip = match url.host() {
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        _ => return Ok(()),
    };
    if is_public(ip) { Ok(()) } else { Err(not_public(&ip.to_string())) }
}

/// What an error says of an address that is not public.
pub const NOT_PUBLIC: &str = "is not on the public internet";

fn not_public(host: &str) -> io::Error {
    let reason = format!("{host} {NOT_PUBLIC}, and pib forwards nothing to other places");
    io::Error::new(io::ErrorKind::PermissionDenied, reason)
}

struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Addrs = Box::new(public_addresses(name.as_str(), 0).await?.into_iter());
            Ok(addresses)
        })
    }
}

/// Returns whether an address is on the public internet, by the registries of special addresses of RFC 6890 and those
/// after it (<https://www.iana.org/assignments/iana-ipv4-special-registry>).
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(ip),
        },
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_loopback()
        || ip.is_private()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast()
        || a == 0
        || a >= 240
        // Between a provider and its customers; for protocols; for measurements.
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (18..20).contains(&b));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    // What is handed out for the internet begins with the bits 001; in it are tunnels and documentation.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002 && a != 0x3fff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_internets_addresses_are_public() {
        for text in ["1.1.1.1", "151.101.2.132", "2606:4700::1111", "2a04:4e42::644", "::ffff:1.1.1.1"] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "203.0.113.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00:ec2::254",
            "2001:db8::1",
            "2002:7f00:1::",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "2001::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn numbers_are_judged_however_they_are_written() {
        for text in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:80/",
            "http://[::ffff:a9fe:a9fe]/",
        ] {
            assert!(check_public(&Url::parse(text).unwrap()).is_err(), "{text}");
        }
        for text in ["http://1.1.1.1/", "http://name.example/"] {
            assert!(check_public(&Url::parse(text).unwrap()).is_ok(), "{text}");
        }
    }

    #[tokio::test]
    async fn names_of_this_machine_are_not_looked_up() {
        assert!(public_addresses("localhost", 80).await.is_err());
        let error = forwarding_client(true).unwrap().get("http://localhost:9/").send().await.unwrap_err();
        assert!(format!("{error:?}").contains("public internet"), "{error:?}");
    }
}
