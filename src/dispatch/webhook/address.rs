//! Which addresses a webhook may call: those of the public internet.
//!
//! A job's client chooses the address, and the server stands where the client may not be: beside databases, routers and the metadata
//! services of clouds. So a name is resolved here, and only public addresses of it are handed to the connection, which then cannot
//! be made to go elsewhere by a second answer of the same name (DNS rebinding).

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Why a webhook is not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The address is written as a number, and that is not public.
    #[error("{0} is no public address")]
    NotPublic(IpAddr),
    /// None of the addresses of the name is public.
    #[error("{name} has no public address, only {found}")]
    NoPublicAddress {
        /// The name.
        name: String,
        /// One of its addresses.
        found: IpAddr,
    },
}

/// True for addresses that are globally reachable by unicast: what the IANA special-purpose registries (RFC 6890, as of 2026) leave.
/// Addresses that embed another one (IPv4-mapped, NAT64, 6to4, Teredo) are refused as a whole, or are what they embed.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = matches!(
        (a, b, c),
        (0 | 10 | 127, _, _)
            // RFC 6598: shared by carriers' customers.
            | (100, 64..=127, _)
            // Link-local, where clouds keep their metadata.
            | (169, 254, _)
            | (172, 16..=31, _)
            // Protocol assignments, documentation, the old 6to4 anycast, AS112, AMT.
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (192, 31, 196)
            | (192, 52, 193)
            | (192, 175, 48)
            | (192, 168, _)
            // Benchmarks and documentation.
            | (198, 18..=19, _)
            | (198, 51, 100)
            | (203, 0, 113)
            // Multicast, reserved, broadcast.
            | (224..=255, _, _)
    );
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(v4) = ip.to_ipv4_mapped() {
        return is_public_v4(v4);
    }
    let segments = ip.segments();
    if segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] {
        // NAT64 (RFC 6052): the network translates it to the IPv4 address in its last bits.
        let [.., high, low] = segments;
        return is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    }
    // Only 2000::/3 is global unicast. In it: protocol assignments with Teredo and ORCHID (2001::/23), documentation (2001:db8::/32,
    // 3fff::/20), and 6to4, which embeds an IPv4 address (2002::/16).
    let global = segments[0] & 0xe000 == 0x2000;
    let special = matches!(segments, [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..])
        || (segments[0] == 0x3fff && segments[1] < 0x1000);
    global && !special
}

/// The address, where a URL names a number instead of a name that would be resolved.
pub fn literal(url: &reqwest::Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Refuses a URL whose host is an address that is not public. Names are looked at when they are resolved.
pub fn check_literal(url: &reqwest::Url) -> Result<(), Refused> {
    match literal(url).filter(|ip| !is_public(*ip)) {
        Some(ip) => Err(Refused::NotPublic(ip)),
        None => Ok(()),
    }
}

/// The system's resolver, whose answers are sifted unless private addresses are allowed.
#[derive(Debug, Clone, Copy)]
pub struct PublicResolver {
    /// True: every address may be called, for receivers on the same machine or network.
    pub allow_private: bool,
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(sift(&name, found, allow_private)?.into_iter()) as Addrs)
        })
    }
}

fn sift(name: &str, found: Vec<SocketAddr>, allow_private: bool) -> Result<Vec<SocketAddr>, Refused> {
    let public: Vec<SocketAddr> = found.iter().copied().filter(|addr| allow_private || is_public(addr.ip())).collect();
    match found.first() {
        Some(first) if public.is_empty() => Err(Refused::NoPublicAddress { name: name.to_owned(), found: first.ip() }),
        _ => Ok(public),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_called() {
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "fe80::1",
            "fc00::1",
            "fd12:3456::1",
            "fec0::1",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn an_address_in_disguise_is_still_an_address() {
        for url in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://[::1]:80/",
            "http://[::ffff:7f00:1]/",
            "http://１２７.0.0.1/",
        ] {
            let url = reqwest::Url::parse(url).unwrap();
            assert!(check_literal(&url).is_err(), "{url}");
        }
        assert_eq!(check_literal(&reqwest::Url::parse("https://example.com/").unwrap()), Ok(()));
        assert_eq!(check_literal(&reqwest::Url::parse("https://1.1.1.1/").unwrap()), Ok(()));
    }

    #[test]
    fn private_addresses_of_a_name_are_left_out() {
        let addr = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let mixed = vec![addr("10.0.0.1"), addr("1.1.1.1")];
        assert_eq!(sift("x", mixed.clone(), false), Ok(vec![addr("1.1.1.1")]));
        assert_eq!(sift("x", mixed.clone(), true), Ok(mixed));
        assert!(sift("x", vec![addr("127.0.0.1")], false).is_err());
    }
}
