//! The services that sign: their URLs, given one by one or by a signing config.
//!
//! A signing config (`signing_config.json`, media type
//! `application/vnd.dev.sigstore.signingconfig.v0.2+json`) names services with the time that each is for, and
//! how many of them are to be asked. One authority and one log are asked here; a config that wants signatures
//! in several logs at once is refused by name.

use sigstore_trust_root::{
    SIGSTORE_PRODUCTION_SIGNING_CONFIG, ServiceConfiguration, ServiceEndpoint, ServiceSelector,
    SigningConfig,
};
use url::{Host, Url};

/// Why services cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacesError {
    /// It is no signing config.
    #[error("it is no signing config: {0}")]
    Form(String),
    /// A URL is none that could be asked.
    #[error("`{0}` is no http:// or https:// URL of a service, without a user and a password")]
    Url(String),
    /// The identity token would go there for everybody on the way to read.
    #[error(
        "`{0}` is plain HTTP, and an identity token goes there: only a host on loopback may speak it"
    )]
    Plain(String),
    /// It names none that is there now.
    #[error("it names no {0} that is there now and whose version is known")]
    Nobody(&'static str),
    /// It wants more than is done.
    #[error("it wants {0}, and one is asked")]
    Several(&'static str),
    /// It leaves open which are to be asked, or wants more of them than there are.
    #[error("its rule for timestamps cannot be met: {0}")]
    Rule(String),
}

/// The services that sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The certificate authority, Fulcio.
    pub fulcio: Url,
    /// The log, Rekor, by its first API; what the tag format and referrers need.
    pub rekor: Option<Url>,
    /// The log by its second API (tiles), for bundles; it gives no time, so it needs a timestamp authority.
    pub rekor_tiles: Option<Url>,
    /// The timestamp authorities, each of which is asked for every signature in a bundle.
    pub authorities: Vec<Url>,
    /// Those that are asked for every signature in the other formats: only those that a person named, for
    /// verifiers of those formats look at the log alone unless they are told.
    pub authorities_of_payloads: Vec<Url>,
}

/// Reads the URL of a service.
///
/// # Errors
///
/// When it is none, or has a user, a query or a fragment.
pub fn service_url(text: &str) -> Result<Url, PlacesError> {
    let wrong = || PlacesError::Url(shown(text));
    let url: Url = text.parse().map_err(|_| wrong())?;
    let is_plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if matches!(url.scheme(), "http" | "https") && url.has_host() && is_plain {
        Ok(url)
    } else {
        Err(wrong())
    }
}

/// Reads the URL of a certificate authority, which is sent an identity token.
///
/// # Errors
///
/// As [`service_url`], and when it is plain HTTP to another host than this one.
pub fn authority_url(text: &str) -> Result<Url, PlacesError> {
    let url = service_url(text)?;
    let is_here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if url.scheme() == "https" || is_here {
        Ok(url)
    } else {
        Err(PlacesError::Plain(shown(text)))
    }
}

/// A URL for people, without what may be a password.
fn shown(text: &str) -> String {
    let text = match text.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => text.to_owned(),
    };
    let text = text.split(['?', '#']).next().unwrap_or_default();
    crate::text::cleaned(text, 200)
}

/// `path` below the URL of a service.
pub(super) fn below(service: &Url, path: &str) -> Url {
    let mut url = service.clone();
    let base = service.path().trim_end_matches('/').to_owned();
    url.set_path(&format!("{base}{path}"));
    url
}

impl Places {
    /// The public instance's, as they were when this program was built.
    ///
    /// # Errors
    ///
    /// When none of them is for the present.
    pub fn public() -> Result<Self, PlacesError> {
        Self::parse(SIGSTORE_PRODUCTION_SIGNING_CONFIG)
    }

    /// Those of a signing config, as they are to be asked now.
    ///
    /// Of a log that has both APIs both are kept: the newer one for bundles, the older for the formats that
    /// know no other.
    ///
    /// # Errors
    ///
    /// As [`PlacesError`].
    pub fn parse(json: &str) -> Result<Self, PlacesError> {
        let config = SigningConfig::from_json(json)
            .map_err(|error| PlacesError::Form(crate::text::cleaned(&error.to_string(), 200)))?;
        let fulcio = config
            .fulcio_url()
            .ok_or(PlacesError::Nobody("authority"))?;
        let first = |version| {
            let found = config.rekor_url(Some(version));
            found.map(|found| service_url(&found.url)).transpose()
        };
        let (rekor, rekor_tiles) = (first(1)?, first(2)?);
        if rekor.is_none() && rekor_tiles.is_none() {
            return Err(PlacesError::Nobody("log"));
        }
        check_one(&config.rekor_tlog_config, &config.eligible_rekor_urls(None))?;
        let authorities = chosen(&config.tsa_config, &config.eligible_tsa_urls())?;
        if rekor.is_none() && authorities.is_empty() {
            return Err(PlacesError::Nobody(
                "timestamp authority, which its log needs,",
            ));
        }
        Ok(Self {
            fulcio: authority_url(&fulcio.url)?,
            rekor,
            // Without a clock it proves no time.
            rekor_tiles: rekor_tiles.filter(|_| !authorities.is_empty()),
            authorities,
            authorities_of_payloads: Vec::new(),
        })
    }

