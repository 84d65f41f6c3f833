//! Which addresses belong to the public internet. Pure.
//!
//! The list is our own: the standard library's `is_global` is unstable, and what it lets through has changed before. IPv6
//! is closed unless it is known to be public; IPv4 is open unless it is in the table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Whether `address` belongs to the public internet, the IPv4 address inside an IPv6 one included.
pub fn is_public(address: IpAddr) -> bool {
    reserved_for(address).is_none()
}

/// What an address that is not public is for, as it reads after "is": `private`, `loopback`.
pub fn reserved_for(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => reserved_v4(address),
        IpAddr::V6(address) => reserved_v6(address),
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(first: u16, second: u16, prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), prefix)
}

/// The registry of special addresses (RFC 6890 and its successors).
const V4: [(Ipv4Net, &str); 17] = [
    (v4(0, 0, 0, 0, 8), "unspecified"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "shared by a carrier's customers"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    // Clouds answer here with the machine's credentials.
    (v4(169, 254, 0, 0, 16), "link-local"),
    // Public by number, but inside Azure it is the host's own server.
    (v4(168, 63, 129, 16, 32), "a cloud's own"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "reserved"),
    (v4(192, 0, 2, 0, 24), "for documentation"),
    (v4(192, 88, 99, 0, 24), "reserved"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "for benchmarks"),
    (v4(198, 51, 100, 0, 24), "for documentation"),
    (v4(203, 0, 113, 0, 24), "for documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(255, 255, 255, 255, 32), "broadcast"),
    (v4(240, 0, 0, 0, 4), "reserved"),
];

/// What is not public inside [`GLOBAL`], and names for what lies outside of it.
const V6: [(Ipv6Net, &str); 9] = [
    (v6(0xfc00, 0, 7), "private"),
    (v6(0xfe80, 0, 10), "link-local"),
    (v6(0xfec0, 0, 10), "site-local"),
    (v6(0xff00, 0, 8), "multicast"),
    // Teredo, benchmarks, ORCHID: nobody's server is there.
    (v6(0x2001, 0, 23), "reserved"),
    (v6(0x2001, 0xdb8, 32), "for documentation"),
    (v6(0x3fff, 0, 20), "for documentation"),
    (v6(0x64, 0xff9b, 32), "a translated private network's"),
    (v6(0x100, 0, 64), "a sink"),
];

/// All that is handed out to networks so far.
const GLOBAL: Ipv6Net = v6(0x2000, 0, 3);
/// Translators reach IPv4 under this prefix, public addresses of it too: a box with IPv6 alone has nothing else.
const NAT64: Ipv6Net = v6(0x64, 0xff9b, 96);
const SIX_TO_FOUR: Ipv6Net = v6(0x2002, 0, 16);

fn reserved_v4(address: Ipv4Addr) -> Option<&'static str> {
    V4.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind)
}

fn reserved_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("unspecified");
    }
    if address.is_loopback() {
        return Some("loopback");
    }
    if let Some(inner) = embedded_v4(address) {
        return reserved_v4(inner);
    }
    let known = V6.iter().find(|(network, _)| network.contains(&address)).map(|(_, kind)| *kind);
    known.or_else(|| (!GLOBAL.contains(&address)).then_some("reserved"))
}

