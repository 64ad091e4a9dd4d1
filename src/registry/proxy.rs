//! Which requests go through a proxy.
//!
//! The rules are those of Go's `golang.org/x/net/http/httpproxy`, by which Docker, podman, skopeo, crane,
//! oras and cosign go: one set of variables has to mean the same to all of them.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use url::{Host, Url};

/// The proxies of a run, and where they are not used.
#[derive(Clone, Default)]
pub struct Proxies {
    http: Option<Url>,
    https: Option<Url>,
    direct: Arc<[Exception]>,
}

impl fmt::Debug for Proxies {
    /// Without users and passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |proxy: &Option<Url>| {
            let proxy = proxy.as_ref()?;
            let host = proxy.host_str().unwrap_or_default();
            Some(match proxy.port() {
                Some(port) => format!("{}://{host}:{port}", proxy.scheme()),
                None => format!("{}://{host}", proxy.scheme()),
            })
        };
        f.debug_struct("Proxies")
            .field("http", &shown(&self.http))
            .field("https", &shown(&self.https))
            .field("direct", &self.direct)
            .finish()
    }
}

impl Proxies {
    /// The proxies for plain HTTP and for TLS; a user and a password in their URLs are for the proxy. `no`
    /// says, as `NO_PROXY` does, where neither is used: names, addresses and networks, parted by commas.
    ///
    /// - `*`: nowhere.
    /// - `10.1.2.3`, `10.0.0.0/8`, `fd00::1`, `fd00::/8`: this address, this network.
    /// - `example.com`: this name and all below it. `.example.com`, `*.example.com`: all below it.
    /// - `example.com:5000`, `10.1.2.3:5000`, `[fd00::1]:5000`: with this port.
    ///
    /// What is none of this is never met, and so changes nothing.
    pub fn new(http: Option<Url>, https: Option<Url>, no: &str) -> Self {
        let direct = no.split(',').filter_map(Exception::parse).collect();
        Self {
            http,
            https,
            direct,
        }
    }

    /// The proxy for a request to `url`; none for a direct one, as it always is on this machine.
    pub fn of(&self, url: &Url) -> Option<Url> {
        let proxy = match url.scheme() {
            "https" => self.https.as_ref(),
            "http" => self.http.as_ref(),
            _ => None,
        }?;
        let to = Target::of(url)?;
        let is_direct = to.is_loopback() || self.direct.iter().any(|exception| exception.met(&to));
        (!is_direct).then(|| proxy.clone())
    }

    /// Those that speak TLS themselves.
    pub(super) fn over_tls(&self) -> impl Iterator<Item = &Url> {
        let all = self.http.iter().chain(&self.https);
        all.filter(|proxy| proxy.scheme() == "https")
    }

    /// The same for the HTTP client.
    pub(super) fn rule(&self) -> reqwest::Proxy {
        let own = self.clone();
        reqwest::Proxy::custom(move |url| own.of(url))
    }
}

/// Where a request goes: to a name or to an address.
struct Target {
    name: Option<String>,
    address: Option<IpAddr>,
    port: Option<u16>,
}

impl Target {
    fn of(url: &Url) -> Option<Self> {
        let (name, address) = match url.host()? {
            Host::Domain(name) => (Some(name.to_ascii_lowercase()), None),
            Host::Ipv4(address) => (None, Some(IpAddr::V4(address))),
            Host::Ipv6(address) => (None, Some(IpAddr::V6(address).to_canonical())),
        };
        let port = url.port_or_known_default();
        Some(Self {
            name,
            address,
            port,
        })
    }

    fn is_loopback(&self) -> bool {
        self.name.as_deref() == Some("localhost")
            || self.address.is_some_and(|address| address.is_loopback())
    }
}

/// Where no proxy is used.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    Everywhere,
    /// A network: its address, and how many of the bits count.
    Network(IpAddr, u32),
    Address(IpAddr, Option<u16>),
    /// All below a name, which begins with a `.`, and the name itself or not.
    Names {
        below: Box<str>,
        and_itself: bool,
        port: Option<u16>,
    },
}