    /// The same without timestamp authorities.
    #[must_use]
    pub fn without_clocks(mut self) -> Self {
        self.authorities.clear();
        self.authorities_of_payloads.clear();
        self.rekor_tiles = None;
        self
    }

    /// Whether both speak to the same authority, and to no other log.
    pub fn is_same_instance(&self, other: &Self) -> bool {
        self.fulcio == other.fulcio
            && self.rekor == other.rekor
            && self.rekor_tiles == other.rekor_tiles
    }

    /// The same with what was named by hand in the place of what the config says.
    #[must_use]
    pub fn with(mut self, fulcio: Option<Url>, rekor: Option<Url>, authorities: Vec<Url>) -> Self {
        if let Some(fulcio) = fulcio {
            self.fulcio = fulcio;
        }
        if let Some(rekor) = rekor {
            self.rekor = Some(rekor);
            self.rekor_tiles = None;
        }
        if !authorities.is_empty() {
            self.authorities.clone_from(&authorities);
            self.authorities_of_payloads = authorities;
        }
        self
    }

    /// The logs that an identity will stand in, for people.
    pub fn logs(&self) -> Vec<String> {
        let logs = self.rekor.iter().chain(&self.rekor_tiles);
        logs.map(|url| url.as_str().trim_end_matches('/').to_owned())
            .collect()
    }
}

/// Whether one of `eligible` meets the rule.
fn check_one(
    rule: &ServiceConfiguration,
    eligible: &[&ServiceEndpoint],
) -> Result<(), PlacesError> {
    match rule.selector {
        ServiceSelector::Any => Ok(()),
        ServiceSelector::Exact if rule.count == Some(1) => Ok(()),
        ServiceSelector::Exact => Err(PlacesError::Several("several logs")),
        ServiceSelector::All if operators(eligible).len() <= 1 => Ok(()),
        ServiceSelector::All => Err(PlacesError::Several("all of several logs")),
        ServiceSelector::Undefined | _ => Err(PlacesError::Form(
            "its rule for logs is none that is known".to_owned(),
        )),
    }
}

/// Those of `eligible` that the rule wants: at most one of each operator, in their order.
fn chosen(
    rule: &ServiceConfiguration,
    eligible: &[&ServiceEndpoint],
) -> Result<Vec<Url>, PlacesError> {
    let each = operators(eligible);
    let count = match rule.selector {
        ServiceSelector::Any => each.len().min(1),
        ServiceSelector::All => each.len(),
        ServiceSelector::Exact => {
            let wanted = rule.count.and_then(|count| usize::try_from(count).ok());
            match wanted {
                Some(wanted) if (1..=each.len()).contains(&wanted) => wanted,
                Some(wanted) => {
                    let what = format!("{wanted} are wanted, and {} are there", each.len());
                    return Err(PlacesError::Rule(what));
                }
                None => return Err(PlacesError::Rule("it does not say how many".to_owned())),
            }
        }
        ServiceSelector::Undefined | _ => {
            return Err(PlacesError::Rule("it is none that is known".to_owned()));
        }
    };
    let each = each.into_iter().take(count);
    each.map(|endpoint| service_url(&endpoint.url)).collect()
}

