//! Proxies from the environment, as the programs of the field read it (Go's
//! `golang.org/x/net/http/httpproxy`).
//!
//! The variables in upper case go before those in lower case, as in Go up to 1.26. `ALL_PROXY` is not read,
//! as by none of them.

use std::ffi::OsString;

use http::Uri;
use url::Url;

use crate::cli::error::Error;
use crate::registry::Proxies;

/// The port of a SOCKS proxy that names none (RFC 1928, section 3).
const SOCKS_PORT: u16 = 1080;

/// Reads the proxies of a run, where `variable` gives what the environment has under a name.
///
/// # Errors
///
/// When a value is no URL of a proxy, or could have been set by whoever sends requests to a CGI program.
/// The value itself is never told: it may hold a password.
pub(in crate::cli) fn read(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<Proxies, Error> {
    let value = |upper: &'static str, lower: &'static str| -> Result<_, Error> {
        let set = |name| Some((name, variable(name).filter(|value| !value.is_empty())?));
        let (first, second) = (set(upper), set(lower));
        if let (Some((_, first)), Some((_, second))) = (&first, &second)
            && first != second
        {
            // Later versions of the package take the other one.
            tracing::warn!("`{upper}` and `{lower}` are not the same; `{upper}` counts");
        }
        let Some((name, value)) = first.or(second) else {
            return Ok(None);
        };
        match value.into_string() {
            Ok(text) => Ok(Some((name, text))),
            Err(_) => Err(Error::refused(&format!("`{name}` is not UTF-8"))),
        }
    };
    let proxy = |found: Option<(&'static str, String)>| match found {
        Some((name, text)) => parse(&text).map(Some).map_err(|why| refusal(name, why)),
        None => Ok(None),
    };
    let http = value("HTTP_PROXY", "http_proxy")?;
    let https = value("HTTPS_PROXY", "https_proxy")?;
    let no = value("NO_PROXY", "no_proxy")?;
    if let Some((name, _)) = &http
        && variable("REQUEST_METHOD").is_some_and(|method| !method.is_empty())
    {
        // https://golang.org/s/cgihttpproxy
        let what = format!(
            "`{name}` is not used where `REQUEST_METHOD` is set: a web server may have made it from a \
             header of the request"
        );
        return Err(Error::refused(&what).with_hint("unset one of the two"));
    }
    let no = no.map(|(_, text)| text).unwrap_or_default();
    Ok(Proxies::new(proxy(http)?, proxy(https)?, &no))
}

/// Reads `[SCHEME://][USER[:PASSWORD]@]HOST[:PORT]`; without a scheme it is `http`.
fn parse(text: &str) -> Result<Url, &'static str> {
    let text = text.trim();
    let url = match text.split_once("://") {
        // By all of the field, the proxy looks up the names, whichever of the two is written.
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("socks5") => {
            Url::parse(&format!("socks5h://{rest}"))
        }
        Some(_) => Url::parse(text),
        None => Url::parse(&format!("http://{text}")),
    };
    let mut url = url.map_err(|_| "it is not the URL of a proxy")?;
    match url.scheme() {
        "http" | "https" => {}
        "socks5h" if url.port().is_some() => {}
        "socks5h" => url
            .set_port(Some(SOCKS_PORT))
            .map_err(|()| "it names no host")?,
        _ => return Err("its scheme is none of `http`, `https`, `socks5` and `socks5h`"),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err("it names no host");
    }
    // The HTTP client would go without a proxy whose URL it cannot read.
    if url.as_str().parse::<Uri>().is_err() {
        return Err("it is not the URL of a proxy");
    }
    Ok(url)
}