impl Exception {
    /// Reads one entry of the list; nothing where it cannot be met.
    fn parse(entry: &str) -> Option<Self> {
        let entry = entry.trim().to_lowercase();
        if entry == "*" {
            return Some(Self::Everywhere);
        }
        if let Some((address, bits)) = entry.split_once('/') {
            return network(address, bits);
        }
        let (host, port) = host_and_port(&entry)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Some(Self::Address(address.to_canonical(), port));
        }
        let name = match host.strip_prefix("*.") {
            Some(name) => format!(".{name}"),
            None => host.to_owned(),
        };
        let and_itself = !name.starts_with('.');
        let name = name.strip_prefix('.').unwrap_or(&name);
        // Names are compared as they stand in URLs.
        let name = match Host::parse(name) {
            Ok(Host::Domain(ascii)) => ascii,
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) | Err(_) => name.to_owned(),
        };
        (!name.is_empty()).then(|| Self::Names {
            below: format!(".{name}").into(),
            and_itself,
            port,
        })
    }

    fn met(&self, to: &Target) -> bool {
        let fits = |port: &Option<u16>| port.is_none() || *port == to.port;
        match self {
            Self::Everywhere => true,
            Self::Network(network, bits) => to
                .address
                .is_some_and(|address| is_within(*network, *bits, address)),
            Self::Address(address, port) => to.address == Some(*address) && fits(port),
            Self::Names {
                below,
                and_itself,
                port,
            } => {
                let name = match &to.name {
                    Some(name) if fits(port) => name.as_str(),
                    _ => return false,
                };
                *and_itself && below.strip_prefix('.') == Some(name) || name.ends_with(&**below)
            }
        }
    }
}

fn network(address: &str, bits: &str) -> Option<Exception> {
    let address: IpAddr = address.parse().ok()?;
    let bits_max = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.parse().ok().filter(|bits| *bits <= bits_max)?;
    // An IPv4 address in an IPv6 one begins after 96 bits (RFC 4291, section 2.5.5.2).
    match (address.to_canonical(), bits.checked_sub(96)) {
        (inner @ IpAddr::V4(_), Some(bits)) if address.is_ipv6() => {
            Some(Exception::Network(inner, bits))
        }
        _ => Some(Exception::Network(address, bits)),
    }
}

/// Parts `host`, `host:port`, `[address]`, `[address]:port` and a bare IPv6 address.
fn host_and_port(entry: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = entry.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        if after.is_empty() {
            (host, "")
        } else {
            (host, after.strip_prefix(':')?)
        }
    } else {
        match entry.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, port),
            _ => (entry, ""),
        }
    };
    match port {
        "" => Some((host, None)),
        number => Some((host, Some(number.parse().ok()?))),
    }
}

