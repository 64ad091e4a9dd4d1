//! Proxies of the environment: what goes through them, and who sees which secret.
//!
//! The registries are known by names that only the proxies can look up. What this machine has is never reached
//! by a proxy.

mod server;

use std::path::PathBuf;

use consign::oci::Digest;
use http::header::{AUTHORIZATION, PROXY_AUTHORIZATION};
use libtest_mimic::Trial;

use crate::harness::trial;
use crate::program::{Ended, Workplace};
use crate::registry::{Auth, Contents, Image, Settings, TestRegistry, Transport};

use server::{Manner, PASSWORD, Proxy, USER, authorization};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("access::tls_goes_through_the_proxy_unread", tls),
        trial("access::plain_http_goes_through_its_proxy", plain),
        trial(
            "access::a_registry_without_tls_is_said_to_have_none",
            no_tls,
        ),
        trial("access::a_copy_goes_through_the_proxy_both_ways", copy),
        trial("access::a_socks_proxy_looks_up_the_names", socks),
        trial(
            "access::no_proxy_and_this_machine_are_reached_directly",
            direct,
        ),
        trial(
            "access::a_proxy_that_refuses_is_named_without_its_password",
            refused,
        ),
        trial(
            "access::a_proxy_that_refuses_plain_http_is_named_too",
            refused_in_the_open,
        ),
        trial(
            "access::a_proxy_that_cannot_be_meant_is_refused_at_once",
            unusable,
        ),
    ]
}

/// The name by which only a proxy knows the registry.
const NAME: &str = "registry.test";
/// "user:password", for the registry.
const OWN: &str = "dXNlcjpwYXNzd29yZA==";

/// A registry that asks who one is, with one image, and a home that knows its certificate and password.
struct Stage {
    registry: TestRegistry,
    place: Workplace,
    digest: Digest,
}

impl Stage {
    async fn set(transport: Transport) -> Self {
        let registry = TestRegistry::with(Settings {
            auth: Auth::Basic("user", "password"),
            transport: transport.clone(),
            ..Settings::default()
        })
        .await;
        let image = Image::new(&["layer"])
            .push(&registry, "app", Some("1"))
            .await;
        let place = Workplace::new();
        let login = format!(r#"{{"auths":{{"{NAME}":{{"auth":"{OWN}"}}}}}}"#);
        place.write(".docker/config.json", login);
        if transport == Transport::Tls {
            place.write("ca.pem", registry.certificate());
        }
        Self {
            registry,
            place,
            digest: image.digest,
        }
    }

    async fn proxy(&self, manner: Manner) -> Proxy {
        Proxy::start(manner, &[(NAME, &self.registry.host())]).await
    }

    /// Looks at the image through what the variables say.
    async fn inspect(&self, flags: &str, variables: &[(&str, &str)]) -> Ended {
        let command = format!("inspect --raw --debug {flags} {NAME}/app:1");
        run(&self.place, &command, variables).await
    }

    /// Itself, where the image came.
    #[track_caller]
    fn came(&self, ended: &Ended) {
        assert_eq!(ended.code(), Some(0), "{ended}");
        assert_eq!(Digest::sha256(&ended.stdout), self.digest, "{ended}");
        for request in self.registry.log() {
            assert!(
                request.headers.get(PROXY_AUTHORIZATION).is_none(),
                "{request}"
            );
        }
        let own = format!("Basic {OWN}");
        let log = self.registry.log();
        assert!(
            log.iter()
                .any(|request| request.header(AUTHORIZATION) == own)
        );
    }
}

/// Runs the program with these variables. The password of the proxy is never told.
async fn run(place: &Workplace, command: &str, variables: &[(&str, &str)]) -> Ended {
    let variables: Vec<(&str, PathBuf)> = variables
        .iter()
        .map(|(name, value)| (*name, PathBuf::from(value)))
        .collect();
    let ended = place.run_with(command, &variables).await;
    let basic = authorization().replace("Basic ", "");
    for secret in [USER, PASSWORD, "proxy%40word", &basic] {
        assert!(!ended.stderr.contains(secret), "`{secret}` {ended}");
        assert!(!ended.text().contains(secret), "`{secret}` {ended}");
    }
    ended
}

/// Whether a head has this header.
fn has(head: &str, name: &str, value: &str) -> bool {
    let line = format!("{name}: {value}");
    head.lines().any(|other| other.eq_ignore_ascii_case(&line))
}

async fn tls() {
    let stage = Stage::set(Transport::Tls).await;
    let proxy = stage.proxy(Manner::Forwards).await;
    let other = stage.proxy(Manner::Forwards).await;
    let variables = [
        ("HTTPS_PROXY", &*proxy.url("http")),
        ("HTTP_PROXY", &other.url("http")),
    ];
    let ended = stage.inspect("--ca-file ca.pem", &variables).await;
    stage.came(&ended);
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        assert!(
            head.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"),
            "{head}"
        );
        assert!(has(head, "proxy-authorization", &authorization()), "{head}");
        let is_own = |line: &str| line.to_ascii_lowercase().starts_with("authorization:");
        assert!(!head.lines().any(is_own) && !head.contains(OWN), "{head}");
    }
    assert_eq!(other.heads(), [""; 0]);
    // A proxy does not make a certificate good.
    let ended = stage.inspect("", &variables).await;
    assert_ne!(ended.code(), Some(0), "{ended}");
    ended.saying(&["certificate", NAME]);
}