/// The first of each operator; those without one are their own.
fn operators<'a>(eligible: &[&'a ServiceEndpoint]) -> Vec<&'a ServiceEndpoint> {
    let mut each: Vec<&ServiceEndpoint> = Vec::new();
    for endpoint in eligible {
        let is_known = endpoint.operator.is_some()
            && each.iter().any(|known| known.operator == endpoint.operator);
        if !is_known {
            each.push(endpoint);
        }
    }
    each
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str, version: u32, operator: &str, window: &str) -> String {
        format!(
            r#"{{"url":"{url}","majorApiVersion":{version},"operator":"{operator}","validFor":{{{window}}}}}"#
        )
    }

    const NOW: &str = r#""start":"2020-01-01T00:00:00Z""#;
    const PAST: &str = r#""start":"2020-01-01T00:00:00Z","end":"2021-01-01T00:00:00Z""#;

    fn config(logs: &[String], clocks: &[String], rules: (&str, &str)) -> String {
        format!(
            r#"{{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[{},{}],
            "rekorTlogUrls":[{}],"tsaUrls":[{}],"rekorTlogConfig":{{{}}},"tsaConfig":{{{}}}}}"#,
            endpoint("https://old.example", 1, "a", PAST),
            endpoint("https://fulcio.example/base/", 1, "a", NOW),
            logs.join(","),
            clocks.join(","),
            rules.0,
            rules.1
        )
    }

    fn urls(urls: &[Url]) -> Vec<&str> {
        urls.iter().map(Url::as_str).collect()
    }

    #[test]
    fn the_public_instance_is_built_in() {
        let public = Places::public().unwrap();
        assert_eq!(public.fulcio.as_str(), "https://fulcio.sigstore.dev/");
        assert_eq!(public.logs(), ["https://rekor.sigstore.dev"]);
        assert!(public.authorities_of_payloads.is_empty() && !public.authorities.is_empty());
    }

    #[test]
    fn a_config_is_read_by_its_times_versions_and_rules() {
        let logs = [
            endpoint("https://r0.example", 1, "a", PAST),
            endpoint("https://r1.example", 1, "a", NOW),
            endpoint("https://r2.example", 2, "a", NOW),
            endpoint("https://r3.example", 3, "a", NOW),
        ];
        let clocks = [
            endpoint("https://t0.example/api", 1, "a", PAST),
            endpoint("https://t1.example/api", 1, "a", NOW),
            endpoint("https://t2.example/api", 1, "a", NOW),
            endpoint("https://t3.example/api", 1, "b", NOW),
        ];
        let any = r#""selector":"ANY""#;
        let places = Places::parse(&config(&logs, &clocks, (any, any))).unwrap();
        assert_eq!(
            below(&places.fulcio, "/api").as_str(),
            "https://fulcio.example/base/api"
        );
        assert_eq!(places.logs(), ["https://r1.example", "https://r2.example"]);
        assert_eq!(urls(&places.authorities), ["https://t1.example/api"]);
        for rule in [r#""selector":"ALL""#, r#""selector":"EXACT","count":2"#] {
            let places = Places::parse(&config(&logs, &clocks, (any, rule))).unwrap();
            let expected = ["https://t1.example/api", "https://t3.example/api"];
            assert_eq!(urls(&places.authorities), expected);
        }
        for bad in [
            config(&logs, &clocks, (any, r#""selector":"EXACT","count":3"#)),
            config(&logs, &clocks, (any, r#""selector":"EXACT""#)),
            config(
                &logs,
                &clocks,
                (any, r#""selector":"SERVICE_SELECTOR_UNDEFINED""#),
            ),
            config(&logs, &clocks, (r#""selector":"EXACT","count":2"#, any)),
            config(&logs[..1], &clocks, (any, any)),
            // A log without times, and nobody who gives them.
            config(&logs[2..3], &[], (any, any)),
            "{}".to_owned(),
            config(&logs, &clocks, (any, any)).replace("v0.2", "v0.9"),
        ] {
            assert!(Places::parse(&bad).is_err(), "{bad}");
        }
        let without = Places::parse(&config(&logs, &[], (any, any))).unwrap();
        assert_eq!(without.rekor_tiles, None);
    }

    #[test]
    fn what_is_named_by_hand_counts() {
        let url = |text: &str| service_url(text).unwrap();
        let places = Places::public().unwrap().with(
            Some(url("http://127.0.0.1:1/")),
            Some(url("http://127.0.0.1:2")),
            vec![url("http://127.0.0.1:3/api/v1/timestamp")],
        );
        assert_eq!(places.logs(), ["http://127.0.0.1:2"]);
        assert_eq!(places.authorities, places.authorities_of_payloads);
    }

    #[test]
    fn a_token_goes_over_no_plain_connection() {
        for good in [
            "https://fulcio.example",
            "http://127.0.0.1:5555",
            "http://[::1]:5555/",
            "http://localhost",
        ] {
            assert!(authority_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://fulcio.example",
            "http://10.0.0.1",
            "http://localhost.example",
            "http://127.0.0.1.example",
        ] {
            let said = authority_url(bad).unwrap_err().to_string();
            assert!(said.contains("is plain HTTP"), "{said}");
        }
    }

    #[test]
    fn urls_with_secrets_are_refused_and_not_repeated() {
        for bad in [
            "fulcio.example",
            "ftp://x.example",
            "https://me:hunter2@x.example",
            "https://x.example/?key=hunter2",
            "https://x.example/#hunter2",
            "",
        ] {
            let said = service_url(bad).unwrap_err().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
