//! The hook of the stage network: checks that the settings fit together, and writes the files of systemd-networkd
//! and wpa_supplicant.

mod address;

use std::net::IpAddr;

use pib_plugin_sdk::{Context, Diagnostic, Hook, Rendered, export_hook};

use address::Network;

#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Config {
    link: Link,
    interface: Option<String>,
    method: Method,
    address: Option<String>,
    gateway: Option<String>,
    dns: Vec<String>,
    ssid: Option<String>,
    country: Option<String>,
    hidden: bool,
    /// The id of the secret, where there is one; a hook never sees more of it.
    passphrase: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Link {
    Wired,
    Wifi,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    Dhcp,
    Static,
}

struct NetworkStage;

impl Hook for NetworkStage {
    fn validate(context: &Context) -> Vec<Diagnostic> {
        match context.config::<Config>() {
            Ok(config) => {
                let mut diagnostics = Vec::new();
                check_interface(&config, &mut diagnostics);
                check_addresses(&config, &mut diagnostics);
                match config.link {
                    Link::Wired => check_wired(&config, &mut diagnostics),
                    Link::Wifi => check_wifi(context, &config, &mut diagnostics),
                }
                diagnostics
            }
            Err(error) => vec![error.into()],
        }
    }

    fn render(context: &Context, part: &str) -> Result<Rendered, String> {
        let config: Config = context.config()?;
        // What is not given cannot be mounted.
        let part = match config.passphrase {
            Some(_) => part.to_owned(),
            None => part.replace(" --mount=type=secret,id=network.passphrase", ""),
        };
        let rendered =
            Rendered::part(part).file("root/etc/systemd/network/70-pib.network", networkd(&config));
        Ok(match config.link {
            Link::Wired => rendered,
            Link::Wifi => {
                let path = format!("root/etc/wpa_supplicant/wpa_supplicant-{}.conf", wifi_interface(&config));
                rendered
                    .file(path, wpa_supplicant(&config))
                    .file("root/etc/systemd/network/80-wired.network.d/70-pib.conf", beside_wifi())
            }
        })
    }
}

export_hook!(NetworkStage);

fn error(key: &str, message: impl Into<String>, help: &str) -> Diagnostic {
    Diagnostic::error(message).key(key).help(help)
}

fn check_interface(config: &Config, diagnostics: &mut Vec<Diagnostic>) {
    let Some(name) = &config.interface else { return };
    // The kernel takes more, but no interface is called so, and these go through file names and shells.
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    if !plain || name.is_empty() || name.len() > 15 || name.starts_with(['-', '.']) {
        let help = "An interface is called like eth0 or wlan0: at most 15 letters, digits, `-`, `_` and `.`.";
        diagnostics.push(error("interface", format!("`{name}` is no name of an interface"), help));
    }
}

fn check_addresses(config: &Config, diagnostics: &mut Vec<Diagnostic>) {
    for server in &config.dns {
        if server.parse::<IpAddr>().is_err() {
            let help = "Name servers are given by their addresses: nobody could look their names up.";
            diagnostics.push(error("dns", format!("`{server}` is no IP address"), help));
        }
    }
    if config.method == Method::Dhcp {
        for (key, value) in [("address", &config.address), ("gateway", &config.gateway)] {
            if value.is_some() {
                let message = format!("`{key}` is given, and DHCP brings another one");
                diagnostics.push(error(key, message, "Remove it, or set method = \"static\"."));
            }
        }
        return;
    }
    let Some(text) = &config.address else {
        let help = "Set address, e.g. address = \"192.168.1.20/24\".";
        diagnostics.push(error("method", "a static network needs an address", help));
        return;
    };
    let network = match Network::parse(text) {
        Ok(network) => network,
        Err(what) => {
            let help =
                "Write the device's address, a slash, and the length of the network's: 192.168.1.20/24.";
            diagnostics.push(error("address", format!("`{text}` {what}"), help));
            return;
        }
    };
    match config.gateway.as_deref().map(|text| (text, text.parse::<IpAddr>())) {
        None => diagnostics.push(
            Diagnostic::warning("without a gateway the device reaches its own network only")
                .key("address")
                .help("Set gateway to the router's address."),
        ),
        Some((text, Err(_))) => {
            let help = "Write an address alone, e.g. 192.168.1.1.";
            diagnostics.push(error("gateway", format!("`{text}` is no IP address"), help));
        }
        Some((text, Ok(gateway))) if gateway == network.address => {
            diagnostics.push(error(
                "gateway",
                format!("`{text}` is the device itself"),
                "Give the router's address.",
            ));
        }
        Some((text, Ok(gateway))) if !network.reaches(gateway) => {
            let message = format!("the gateway `{text}` is not in the device's network, {network}");
            diagnostics.push(error(
                "gateway",
                message,
                "Correct the gateway, or the length behind the address.",
            ));
        }
        Some(_) => {}
    }
}

