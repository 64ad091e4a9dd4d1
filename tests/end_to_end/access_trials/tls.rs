//! Certificates that are no good, and on which side they are looked at.

use libtest_mimic::Trial;

use crate::certificates::{Authority, Certified};
use crate::harness::trial;
use crate::program::Workplace;
use crate::registry::{Auth, Contents, Image, Settings, TestRegistry, Transport};

const PASSWORD: &str = "pass-of-the-trials";
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("access::tls_that_expired_is_said_so_and_when", expired),
        trial("access::tls_that_is_not_valid_yet_is_said_so", future),
        trial("access::tls_of_another_name_is_said_so", other_name),
        trial(
            "access::tls_that_wants_a_client_certificate_says_so",
            client,
        ),
        trial("access::tls_is_switched_off_for_one_side_alone", sides),
        trial(
            "access::tls_certificates_of_one_host_are_for_no_other",
            hosts,
        ),
        trial(
            "access::tls_with_files_that_cannot_be_used_contacts_nobody",
            unusable,
        ),
    ]
}

async fn unusable() {
    let (from, to) = (TestRegistry::start().await, TestRegistry::start().await);
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    let folder = format!(".config/containers/certs.d/{}", to.host());
    place.write(&format!("{folder}/client.cert"), Authority::new().pem());
    let (source, host) = (from.host(), to.host());
    let run_it = format!("mirror -f list.txt -s {source} -d {host}");
    let ended = place.run(&run_it).await.with(2);
    ended.saying(&[&host, "client.cert"]);
    assert!(from.log().is_empty() && to.log().is_empty());
    let explain = format!("auth explain {host}");
    place.run(&explain).await.with(2).saying(&["client.cert"]);
    // Those of a host that is not in the run are no matter.
    let run_it = format!("list-tags {source}/team/app");
    Image::new(&["a"]).push(&from, "team/app", Some("1")).await;
    place.run(&run_it).await.with(0);
}

async fn behind(transport: Transport) -> TestRegistry {
    TestRegistry::with(Settings {
        auth: Auth::Basic("somebody", PASSWORD),
        transport,
        ..Settings::default()
    })
    .await
}

/// What a run into a registry with this certificate says, which it must refuse. The authority is known.
async fn refused(authority: &Authority, certified: Certified, words: &[&str]) {
    let source = TestRegistry::start().await;
    Image::new(&["a"])
        .push(&source, "team/app", Some("1"))
        .await;
    let destination = behind(Transport::TlsAs(certified)).await;
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    place.write("ca.pem", authority.pem());
    let (from, to) = (source.host(), destination.host());
    let run_it = format!(
        "mirror -f list.txt -s {from} -d {to} --ca-file ca.pem --dest-creds somebody:{PASSWORD}"
    );
    let ended = place.run(&run_it).await.failed().hiding(&[PASSWORD]);
    ended.saying(&[&to]).saying(words);
    assert!(destination.log().is_empty(), "{}", destination.log_text());
    // The neighbour: it is taken where that is asked for.
    let run_it = format!("{run_it} --dest-tls-verify=false");
    place.run(&run_it).await.with(0);
}

async fn expired() {
    let authority = Authority::new();
    let certified = authority.expired_server(&NAMES);
    refused(&authority, certified, &["expired", "2020-01-02"]).await;
}

async fn future() {
    let authority = Authority::new();
    let certified = authority.future_server(&NAMES);
    refused(&authority, certified, &["not valid before", "3020-01-02"]).await;
}

async fn other_name() {
    let authority = Authority::new();
    let certified = authority.server(&["elsewhere.example"]);
    refused(&authority, certified, &["other names"]).await;
}

