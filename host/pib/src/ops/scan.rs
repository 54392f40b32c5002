//! Looks for Raspberry Pis on the networks of this machine.
//!
//! No right is needed: a datagram to each address has the kernel ask who has it (ARP), and its table of neighbours says who answered. Names
//! come from the devices themselves, by multicast DNS ([RFC 6762](https://www.rfc-editor.org/rfc/rfc6762)).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use pib_event::ReporterExt as _;
use pib_plan::network_scan::{self, LocalNetwork, MacAddress};
use serde::Serialize;
use simple_dns::rdata::RData;
use simple_dns::{CLASS, Name, Packet, QCLASS, QTYPE, Question, TYPE};
use tokio::net::UdpSocket;
use tokio::time::{Instant, timeout_at};

use crate::project::{Error, Session};

/// The table of neighbours that the kernel keeps.
const NEIGHBOURS: &str = "/proc/net/arp";
/// The table of routes.
const ROUTES: &str = "/proc/net/route";
/// More than the kernel's tables have.
const MAX_TABLE: u64 = 16 << 20;
/// How long devices have to say that an address is theirs.
const ANSWER: Duration = Duration::from_millis(900);
/// How long they have to say their names.
const NAMES: Duration = Duration::from_millis(600);
/// A port that nobody listens at (RFC 863): what arrives there is thrown away.
const DISCARD: u16 = 9;
/// Where devices are asked for their names.
const MDNS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 251), 5353);
/// How many addresses are tried from one socket: the kernel holds what it sends until it knows who has the address, and of each socket it
/// holds no more than this many.
const AT_ONCE: usize = 128;
/// The longest answer that is read, in bytes: RFC 6762 has none that is longer.
const MAX_ANSWER: usize = 9000;
/// The most answers that are read, so that a device that floods the network cannot keep a scan going.
const MAX_ANSWERS: usize = 4096;

/// Where devices are looked for.
#[derive(Debug, Clone, Default)]
pub struct ScanOptions {
    /// Only behind this interface.
    pub interface: Option<String>,
}

/// A Raspberry Pi that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FoundBoard {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Which boards have such an address.
    pub model: &'static str,
    /// What it says that it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// The interface behind which it is.
    pub interface: String,
}

/// Looks for Raspberry Pis.
///
/// # Errors
/// When there is no network to look at, no such interface, or the kernel's tables cannot be read.
pub async fn scan(session: &Session, options: &ScanOptions) -> Result<Vec<FoundBoard>, Error> {
    let networks = networks(session, options)?;
    let addresses: Vec<Ipv4Addr> = networks.iter().flat_map(LocalNetwork::addresses).collect();
    let mut sockets = Vec::new();
    for some in addresses.chunks(AT_ONCE) {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await;
        let socket = socket.map_err(|error| Error::io("open a socket", "", error))?;
        for address in some {
            // An address that nobody has and an interface that is down are expected: sending fails, and the scan goes on.
            _ = socket.send_to(b"", (*address, DISCARD)).await;
        }
        sockets.push(socket);
    }
    tokio::time::sleep(ANSWER).await;
    let text = table(NEIGHBOURS)?;
    let mut found = BTreeMap::new();
    for neighbour in network_scan::neighbours(&text) {
        let is_wanted = networks.iter().any(|network| network.interface == neighbour.interface);
        if let Some(model) = neighbour.mac.raspberry_pi().filter(|_| is_wanted) {
            let network_scan::Neighbour { address, mac, interface } = neighbour;
            found.insert(address, FoundBoard { address, mac, model, hostname: None, interface });
        }
    }
    for (address, name) in names(found.keys().copied().collect()).await {
        if let Some(board) = found.get_mut(&address) {
            board.hostname = Some(name);
        }
    }
    Ok(found.into_values().collect())
}

/// Returns the networks that are looked at.
fn networks(session: &Session, options: &ScanOptions) -> Result<Vec<LocalNetwork>, Error> {
    let all = network_scan::networks(&table(ROUTES)?);
    let Some(wanted) = &options.interface else {
        if all.is_empty() {
            let message = "this machine is in no network that could be looked at";
            return Err(Error::usage(message, "Connect it, and look at `ip address`."));
        }
        // The bridges of container engines have no boards, and are large.
        let (large, small): (Vec<_>, Vec<_>) = all.into_iter().partition(LocalNetwork::is_too_large);
        for network in &large {
            session
                .reporter
                .note(format!("{network} is too large to try each address; only known neighbours are shown"));
        }
        return Ok(small.into_iter().chain(large).collect());
    };
    let names: Vec<String> = all.iter().map(|network| network.interface.clone()).collect();
    let own: Vec<LocalNetwork> = all.into_iter().filter(|network| network.interface == *wanted).collect();
    if own.is_empty() {
        let help = match pib_plan::suggest::list(names.iter().map(String::as_str)) {
            _ if names.is_empty() => "No interface of this machine is in a network.".to_owned(),
            list => format!("Interfaces that are: {list}."),
        };
        return Err(Error::usage(format!("the interface `{wanted}` is not there, or in no network"), help));
    }
    Ok(own)
}

