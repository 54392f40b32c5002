//! Under which addresses containers of an engine reach the machine that it runs on.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use bollard::query_parameters::InspectNetworkOptions;

use super::Engine;
use super::connect::PODMAN;

/// The address of the host in containers of a Podman without root whose network is pasta's (`--map-guest-addr`).
const PASTA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 1, 2));
/// An address for documentation (RFC 5737): nothing is sent there.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

impl Engine {
    /// Returns the addresses that may mean this machine in a container of an engine on it, in the order in which it is quickest
    /// to try them. Which of them do, only a container can tell.
    pub async fn host_addresses(&self) -> Vec<IpAddr> {
        let is_podman = self.info().name == PODMAN;
        let mut addresses = Vec::new();
        if is_podman {
            // `netns = "host"` in containers.conf; in a network of its own, nobody listens there.
            addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        addresses.extend(self.gateways(if is_podman { "podman" } else { "bridge" }).await);
        if self.info().rootless {
            // The gateway is in the engine's own network. What leaves that comes from this machine, to its own address.
            addresses.extend(is_podman.then_some(PASTA));
            addresses.extend(own_address());
        }
        addresses
    }

    /// Returns the gateways of one of the engine's networks; none where it does not have it.
    async fn gateways(&self, network: &str) -> Vec<IpAddr> {
        let asked = self.client().quick().inspect_network(network, None::<InspectNetworkOptions>).await;
        let configs = asked.ok().and_then(|network| network.ipam).and_then(|ipam| ipam.config);
        let gateways = configs.unwrap_or_default().into_iter().filter_map(|config| config.gateway);
        gateways.filter_map(|gateway| gateway.parse().ok()).filter(IpAddr::is_ipv4).collect()
    }
}

/// Returns the address by which this machine reaches others, where it does.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|address| !address.is_loopback())
}