async fn client() {
    let authority = Authority::new();
    let transport = Transport::TlsAmong(authority.server(&NAMES), authority.der());
    let source = behind(transport).await;
    Image::new(&["a"])
        .push(&source, "team/app", Some("1"))
        .await;
    let place = Workplace::new();
    place.write("ca.pem", authority.pem());
    place.write("certs/ca.crt", authority.pem());
    let host = source.host();
    let inspect = format!("inspect {host}/team/app:1 --creds somebody:{PASSWORD}");
    let ended = place.run(&format!("{inspect} --ca-file ca.pem")).await;
    let ended = ended.failed().hiding(&[PASSWORD]);
    ended.saying(&[&host, "client certificate", "certs.d"]);
    assert!(source.log().is_empty(), "{}", source.log_text());
    let client = authority.client();
    place.write("certs/one.cert", &client.certificate);
    place.write("certs/one.key", &client.key);
    place
        .run(&format!("{inspect} --cert-dir certs"))
        .await
        .with(0);
}

async fn sides() {
    let (source, destination) = (behind(Transport::Tls).await, behind(Transport::Tls).await);
    Image::new(&["a"])
        .push(&source, "team/app", Some("1"))
        .await;
    let place = Workplace::new();
    place.write("list.txt", "team/app:1\n");
    let (from, to) = (source.host(), destination.host());
    let creds =
        format!("--src-creds somebody:{PASSWORD} --dest-creds somebody:{PASSWORD} -o failed.txt");
    let run_it = format!("mirror -f list.txt -s {from} -d {to} {creds}");
    for (flags, checked, unchecked) in [
        ("--dest-tls-verify=false", &source, &destination),
        ("--tls-verify=false --src-tls-verify", &source, &destination),
        ("--src-tls-verify=false", &destination, &source),
        (
            "--tls-verify=false --dest-tls-verify=true",
            &destination,
            &source,
        ),
    ] {
        source.clear_log();
        destination.clear_log();
        let ended = place.run(&format!("{run_it} {flags}")).await.failed();
        ended.saying(&[&checked.host(), "certificate"]);
        assert!(checked.log().is_empty(), "{flags}: {}", checked.log_text());
        assert!(unchecked.writes().is_empty(), "{flags}");
    }
    for flags in [
        "--tls-verify=false",
        "--src-tls-verify=false --dest-tls-verify=false",
    ] {
        place.run(&format!("{run_it} {flags}")).await.with(0);
    }
    assert_eq!(
        Contents::of(&source, "team/app").await,
        Contents::of(&destination, "team/app").await
    );
}

/// An authority that one host has in `certs.d` vouches for nobody else, and the client's certificate is
/// shown to nobody else.
async fn hosts() {
    let authority = Authority::new();
    let among = || Transport::TlsAmong(authority.server(&NAMES), authority.der());
    let (known, other) = (behind(among()).await, behind(among()).await);
    for registry in [&known, &other] {
        Image::new(&["a"])
            .push(registry, "team/app", Some("1"))
            .await;
    }
    let place = Workplace::new();
    let client = authority.client();
    let folder = format!(".config/containers/certs.d/{}", known.host());
    place.write(&format!("{folder}/ca.crt"), authority.pem());
    place.write(&format!("{folder}/client.cert"), &client.certificate);
    place.write(&format!("{folder}/client.key"), &client.key);
    let inspect = |host: &str| format!("inspect {host}/team/app:1 --creds somebody:{PASSWORD}");
    place.run(&inspect(&known.host())).await.with(0);
    // Another port, and another name of the same host and port, are other hosts.
    let renamed = known.host().replace("127.0.0.1", "localhost");
    for host in [&other.host(), &renamed] {
        let ended = place.run(&inspect(host)).await;
        ended.failed().saying(&[host, "certificate"]);
    }
    place.write("ca.pem", authority.pem());
    for host in [&other.host(), &renamed] {
        let ended = place
            .run(&format!("{} --ca-file ca.pem", inspect(host)))
            .await;
        ended.failed().saying(&[host, "client certificate"]);
    }
    assert!(other.log().is_empty(), "{}", other.log_text());
    // What cannot be used is said of the file, before anybody is asked.
    place.write(&format!("{folder}/client.key"), "no key");
    let ended = place.run(&inspect(&known.host())).await.with(2);
    ended.saying(&["client.key", "cannot be used", &known.host()]);
}