fn table(path: &str) -> Result<String, Error> {
    let bytes = pib_file::read(path, MAX_TABLE).map_err(|error| Error::io("read", path, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Asks devices for their names; those that say none in time have none.
async fn names(addresses: Vec<Ipv4Addr>) -> BTreeMap<Ipv4Addr, String> {
    let mut names = BTreeMap::new();
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await else { return names };
    for address in &addresses {
        if let Some(question) = question(*address) {
            // To the device itself, and to all, since some answer only one of the two.
            _ = socket.send_to(&question, (*address, MDNS.port())).await;
            _ = socket.send_to(&question, MDNS).await;
        }
    }
    let end = Instant::now() + NAMES;
    let mut buffer = vec![0; MAX_ANSWER];
    for _ in 0..MAX_ANSWERS {
        if names.len() == addresses.len() {
            break;
        }
        let Ok(Ok((size, from))) = timeout_at(end, socket.recv_from(&mut buffer)).await else { break };
        // A device speaks for itself alone.
        if let SocketAddr::V4(from) = from
            && addresses.contains(from.ip())
            && let Some(name) = answer(buffer.get(..size).unwrap_or_default(), *from.ip())
        {
            names.insert(*from.ip(), name);
        }
    }
    names
}

/// Returns the name under which the name of an address is asked for.
fn reverse(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("{d}.{c}.{b}.{a}.in-addr.arpa")
}

/// Returns the packet that asks a device for its name, and to send the answer to the asking socket alone.
fn question(address: Ipv4Addr) -> Option<Vec<u8>> {
    let name = reverse(address);
    let mut packet = Packet::new_query(0);
    let name = Name::new(&name).ok()?.into_owned();
    packet.questions.push(Question::new(name, QTYPE::TYPE(TYPE::PTR), QCLASS::CLASS(CLASS::IN), true));
    packet.build_bytes_vec().ok()
}

/// Returns the name that an answer gives to an address.
fn answer(bytes: &[u8], address: Ipv4Addr) -> Option<String> {
    let packet = Packet::parse(bytes).ok()?;
    let wanted = reverse(address);
    let name = packet.answers.iter().find_map(|record| match &record.rdata {
        RData::PTR(pointer) if record.name.to_string().eq_ignore_ascii_case(&wanted) => {
            Some(pointer.0.to_string())
        }
        _ => None,
    })?;
    let is_plain =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_');
    (!name.is_empty() && name.len() < 254 && name.chars().all(is_plain)).then_some(name)
}

impl FoundBoard {
    /// Returns the board for people, on one line.
    pub fn to_text(&self) -> String {
        let Self { address, mac, model, hostname, interface } = self;
        let name = hostname.as_deref().unwrap_or("-");
        format!("{address:<15}  {mac}  {name}  {model} ({interface})")
    }
}

#[cfg(test)]
mod tests {
    use simple_dns::{ResourceRecord, rdata::PTR};

    use super::*;

    fn reply(asked: &str, name: &'static str) -> Vec<u8> {
        let mut packet = Packet::new_reply(0);
        let pointer = RData::PTR(PTR(Name::new(name).unwrap()));
        let record = ResourceRecord::new(Name::new(asked).unwrap().into_owned(), CLASS::IN, 10, pointer);
        packet.answers.push(record);
        packet.build_bytes_vec().unwrap()
    }

    #[test]
    fn a_device_names_itself_and_nobody_else() {
        let address = Ipv4Addr::new(192, 0, 2, 7);
        let asked = "7.2.0.192.in-addr.arpa";
        assert_eq!(answer(&reply(asked, "kvm.local"), address).as_deref(), Some("kvm.local"));
        assert_eq!(answer(&reply("8.2.0.192.in-addr.arpa", "kvm.local"), address), None);
        assert!(question(address).is_some_and(|bytes| Packet::parse(&bytes).is_ok()));
        // Hostile ones: cut anywhere, with a pointer to itself, or nothing but noise.
        let whole = reply(asked, "kvm.local");
        (0..whole.len()).for_each(|size| drop(answer(&whole[..size], address)));
        let mut loops = whole.clone();
        loops[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(answer(&loops, address), None);
        assert_eq!(answer(&[0xff; 9000], address), None);
    }
}