fn check_wired(config: &Config, diagnostics: &mut Vec<Diagnostic>) {
    let given = [
        ("ssid", config.ssid.is_some()),
        ("country", config.country.is_some()),
        ("hidden", config.hidden),
        ("passphrase", config.passphrase.is_some()),
    ];
    for (key, _) in given.into_iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` is about Wi-Fi, and the link is wired");
        diagnostics.push(error(key, message, "Set link = \"wifi\", or remove it."));
    }
}

fn check_wifi(context: &Context, config: &Config, diagnostics: &mut Vec<Diagnostic>) {
    if context.board_trait("wifi") == Some("false") {
        let message = format!("board `{}` has no Wi-Fi of its own", context.project.board);
        let help = "With an adapter that needs no further firmware it works all the same.";
        diagnostics.push(Diagnostic::warning(message).key("link").help(help));
    }
    match &config.ssid {
        None => diagnostics.push(error("link", "Wi-Fi needs the name of the network", "Set ssid.")),
        Some(ssid) if ssid.is_empty() || ssid.len() > 32 => {
            let message =
                format!("`{ssid}` has {} bytes, and names of Wi-Fi networks have 1 to 32", ssid.len());
            diagnostics.push(error("ssid", message, "Look at the access point's settings."));
        }
        Some(_) => {}
    }
    match &config.country {
        None => {
            let help = "Set country to its two letters, e.g. country = \"DE\": the radio stays off without.";
            diagnostics.push(error("link", "Wi-Fi needs the country whose radio rules hold", help));
        }
        Some(country) if country.len() != 2 || !country.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            let help = "Write the two letters of ISO 3166, e.g. DE, GB or US.";
            diagnostics.push(error("country", format!("`{country}` is no country"), help));
        }
        Some(_) => {}
    }
    if config.passphrase.is_none() {
        let message = "the Wi-Fi network has no passphrase, so that everybody reads what is sent over it";
        diagnostics.push(
            Diagnostic::warning(message).key("ssid").help("Set passphrase unless it is an open network."),
        );
    }
}

fn wifi_interface(config: &Config) -> &str {
    config.interface.as_deref().unwrap_or("wlan0")
}

/// Returns how far a link's routes stand back behind others': where both are connected, the cable is preferred.
fn metric(link: Link) -> u32 {
    match link {
        Link::Wired => 100,
        Link::Wifi => 600,
    }
}

/// Returns the file of systemd-networkd.
fn networkd(config: &Config) -> String {
    let matches = match (config.link, &config.interface) {
        (Link::Wired, None) => "en* eth*",
        (Link::Wired, Some(name)) => name,
        (Link::Wifi, _) => wifi_interface(config),
    };
    let mut text = format!("[Match]\nName={matches}\n\n[Network]\n");
    text.push_str(&match (config.method, &config.address) {
        // No router adds an address, a route or a name server to what is fixed.
        (Method::Static, Some(address)) => format!("DHCP=no\nIPv6AcceptRA=no\nAddress={address}\n"),
        _ => "DHCP=yes\nIPv6AcceptRA=yes\n".to_owned(),
    });
    for server in &config.dns {
        text.push_str(&format!("DNS={server}\n"));
    }
    let metric = metric(config.link);
    if config.method == Method::Static {
        if let Some(gateway) = &config.gateway {
            text.push_str(&format!("\n[Route]\nGateway={gateway}\nMetric={metric}\n"));
        }
        return text;
    }
    // Name servers that are given are the only ones, whichever protocol brings others.
    let own = if config.dns.is_empty() { "" } else { "UseDNS=no\n" };
    text.push_str(&format!("\n[DHCPv4]\nUseDomains=yes\nRouteMetric={metric}\n{own}"));
    if !own.is_empty() {
        text.push_str(&format!("\n[DHCPv6]\n{own}"));
    }
    text.push_str(&format!("\n[IPv6AcceptRA]\nRouteMetric={metric}\n{own}"));
    text
}

/// Returns what is added to the file by which `os` sets up the cable, where the link is Wi-Fi: the system waits for no
/// cable, and prefers the one that is there.
fn beside_wifi() -> String {
    let metric = metric(Link::Wired);
    format!(
        "[Link]\nRequiredForOnline=no\n\n[DHCPv4]\nRouteMetric={metric}\n\n[IPv6AcceptRA]\nRouteMetric={metric}\n"
    )
}

/// Returns the file of wpa_supplicant, with a line where the part puts the key that it computes.
fn wpa_supplicant(config: &Config) -> String {
    // In hexadecimal a name needs no quotes, whatever is in it.
    let ssid = config.ssid.as_deref().unwrap_or_default();
    let ssid: String = ssid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let country = config.country.as_deref().unwrap_or_default();
    let mut text =
        format!("ctrl_interface=/run/wpa_supplicant\ncountry={country}\n\nnetwork={{\n  ssid={ssid}\n");
    if config.hidden {
        text.push_str("  scan_ssid=1\n");
    }
    text.push_str(if config.passphrase.is_some() { "  #psk\n" } else { "  key_mgmt=NONE\n" });
    text.push_str("}\n");
    text
}

#[cfg(test)]
mod tests;