fn refusal(name: &str, why: &str) -> Error {
    Error::refused(&format!("`{name}` cannot be used: {why}")).with_hint(
        "write it as `http://HOST:PORT`, with `USER:PASSWORD@` in front of the host where the proxy asks for \
         it; `%XX` stands for what has a meaning in URLs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> Result<Proxies, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        read(&variable).map_err(|error| error.to_string())
    }

    fn proxy_of(to: &str, variables: &[(&str, &str)]) -> Option<String> {
        let proxies = with(variables).unwrap();
        proxies
            .of(&to.parse().unwrap())
            .map(|proxy| proxy.to_string())
    }

    #[test]
    fn the_upper_case_goes_first() {
        for (variables, expected) in [
            (&[][..], None),
            (&[("HTTPS_PROXY", "a:1")], Some("http://a:1/")),
            (&[("https_proxy", "b:2")], Some("http://b:2/")),
            (
                &[("https_proxy", "b:2"), ("HTTPS_PROXY", "a:1")],
                Some("http://a:1/"),
            ),
            // Set and empty is not set.
            (
                &[("https_proxy", "b:2"), ("HTTPS_PROXY", "")],
                Some("http://b:2/"),
            ),
            (&[("HTTP_PROXY", "a:1")], None),
            (&[("ALL_PROXY", "a:1"), ("all_proxy", "a:1")], None),
            (&[("HTTPS_PROXY", "a:1"), ("no_proxy", "x.example")], None),
            (
                &[
                    ("HTTPS_PROXY", "a:1"),
                    ("NO_PROXY", "y.example"),
                    ("no_proxy", "x.example"),
                ],
                Some("http://a:1/"),
            ),
        ] {
            let found = proxy_of("https://x.example/v2/", variables);
            assert_eq!(found.as_deref(), expected, "{variables:?}");
        }
        let found = proxy_of("http://x.example/v2/", &[("http_proxy", "a:1")]);
        assert_eq!(found.as_deref(), Some("http://a:1/"));
    }

    #[test]
    fn a_value_is_read_as_it_is_commonly_written() {
        for (value, expected) in [
            ("proxy.example", "http://proxy.example/"),
            ("proxy.example:3128", "http://proxy.example:3128/"),
            (" HTTP://proxy.example:3128 ", "http://proxy.example:3128/"),
            ("https://proxy.example", "https://proxy.example/"),
            ("10.0.0.1:3128", "http://10.0.0.1:3128/"),
            ("[fd00::1]:3128", "http://[fd00::1]:3128/"),
            ("u:p@proxy.example:3128", "http://u:p@proxy.example:3128/"),
            (
                "http://u:p%40@proxy.example",
                "http://u:p%40@proxy.example/",
            ),
            ("socks5://proxy.example", "socks5h://proxy.example:1080"),
            (
                "SOCKS5h://u:p@proxy.example:9",
                "socks5h://u:p@proxy.example:9",
            ),
        ] {
            let found = proxy_of("https://x.example/", &[("HTTPS_PROXY", value)]);
            assert_eq!(found.as_deref(), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_its_name_alone() {
        for value in [
            "socks4://some-user:pass-word@proxy.example",
            "ftp://some-user:pass-word@proxy.example",
            "some-user:pass-word@://proxy.example",
            "http://some-user:pass-word@",
            "http://some-user:pass-word@proxy.example:port",
            "http://some-user:pass/word@proxy.example",
            "socks5://some-user:pass-word@",
            "socks5:///pass-word",
            "http://",
            "://pass-word",
            "pass-word some-user",
            " ",
        ] {
            for name in ["HTTPS_PROXY", "http_proxy"] {
                let error = with(&[(name, value)]).unwrap_err();
                assert!(error.contains(name), "{value}: {error}");
                for secret in ["some-user", "pass"] {
                    assert!(!error.contains(secret), "{error}");
                }
            }
        }
    }

    #[test]
    fn a_header_of_a_request_sets_no_proxy() {
        for name in ["HTTP_PROXY", "http_proxy"] {
            let error = with(&[("REQUEST_METHOD", "GET"), (name, "pass-word:1")]).unwrap_err();
            assert!(
                error.contains(name) && !error.contains("pass-word"),
                "{error}"
            );
        }
        assert!(with(&[("REQUEST_METHOD", "GET"), ("HTTPS_PROXY", "a:1")]).is_ok());
        assert!(with(&[("REQUEST_METHOD", ""), ("HTTP_PROXY", "a:1")]).is_ok());
    }
}