async fn plain() {
    let stage = Stage::set(Transport::Plain).await;
    let proxy = stage.proxy(Manner::Forwards).await;
    let first = stage.proxy(Manner::Forwards).await;
    // TLS is tried first, and there is none behind the tunnel.
    let variables = [
        ("http_proxy", &*proxy.url("http")),
        ("https_proxy", &first.url("http")),
    ];
    let ended = stage.inspect("--tls-verify=false", &variables).await;
    stage.came(&ended);
    let heads = proxy.heads();
    assert!(!heads.is_empty());
    for head in &heads {
        let is_absolute = head.starts_with("GET http://registry.test/v2/");
        assert!(
            is_absolute || head.starts_with("HEAD http://registry.test/v2/"),
            "{head}"
        );
        assert!(has(head, "proxy-authorization", &authorization()), "{head}");
    }
    assert!(first.heads().iter().all(|head| !head.contains(OWN)));
}

/// A registry that is not on this machine, and speaks plain HTTP where TLS is wanted.
async fn no_tls() {
    let stage = Stage::set(Transport::Plain).await;
    let proxy = stage.proxy(Manner::Forwards).await;
    let variables = [("HTTPS_PROXY", &*proxy.url("http"))];
    let ended = stage.inspect("", &variables).await.with(4);
    ended.saying(&[
        "`registry.test`, or the proxy",
        "does not speak TLS",
        "--tls-verify=false",
    ]);
    // Another try would say the same, and a password is nothing for the open.
    assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
    assert!(stage.registry.log().is_empty());
}

async fn copy() {
    let source = Stage::set(Transport::Tls).await;
    let destination = TestRegistry::with(Settings {
        transport: Transport::Tls,
        ..Settings::default()
    })
    .await;
    let hosts = [
        (NAME, &*source.registry.host()),
        ("destination.test", &destination.host()),
    ];
    let proxy = Proxy::start(Manner::Forwards, &hosts).await;
    let variables = [("HTTPS_PROXY", &*proxy.url("http"))];
    let command = format!("copy --tls-verify=false {NAME}/app:1 destination.test/app:1");
    let ended = run(&source.place, &command, &variables).await;
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_eq!(
        Contents::of(&source.registry, "app").await,
        Contents::of(&destination, "app").await
    );
    let heads = proxy.heads();
    for host in [NAME, "destination.test"] {
        let line = format!("CONNECT {host}:443 ");
        assert!(
            heads.iter().any(|head| head.starts_with(&line)),
            "{heads:?}"
        );
    }
}

async fn socks() {
    for scheme in ["socks5", "socks5h"] {
        let stage = Stage::set(Transport::Tls).await;
        let proxy = stage.proxy(Manner::Forwards).await;
        let variables = [("HTTPS_PROXY", &*proxy.url(scheme))];
        let ended = stage.inspect("--ca-file ca.pem", &variables).await;
        stage.came(&ended);
        let heads = proxy.heads();
        assert!(!heads.is_empty());
        assert!(
            heads.iter().all(|head| head == "registry.test:443"),
            "{heads:?}"
        );
    }
}