/// Whether the first `bits` bits of both are the same.
fn is_within(network: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let other = network.to_bits() ^ address.to_bits();
            other.leading_zeros() >= bits
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let other = network.to_bits() ^ address.to_bits();
            other.leading_zeros() >= bits
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    /// Whether a request to `to` is proxied where `no` says where none is.
    fn is_proxied(no: &str, to: &str) -> bool {
        let proxy = Some(url("http://proxy.example:3128"));
        let proxies = Proxies::new(proxy.clone(), proxy, no);
        let to = if to.contains("://") {
            to.to_owned()
        } else {
            format!("https://{to}")
        };
        proxies.of(&url(&to)).is_some()
    }

    #[test]
    fn each_scheme_has_its_own_proxy() {
        let of = |http: Option<&str>, https: Option<&str>, to: &str| {
            let proxies = Proxies::new(http.map(url), https.map(url), "");
            proxies.of(&url(to)).map(|proxy| proxy.to_string())
        };
        let (a, b) = (Some("http://a:1"), Some("socks5h://b:2"));
        assert_eq!(
            of(a, b, "http://x.example/").as_deref(),
            Some("http://a:1/")
        );
        assert_eq!(
            of(a, b, "https://x.example/").as_deref(),
            Some("socks5h://b:2")
        );
        assert_eq!(of(a, None, "https://x.example/"), None);
        assert_eq!(of(None, b, "http://x.example/"), None);
        assert_eq!(of(a, b, "ftp://x.example/"), None);
    }

    #[test]
    fn this_machine_is_never_reached_by_a_proxy() {
        for here in [
            "localhost",
            "LOCALHOST:5000",
            "127.0.0.1",
            "127.1.2.3:5000",
            "[::1]:5000",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(!is_proxied("", here), "{here}");
        }
        for elsewhere in ["localhost.example", "a.localhost", "128.0.0.1", "[::2]"] {
            assert!(is_proxied("", elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn exceptions_are_met_as_in_go() {
        for (no, direct) in [
            ("*", "anything.example"),
            ("a.example, *", "10.0.0.1"),
            ("foo.com", "foo.com"),
            ("foo.com", "FOO.com:5000"),
            ("foo.com", "bar.foo.com"),
            ("FOO.com ", "a.b.foo.com"),
            (" x.example ,, foo.com,", "foo.com"),
            (".foo.com", "bar.foo.com"),
            ("*.foo.com", "bar.foo.com"),
            ("foo.com:443", "foo.com"),
            ("foo.com:443", "https://bar.foo.com:443/v2/"),
            ("foo.com:80", "http://foo.com/"),
            ("foo.com:", "foo.com:5000"),
            (".foo.com:5000", "bar.foo.com:5000"),
            ("10.1.2.3", "10.1.2.3:5000"),
            ("10.1.2.3:5000", "10.1.2.3:5000"),
            ("10.0.0.0/8", "10.255.1.2:5000"),
            ("10.1.2.3/0", "192.0.2.1"),
            ("192.0.2.0/31", "192.0.2.1"),
            ("10.0.0.0/8", "[::ffff:10.1.2.3]"),
            ("::ffff:10.1.2.3", "10.1.2.3"),
            ("fd00::1", "[fd00::1]:5000"),
            ("[fd00::1]", "[fd00:0::1]"),
            ("[fd00::1]:5000", "[fd00::1]:5000"),
            ("fd00::/8", "[fdff::2]"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("BÜCHER.example", "bücher.example"),
            ("::ffff:10.0.0.0/104", "10.1.2.3"),
        ] {
            assert!(!is_proxied(no, direct), "{no} {direct}");
        }
        for (no, proxied) in [
            ("", "foo.com"),
            (",", "foo.com"),
            (".", "foo.com"),
            ("foo.com", "barfoo.com"),
            ("foo.com", "foo.com.example"),
            (".foo.com", "foo.com"),
            ("*.foo.com", "foo.com"),
            ("*foo.com", "bar.foo.com"),
            ("foo.com:443", "foo.com:5000"),
            ("foo.com:443", "http://foo.com/"),
            ("foo.com:x", "foo.com"),
            (":443", "foo.com"),
            ("10.1.2.3", "10.1.2.30"),
            ("10.1.2.3:5000", "10.1.2.3"),
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/8", "10.example"),
            ("10.0.0.0/33", "10.0.0.0"),
            ("10.0.0.0/x", "10.0.0.0"),
            ("fd00::/8", "[fe00::1]"),
            ("fd00::/8", "10.0.0.1"),
            ("::/0", "10.0.0.1"),
            ("2.3", "10.1.2.3"),
            ("[fd00::1]5000", "[fd00::1]:5000"),
            ("[fd00::1", "[fd00::1]"),
        ] {
            assert!(is_proxied(no, proxied), "{no} {proxied}");
        }
    }

    #[test]
    fn users_and_passwords_do_not_print() {
        let with = Some(url("http://some-user:pass-word@proxy.example:3128/"));
        let proxies = Proxies::new(with.clone(), with, "a.example");
        let shown = format!("{proxies:?} {:?}", proxies.rule());
        assert!(shown.contains("http://proxy.example:3128"), "{shown}");
        for secret in ["some-user", "pass-word"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}
