//! What may be fetched from besides the public internet: the setting `CLAUDEBOX_FETCH_ALLOW`.

use std::net::IpAddr;

use ipnet::IpNet;

use super::error::{ConfigError, ConfigErrors, wrong};
use super::name;

/// Hosts and networks whose addresses need not be public.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allow {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl Allow {
    /// Those of the setting's entries: host names, addresses, networks.
    pub fn parse(entries: &[String]) -> Result<Self, ConfigErrors> {
        let mut allow = Self::default();
        let errors = entries.iter().filter_map(|entry| allow.add(entry).err()).collect();
        ConfigErrors::unless(errors, allow)
    }

    /// Adds what an entry names.
    pub(super) fn add(&mut self, entry: &str) -> Result<(), ConfigError> {
        if let Ok(network) = entry.parse::<IpNet>() {
            self.networks.push(network.trunc());
        } else if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            self.networks.push(address.into());
        } else if is_host_name(entry) {
            self.hosts.push(comparable(entry));
        } else {
            return Err(wrong(
                name::FETCH_ALLOW,
                entry,
                "host names without a port (n8n), addresses (127.0.0.1) and networks (10.0.0.0/8), separated by commas",
            ));
        }
        Ok(())
    }

    /// Whether a connection to `host` may go to `address`, although it is not public.
    pub fn permits(&self, host: &str, address: IpAddr) -> bool {
        // 127.0.0.1 written as ::ffff:127.0.0.1 is the same machine.
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address)) || self.hosts.contains(&comparable(host))
    }
}

/// Names are compared without the dot that marks one as complete, and without case.
fn comparable(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_host_name(entry: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = entry.strip_suffix('.').unwrap_or(entry);
    // A name made of digits and dots is an address with a slip in it.
    name.split('.').all(label) && name.bytes().any(|byte| byte.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn allow(entries: &[&str]) -> Result<Allow, ConfigErrors> {
        Allow::parse(&entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    #[rstest]
    #[case(&["n8n"], "n8n", "172.18.0.3", true)]
    #[case(&["N8n."], "n8n", "172.18.0.3", true)]
    #[case(&["n8n"], "n8n.", "172.18.0.3", true)]
    #[case(&["n8n"], "n8n.evil.example", "172.18.0.3", false)]
    #[case(&["n8n"], "other", "172.18.0.3", false)]
    #[case(&["10.0.0.0/8"], "any", "10.9.8.7", true)]
    #[case(&["10.1.2.3/8"], "any", "10.9.8.7", true)]
    #[case(&["10.0.0.0/8"], "any", "::ffff:10.9.8.7", true)]
    #[case(&["10.0.0.0/8"], "any", "11.0.0.1", false)]
    #[case(&["127.0.0.1"], "localhost", "127.0.0.1", true)]
    #[case(&["127.0.0.1"], "localhost", "127.0.0.2", false)]
    #[case(&["127.0.0.1"], "localhost", "::1", false)]
    #[case(&["[::1]", "fd00::/8"], "any", "fd12::1", true)]
    #[case(&["[::1]"], "localhost", "::1", true)]
    #[case(&[], "any", "10.0.0.1", false)]
    fn permits(#[case] entries: &[&str], #[case] host: &str, #[case] address: IpAddr, #[case] permitted: bool) {
        assert_eq!(allow(entries).unwrap().permits(host, address), permitted);
    }

    #[rstest]
    #[case("n8n:5678")]
    #[case("http://n8n")]
    #[case("*.example.com")]
    #[case("10.0.0.0/33")]
    #[case("10.0.0")]
    #[case("10.0.0.256")]
    #[case("a b")]
    #[case("a..b")]
    #[case("")]
    fn an_entry_that_is_neither_is_refused(#[case] entry: &str) {
        let errors = allow(&["n8n", entry, "10.0.0.0/8", "*"]).unwrap_err();
        let told: Vec<(&str, &str)> = errors.iter().map(|error| (&*error.name, &*error.value)).collect();
        assert_eq!(told, [("CLAUDEBOX_FETCH_ALLOW", entry), ("CLAUDEBOX_FETCH_ALLOW", "*")]);
    }
}
