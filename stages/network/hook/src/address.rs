//! A device's address in its network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address, and how many of its bits are the network's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) address: IpAddr,
    length: u32,
}

impl Network {
    /// Reads `192.168.1.20/24`; an error is the end of a sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').ok_or("does not say how long the network's part is")?;
        let address: IpAddr = address.parse().map_err(|_| "is no IP address")?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let length = length.parse().ok().filter(|length| digits && (1..=longest).contains(length));
        let length = length.ok_or_else(|| format!("has no length from 1 to {longest} behind the slash"))?;
        let network = Self { address, length };
        network.check_usable()?;
        Ok(network)
    }

    /// Returns whether a router at another address can be reached: it is in the network, or on the link, as most routers
    /// of IPv6 are.
    pub(crate) fn reaches(self, other: IpAddr) -> bool {
        let on_link = matches!(other, IpAddr::V6(other) if other.is_unicast_link_local());
        self.address.is_ipv4() == other.is_ipv4()
            && (on_link || self.masked(self.address) == self.masked(other))
    }

    fn check_usable(self) -> Result<(), String> {
        if self.address.is_unspecified() || self.address.is_loopback() || self.address.is_multicast() {
            return Err("is no address that a device can have".to_owned());
        }
        match self.address {
            IpAddr::V4(address) if self.length < 31 => {
                let hosts = u32::MAX >> self.length;
                match address.to_bits() & hosts {
                    0 => Err("is the address of the network itself".to_owned()),
                    host if host == hosts => {
                        Err("is the address that reaches everybody in the network".to_owned())
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Returns the network's part of an address.
    fn masked(self, address: IpAddr) -> IpAddr {
        match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - self.length).unwrap_or(0);
                Ipv4Addr::from_bits(address.to_bits() & mask).into()
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - self.length).unwrap_or(0);
                Ipv6Addr::from_bits(address.to_bits() & mask).into()
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.masked(self.address), self.length)
    }
}
