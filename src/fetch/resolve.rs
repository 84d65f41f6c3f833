//! Looks a host up and keeps only the addresses that may be connected to.
//!
//! The client connects to what comes out of here and looks nothing up itself. So a name cannot be public when it is
//! checked and private when it is used.

use std::net::SocketAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::address::is_public;
use super::error::{NoAddress, PrivateAddress};
use crate::config::fetch_allow::Allow;

/// The system's resolver behind the rule of [`permitted`].
pub(super) struct Guarded(pub(super) Arc<Allow>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.0);
        Box::pin(async move {
            let host = name.as_str();
            let no_address = |reason: String| NoAddress { host: host.to_owned(), reason };
            let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| no_address(error.to_string()))?;
            let permitted = permitted(&allow, host, found.collect())?;
            if permitted.is_empty() {
                return Err(no_address("the answer is empty".into()).into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The addresses of `host` that may be connected to; if there are addresses and none may be, the first one's refusal.
fn permitted(allow: &Allow, host: &str, found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, PrivateAddress> {
    let refused = found.first().map(|first| PrivateAddress { host: host.to_owned(), address: first.ip() });
    let permitted: Vec<_> =
        found.into_iter().filter(|found| is_public(found.ip()) || allow.permits(host, found.ip())).collect();
    match refused {
        Some(refusal) if permitted.is_empty() => Err(refusal),
        _ => Ok(permitted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["8.8.8.8"], Ok(vec!["8.8.8.8"]))]
    #[case(&["10.0.0.1", "8.8.8.8", "::1"], Ok(vec!["8.8.8.8"]))]
    #[case(&["10.0.0.1", "::1"], Err("10.0.0.1"))]
    #[case(&["172.18.0.1"], Ok(vec!["172.18.0.1"]))]
    #[case(&[], Ok(vec![]))]
    fn only_permitted_addresses_remain(#[case] found: &[&str], #[case] expected: Result<Vec<&str>, &str>) {
        let allow = Allow::parse(&["172.18.0.0/16".to_owned()]).unwrap();
        let address = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let found = found.iter().map(|text| address(text)).collect();
        let expected = expected.map(|list| list.into_iter().map(address).collect::<Vec<_>>());
        let expected = expected.map_err(|text| PrivateAddress { host: "host".into(), address: text.parse().unwrap() });
        assert_eq!(permitted(&allow, "host", found), expected);
    }
}
