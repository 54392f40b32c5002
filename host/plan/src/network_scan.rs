//! What is known of the devices of a network by their addresses: which are Raspberry Pis, and which addresses a network has.

use core::net::Ipv4Addr;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

/// The blocks of addresses that IEEE has given to the Raspberry Pi Foundation and Raspberry Pi Ltd
/// (MA-L, <https://standards-oui.ieee.org/oui/oui.txt>), with the boards that first had them.
const RASPBERRY_PI: [([u8; 3], &str); 7] = [
    ([0xb8, 0x27, 0xeb], "Raspberry Pi 1 to 3, Zero W"),
    ([0xdc, 0xa6, 0x32], "Raspberry Pi 3B+, 4, 400"),
    ([0xe4, 0x5f, 0x01], "Raspberry Pi 4, 400, CM4, Zero 2 W"),
    ([0x28, 0xcd, 0xc1], "Raspberry Pi Pico W, or a board of 2022 and later"),
    ([0xd8, 0x3a, 0xdd], "Raspberry Pi 4, 5, CM4, Zero 2 W"),
    ([0x2c, 0xcf, 0x67], "Raspberry Pi 5, 500, CM5, Pico 2 W"),
    ([0x88, 0xa2, 0x9e], "Raspberry Pi 5, 500, CM5"),
];
/// The largest network whose addresses are all tried: one of 1,024.
const MAX_ADDRESSES: u32 = 1 << 10;

/// The hardware address of a network interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// Returns what kind of Raspberry Pi has such an address; `None` where it is not one of theirs.
    pub fn raspberry_pi(&self) -> Option<&'static str> {
        let found = RASPBERRY_PI.iter().find(|(block, _)| self.0.starts_with(block));
        found.map(|(_, boards)| *boards)
    }
}

impl FromStr for MacAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a hardware address such as b8:27:eb:01:02:03");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for MacAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A neighbour: a device whose hardware address this machine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The interface behind which it is.
    pub interface: String,
}

/// Returns the neighbours in the text of `/proc/net/arp`. Those that have not answered are left out, and lines of another form.
pub fn neighbours(text: &str) -> Vec<Neighbour> {
    /// The flag of an entry that is complete (`ATF_COM` in Linux's `if_arp.h`).
    const COMPLETE: u32 = 2;
    let line = |line: &str| {
        let [address, _kind, flags, mac, _mask, interface] = *line.split_whitespace().collect::<Vec<_>>()
        else {
            return None;
        };
        let flags = u32::from_str_radix(flags.strip_prefix("0x")?, 16).ok()?;
        let found = Neighbour {
            address: address.parse().ok()?,
            mac: mac.parse().ok()?,
            interface: interface.to_owned(),
        };
        (flags & COMPLETE != 0).then_some(found)
    };
    text.lines().filter_map(line).collect()
}

/// A network that an interface is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalNetwork {
    /// The interface.
    pub interface: String,
    first: u32,
    last: u32,
}

impl LocalNetwork {
    /// Returns the addresses that devices may have there; none where there are too many to try.
    pub fn addresses(&self) -> impl Iterator<Item = Ipv4Addr> + use<> {
        let (first, last) = match self.is_too_large() {
            true => (1, 0),
            // The first address is the network's own, the last one everybody's.
            false => (self.first.saturating_add(1), self.last.saturating_sub(1)),
        };
        (first..=last).map(Ipv4Addr::from)
    }

    /// Returns whether there are too many addresses to try each.
    pub fn is_too_large(&self) -> bool {
        self.last - self.first >= MAX_ADDRESSES
    }
}

impl fmt::Display for LocalNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = (self.last - self.first).count_zeros();
        write!(f, "{}/{bits} on {}", Ipv4Addr::from(self.first), self.interface)
    }
}

/// Returns the networks of this machine's interfaces, by the text of `/proc/net/route`: those that no gateway leads to.
pub fn networks(text: &str) -> Vec<LocalNetwork> {
    /// The flag of a route that is up (`RTF_UP` in Linux's `route.h`).
    const UP: u32 = 1;
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, destination, gateway, flags, _, _, _, mask, ..] = *fields else { return None };
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        // The kernel writes addresses as this machine holds them in memory.
        let address = |text: &str| number(text).map(|number| u32::from_be_bytes(number.to_ne_bytes()));
        let (first, mask) = (address(destination)?, address(mask)?);
        let is_network = mask != 0 && mask.leading_ones() + mask.trailing_zeros() == 32 && first & !mask == 0;
        let is_local = number(gateway)? == 0 && number(flags)? & UP != 0 && interface != "lo";
        (is_network && is_local).then(|| LocalNetwork {
            interface: interface.to_owned(),
            first,
            last: first | !mask,
        })
    };
    text.lines().skip(1).filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn raspberry_pis_are_known_by_their_addresses() {
        let of = |text: &str| text.parse::<MacAddress>().unwrap().raspberry_pi();
        assert!(of("b8:27:eb:00:00:01").is_some() && of("2C:CF:67:ff:ff:ff").is_some());
        // A company's identifier is never an interface's address.
        assert!(of("3a:35:41:00:00:01").is_none() && of("00:00:00:00:00:00").is_none());
        for bad in [
            "",
            "b8:27:eb",
            "b8:27:eb:00:00:01:02",
            "b8:27:eb:00:00:0g",
            "b8-27-eb-00-00-01",
            "b8:27:eb:0:0:1",
        ] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
        assert_eq!("DC:A6:32:0A:0b:0c".parse::<MacAddress>().unwrap().to_string(), "dc:a6:32:0a:0b:0c");
    }

    #[test]
    fn the_kernels_tables_are_read() {
        let arp = "IP address       HW type     Flags       HW address            Mask     Device\n\
                   192.0.2.7        0x1         0x2         b8:27:eb:01:02:03     *        eth0\n\
                   192.0.2.8        0x1         0x0         00:00:00:00:00:00     *        eth0\n\
                   nonsense\n";
        let found = neighbours(arp);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].address.to_string(), found[0].interface.as_str()),
            ("192.0.2.7".to_owned(), "eth0")
        );
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
                     docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n\
                     eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     down0\t000300C0\t00000000\t0000\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
        let found = networks(route);
        assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["172.17.0.0/16 on docker0", "192.0.2.0/24 on eth0"]
        );
        assert!(found[0].is_too_large() && found[0].addresses().count() == 0);
        let all: Vec<Ipv4Addr> = found[1].addresses().collect();
        assert_eq!(
            (all.len(), all[0].to_string(), all[253].to_string()),
            (254, "192.0.2.1".to_owned(), "192.0.2.254".to_owned())
        );
    }

    proptest! {
        #[test]
        fn no_text_of_the_kernels_is_too_odd(text in any::<String>(), fields in "([0-9A-F]{8}[\\t ]){0,12}") {
            neighbours(&text);
            networks(&format!("head\neth0\t{fields}\n{text}")).iter().for_each(|network| assert!(network.addresses().count() < 1 << 10));
        }
    }
}