async fn direct() {
    let stage = Stage::set(Transport::Plain).await;
    let proxy = stage.proxy(Manner::Forwards).await;
    let url = proxy.url("http");
    let both = [("HTTPS_PROXY", &*url), ("HTTP_PROXY", &url)];
    let variables = [both[0], both[1], ("NO_PROXY", "x.example, .TEST ,")];
    let ended = stage.inspect("--tls-verify=false", &variables).await;
    // The name is not known here.
    assert_eq!(ended.code(), Some(4), "{ended}");
    assert_eq!(proxy.heads(), [""; 0]);
    let destination = TestRegistry::start().await;
    let source = TestRegistry::start().await;
    Image::new(&["layer"]).push(&source, "app", Some("1")).await;
    let port = source
        .host()
        .rsplit_once(':')
        .map(|(_, port)| port.to_owned());
    let port = port.expect("it has a port");
    let command = format!("copy localhost:{port}/app:1 {}/app:1", destination.host());
    let ended = run(&stage.place, &command, &both).await;
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert_eq!(proxy.heads(), [""; 0]);
}

async fn refused() {
    let stage = Stage::set(Transport::Tls).await;
    for status in ["407 Proxy Authentication Required", "502 Bad Gateway"] {
        let proxy = stage.proxy(Manner::Refuses(status)).await;
        let variables = [("HTTPS_PROXY", &*proxy.url("http"))];
        let ended = stage.inspect("--ca-file ca.pem", &variables).await;
        assert!(matches!(ended.code(), Some(1 | 4)), "{status}: {ended}");
        ended.saying(&["proxy", &proxy.host()]);
        // A password that is wrong once is not tried until the user is locked out.
        let is_final = status.starts_with("407");
        assert!(!is_final || proxy.heads().len() == 1, "{:?}", proxy.heads());
    }
    let proxy = stage.proxy(Manner::Refuses("")).await;
    let ended = stage
        .inspect(
            "--ca-file ca.pem",
            &[("HTTPS_PROXY", &*proxy.url("socks5"))],
        )
        .await;
    assert_eq!(ended.code(), Some(4), "{ended}");
    ended.saying(&["proxy", &proxy.host()]);
    // Nobody there.
    let url = format!("http://{USER}:proxy%40word@127.0.0.1:1");
    let ended = stage
        .inspect("--ca-file ca.pem", &[("HTTPS_PROXY", &*url)])
        .await;
    assert_eq!(ended.code(), Some(4), "{ended}");
    ended.saying(&["proxy", "127.0.0.1:1"]);
    assert!(stage.registry.log().is_empty());
}

async fn refused_in_the_open() {
    let stage = Stage::set(Transport::Plain).await;
    let tunnel = stage.proxy(Manner::Forwards).await;
    for status in ["407 Proxy Authentication Required", "502 Bad Gateway"] {
        let proxy = stage.proxy(Manner::Refuses(status)).await;
        let variables = [
            ("HTTP_PROXY", &*proxy.url("http")),
            ("HTTPS_PROXY", &tunnel.url("http")),
        ];
        let ended = stage.inspect("--tls-verify=false", &variables).await;
        assert!(matches!(ended.code(), Some(1 | 4)), "{status}: {ended}");
        ended.saying(&["proxy", &proxy.host()]);
        // A password that is wrong once is not tried until the user is locked out.
        let is_final = status.starts_with("407");
        assert!(!is_final || proxy.heads().len() == 1, "{:?}", proxy.heads());
    }
    assert!(stage.registry.log().is_empty());
}

async fn unusable() {
    let stage = Stage::set(Transport::Plain).await;
    for (name, value) in [
        ("HTTPS_PROXY", "ftp://proxy-user:proxy%40word@127.0.0.1"),
        ("http_proxy", "http://proxy-user:proxy%40word@127.0.0.1:x"),
    ] {
        let ended = stage.inspect("", &[(name, value)]).await;
        ended.with(2).saying(&[name]);
    }
    let variables = [("HTTP_PROXY", "127.0.0.1:1"), ("REQUEST_METHOD", "GET")];
    let ended = stage.inspect("", &variables).await;
    ended.with(2).saying(&["HTTP_PROXY", "REQUEST_METHOD"]);
    assert!(stage.registry.log().is_empty());
}
