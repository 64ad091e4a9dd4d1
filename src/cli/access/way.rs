//! What `consign auth explain` says of the way to a registry: mirrors, certificates, proxies.

use serde_json::{Value, json};
use url::Url;

use crate::cli::Environment;
use crate::cli::args::Access;
use crate::cli::error::Error;
use crate::oci::{Namespace, Reference, Repository, Tag};
use crate::registry::Tls;
use crate::text::cleaned;

use super::registries::NoPlace;
use super::{all_certificates, proxies, registries, tls, unusable};

/// The longest text from a file that is shown, in characters.
const SHOWN_CHARS_MAX: usize = 400;

/// One part of the way: its name in JSON, what it is there, and whole lines for people.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) json: Value,
    pub(super) text: String,
}

/// The way to `asked`, and what would end a run on it.
///
/// # Errors
///
/// Where files or variables are so wrong that nothing can be said of the way.
pub(super) fn parts(
    asked: &Namespace,
    access: &Access,
    environment: &Environment,
) -> Result<(Vec<Part>, Option<Error>), Error> {
    let (trust, wrong) = trust(asked, access, environment)?;
    Ok((vec![sources(asked)?, trust, proxy(asked)?], wrong))
}

/// Where it is looked for as a source.
fn sources(asked: &Namespace) -> Result<Part, Error> {
    let registries = registries()?;
    let (path, is_whole) = match asked.path() {
        Some(path) => (path, false),
        // Any name of the registry will do.
        None => ("any", true),
    };
    let repository = Repository::new(asked.registry().clone(), path)
        .map_err(|error| Error::usage("this cannot be asked for", &error))?;
    let image = Reference {
        repository,
        tag: Some(Tag::latest()),
        digest: None,
    };
    let Some(origin) = registries.origin(&image) else {
        return Ok(Part {
            name: "sources",
            json: json!({
                "table": null,
                "places": [{ "place": asked.to_string(), "insecure": false }],
            }),
            text: format!(
                "as a source, `{asked}` is where its name says: no registries.conf has it\n"
            ),
        });
    };
    let file = cleaned(&origin.file.display().to_string(), SHOWN_CHARS_MAX);
    let prefix = cleaned(origin.prefix, SHOWN_CHARS_MAX);
    let head = format!("as a source, `{asked}` is what `{file}` says of `{prefix}`:\n");
    let table = json!({ "file": file, "prefix": prefix });
    let (places, text) = match registries.places(&image) {
        Ok(places) => {
            let shown = |reference: &Reference| {
                let repository = &reference.repository;
                if is_whole {
                    repository.registry().to_string()
                } else {
                    repository.to_string()
                }
            };
            let lines = places.iter().enumerate().map(|(at, place)| {
                let insecure = match place.tls {
                    Some(Tls::Unverified) => ", whose certificate is not checked (`insecure`)",
                    Some(Tls::Verified) | None => "",
                };
                format!("  {}. {}{insecure}\n", at + 1, shown(&place.reference))
            });
            let text: String = lines.collect();
            let places = places.iter().map(|place| {
                json!({
                    "place": shown(&place.reference),
                    "insecure": place.tls == Some(Tls::Unverified),
                })
            });
            (Value::Array(places.collect()), text)
        }
        Err(error) => {
            let why = match error {
                // It names an image, and none was asked for.
                NoPlace::Blocked { .. } => "blocked: nothing of it is read".to_owned(),
                NoPlace::Name(_) | NoPlace::Proxy { .. } => error.to_string(),
            };
            let why = cleaned(&why, SHOWN_CHARS_MAX);
            (json!({ "error": why }), format!("  {why}\n"))
        }
    };
    Ok(Part {
        name: "sources",
        json: json!({ "table": table, "places": places }),
        text: format!("{head}{text}"),
    })
}

/// Which certificates count.
fn trust(
    asked: &Namespace,
    access: &Access,
    environment: &Environment,
) -> Result<(Part, Option<Error>), Error> {
    let registry = asked.registry();
    let certificates = all_certificates(access, environment, [registry])?;
    let is_verified = tls(access.tls_verify) == Tls::Verified;
    let more = certificates.authorities.len();
    let own = certificates.hosts.get(registry.as_str());
    let from = match access.cert_dir {
        Some(_) => "`--cert-dir`",
        None => "certs.d",
    };
    let (own_json, own_text) = match own {
        None => (Value::Null, format!("{from} has nothing for `{registry}`")),
        Some(Ok(own)) => {
            let (authorities, has_identity) = (own.authorities.len(), own.identity.is_some());
            let counted = number_of_authorities(authorities);
            let identity = if has_identity { "a" } else { "no" };
            let json = json!({ "authorities": authorities, "client_certificate": has_identity });
            // The authorities of `--cert-dir` are for every host, and counted with those of `--ca-file`.
            let counted = match access.cert_dir {
                Some(_) => String::new(),
                None => format!("{counted} and "),
            };
            (
                json,
                format!("{from} has {counted}{identity} client certificate for `{registry}`"),
            )
        }
        Some(Err(why)) => {
            let why = cleaned(why, SHOWN_CHARS_MAX);
            let text = format!("{from} makes every connection fail: {why}");
            (json!({ "error": why }), text)
        }
    };
    let checked = match (is_verified, more) {
        (false, _) => "its certificate is not checked".to_owned(),
        (true, 0) => "its certificate is checked by the system's authorities".to_owned(),
        (true, more) => format!(
            "its certificate is checked by the system's authorities and {} of {}",
            number_of_authorities(more),
            match access.cert_dir {
                Some(_) => "`--ca-file` and `--cert-dir`",
                None => "`--ca-file`",
            }
        ),
    };
    let part = Part {
        name: "tls",
        json: json!({ "verified": is_verified, "ca_file": more, "certs_d": own_json }),
        text: format!("{checked}; {own_text}\n"),
    };
    let wrong = own.and_then(|own| own.as_ref().err());
    Ok((part, wrong.map(|why| unusable(registry, why))))
}

fn number_of_authorities(number: usize) -> String {
    match number {
        1 => "1 authority".to_owned(),
        _ => format!("{number} authorities"),
    }
}

/// Whether there is a proxy on the way.
fn proxy(asked: &Namespace) -> Result<Part, Error> {
    let proxies = proxies::read(&crate::cli::variable)?;
    let registry = asked.registry();
    let url: Option<Url> = format!("https://{}/v2/", registry.authority()).parse().ok();
    // Of its URL only host and port: the rest may be a user and a password.
    let proxy = url.and_then(|url| proxies.of(&url)).map(|proxy| {
        let host = proxy.host_str().unwrap_or_default();
        match proxy.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    });
    let text = match &proxy {
        Some(proxy) => format!("`{registry}` is reached through the proxy `{proxy}`\n"),
        None => format!("`{registry}` is reached without a proxy\n"),
    };
    Ok(Part {
        name: "proxy",
        json: json!(proxy),
        text,
    })
}