/// The IPv4 address that a packet to `address` would end at.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bytes = address.octets();
    if NAT64.contains(&address) {
        return Some(Ipv4Addr::new(bytes[12], bytes[13], bytes[14], bytes[15]));
    }
    if SIX_TO_FOUR.contains(&address) {
        return Some(Ipv4Addr::new(bytes[2], bytes[3], bytes[4], bytes[5]));
    }
    address.to_ipv4_mapped()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("0.0.0.0", "unspecified")]
    #[case("0.1.2.3", "unspecified")]
    #[case("10.0.0.0", "private")]
    #[case("10.255.255.255", "private")]
    #[case("100.64.0.0", "shared by a carrier's customers")]
    #[case("100.100.100.200", "shared by a carrier's customers")]
    #[case("100.127.255.255", "shared by a carrier's customers")]
    #[case("127.0.0.1", "loopback")]
    #[case("127.255.255.254", "loopback")]
    #[case("169.254.0.1", "link-local")]
    #[case("169.254.169.254", "link-local")]
    #[case("168.63.129.16", "a cloud's own")]
    #[case("172.16.0.1", "private")]
    #[case("172.31.255.255", "private")]
    #[case("192.0.0.192", "reserved")]
    #[case("192.0.2.7", "for documentation")]
    #[case("192.88.99.1", "reserved")]
    #[case("192.168.0.0", "private")]
    #[case("192.168.255.255", "private")]
    #[case("198.18.0.0", "for benchmarks")]
    #[case("198.19.255.255", "for benchmarks")]
    #[case("198.51.100.1", "for documentation")]
    #[case("203.0.113.1", "for documentation")]
    #[case("224.0.0.1", "multicast")]
    #[case("239.255.255.255", "multicast")]
    #[case("240.0.0.1", "reserved")]
    #[case("255.255.255.254", "reserved")]
    #[case("255.255.255.255", "broadcast")]
    #[case("::", "unspecified")]
    #[case("::1", "loopback")]
    #[case("::127.0.0.1", "reserved")]
    #[case("::ffff:127.0.0.1", "loopback")]
    #[case("::ffff:10.1.2.3", "private")]
    #[case("::ffff:169.254.169.254", "link-local")]
    #[case("::ffff:0:10.1.2.3", "reserved")]
    #[case("64:ff9b::127.0.0.1", "loopback")]
    #[case("64:ff9b::a9fe:a9fe", "link-local")]
    #[case("64:ff9b:1::8.8.8.8", "a translated private network's")]
    #[case("100::1", "a sink")]
    #[case("2001::1", "reserved")]
    #[case("2001:2::1", "reserved")]
    #[case("2001:10::1", "reserved")]
    #[case("2001:db8::1", "for documentation")]
    #[case("2002:7f00:1::1", "loopback")]
    #[case("2002:c0a8:101::1", "private")]
    #[case("3fff::1", "for documentation")]
    #[case("4000::1", "reserved")]
    #[case("5f00::1", "reserved")]
    #[case("fc00::1", "private")]
    #[case("fd00:ec2::254", "private")]
    #[case("fe80::1", "link-local")]
    #[case("febf::1", "link-local")]
    #[case("fec0::1", "site-local")]
    #[case("ff02::1", "multicast")]
    #[case("ffff::1", "multicast")]
    fn not_public(#[case] address: IpAddr, #[case] kind: &str) {
        assert_eq!(reserved_for(address), Some(kind));
        assert!(!is_public(address));
    }

    /// The neighbours of every network in the table, and names that everybody knows.
    #[rstest]
    #[case("1.0.0.0")]
    #[case("1.1.1.1")]
    #[case("8.8.8.8")]
    #[case("9.255.255.255")]
    #[case("11.0.0.0")]
    #[case("100.63.255.255")]
    #[case("100.128.0.0")]
    #[case("126.255.255.255")]
    #[case("128.0.0.0")]
    #[case("168.63.129.15")]
    #[case("169.253.255.255")]
    #[case("169.255.0.0")]
    #[case("172.15.255.255")]
    #[case("172.32.0.0")]
    #[case("192.0.1.0")]
    #[case("192.167.255.255")]
    #[case("192.169.0.0")]
    #[case("198.17.255.255")]
    #[case("198.20.0.0")]
    #[case("223.255.255.255")]
    #[case("::ffff:8.8.8.8")]
    #[case("64:ff9b::8.8.8.8")]
    #[case("2001:200::1")]
    #[case("2001:4860:4860::8888")]
    #[case("2002:808:808::1")]
    #[case("2606:4700:4700::1111")]
    #[case("2a00:1450:4001::1")]
    fn public(#[case] address: IpAddr) {
        assert_eq!(reserved_for(address), None);
        assert!(is_public(address));
    }

    proptest! {
        /// No spelling of an IPv4 address inside an IPv6 one is more public than the address itself.
        #[test]
        fn an_embedded_address_is_judged_by_itself(bits: u32) {
            let inner = Ipv4Addr::from(bits);
            let [a, b, c, d] = inner.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for outer in [
                inner.to_ipv6_mapped(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
            ] {
                prop_assert_eq!(is_public(outer.into()), is_public(inner.into()), "{}", outer);
            }
        }

        /// What the standard library calls private is private here.
        #[test]
        fn not_wider_than_the_standard_library(bits: u32) {
            let address = Ipv4Addr::from(bits);
            if address.is_private() || address.is_loopback() || address.is_link_local() || address.is_multicast() {
                prop_assert!(!is_public(address.into()));
            }
        }
    }
}
