//! Places: where a registry may send a request, and how they are shown.

use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// The metadata service of a large cloud, in the middle of addresses that sites use for themselves.
const CLOUD_METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether `to` is an address that only this machine or its cloud can mean, and not the host of the
/// registry (`base`) itself: loopback, link-local (cloud metadata), unspecified, multicast.
pub(super) fn is_forbidden(to: &Url, base: &Url) -> bool {
    if to.host() == base.host() {
        return false;
    }
    let address = match to.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical(),
        Some(Host::Domain(name)) => {
            // The same name, written to its end.
            let name = name.strip_suffix('.').unwrap_or(name);
            return name == "localhost" || name.ends_with(".localhost");
        }
        None => return true,
    };
    match address {
        IpAddr::V4(v4) => {
            v4.is_link_local() || v4.is_unspecified() || v4.is_loopback() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            v6.is_unicast_link_local()
                || v6 == CLOUD_METADATA
                || v6.is_unspecified()
                || v6.is_loopback()
                || v6.is_multicast()
        }
    }
}

/// Whether a place that a registry names, by redirect or upload location, may be gone to: never from
/// TLS to plain HTTP, never to addresses that only this machine or its cloud can mean.
pub(super) fn check_place(to: &Url, from: &Url, base: &Url) -> Result<(), ()> {
    let scheme_is_good = to.scheme() == "https" || to.scheme() == "http" && from.scheme() == "http";
    if scheme_is_good && to.has_host() && !is_forbidden(to, base) {
        Ok(())
    } else {
        Err(())
    }
}

pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// A URL for people: without user, query and fragment, where secrets stand.
pub(super) fn shown(url: &Url) -> String {
    let mut text = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        text.push(':');
        text.push_str(&port.to_string());
    }
    text.push_str(url.path());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_urls_have_no_secrets() {
        let url: Url = "https://user:pw@h.example:8443/v2/x?sig=secret#frag"
            .parse()
            .unwrap();
        assert_eq!(shown(&url), "https://h.example:8443/v2/x");
    }

    #[test]
    fn places_are_checked() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let base = url("https://r.example/v2/");
        for (to, good) in [
            ("https://cdn.example/x", true),
            ("https://10.0.0.5/x", true),
            ("http://r.example/x", false),
            ("https://169.254.169.254/x", false),
            ("https://127.0.0.1/x", false),
            ("https://localhost/x", false),
            ("https://localhost./x", false),
            ("https://a.localhost./x", false),
            ("https://127.0.0.1./x", false),
            ("https://[fd00:ec2::254]/x", false),
            ("https://[fd12::1]/x", true),
            ("ftp://cdn.example/x", false),
        ] {
            assert_eq!(check_place(&url(to), &base, &base).is_ok(), good, "{to}");
        }
        let plain = url("http://127.0.0.1:5000/v2/");
        assert!(check_place(&url("http://127.0.0.1:6000/x"), &plain, &plain).is_ok());
        assert!(check_place(&url("http://169.254.169.254/x"), &plain, &plain).is_err());
    }
}
