//! Fault 38: addresses of which some are dead, and connections that the other end has closed.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use consign::transfer::Options;
use libtest_mimic::Trial;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process;

use super::stage::Stage;
use super::wire::{Manner, Wire};
use crate::faults::{Road, noise, quick};
use crate::harness::trial;
use crate::program::{Ended, Workplace};
use crate::registry::{Contents, Image, Settings, TestRegistry, Transport, index};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "endure::fault_38_a_connection_that_was_closed_is_made_again",
            closed,
        ),
        trial(
            "endure::fault_38_an_address_that_is_dead_is_passed_over",
            dead_address,
        )
        .with_kind("needs unshare")
        .with_ignored_flag(!has_namespaces()),
    ]
}

/// Whether this machine lets us have names of our own, in a namespace of mounts.
fn has_namespaces() -> bool {
    let mut command = Command::new("unshare");
    command.args(["-rm", "true"]).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

async fn closed() {
    let stage = Stage::plain().await;
    for (name, seed) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        let layers = [noise(100_000, seed), noise(50, 9)];
        let image = Image::of_blobs(layers)
            .push(&stage.source, name, None)
            .await;
        index(&stage.source, name, Some("1"), &[&image]).await;
    }
    // Of the first connections each is closed under its second request without a word, whatever that is.
    let manner = Manner::OneAnswer(6);
    let from = Wire::with(("127.0.0.1", &stage.source.host()), manner).await;
    let to = Wire::with(("127.0.0.1", &stage.destination.host()), manner).await;
    let lines = ["a", "b", "c", "d"].map(|name| format!("{}/{name}:1", from.host()));
    stage.place.write("list.txt", lines.join("\n"));
    let run_it = format!("mirror -f list.txt -d {} --report report.json", to.host());
    let ended = stage.place.run(&run_it).await;
    assert_eq!(ended.code(), Some(0), "{ended}\n{}", stage.logs());
    for name in ["a", "b", "c", "d"] {
        stage.same(name).await;
    }
    idle().await;
}

/// All connections are closed while nobody uses them.
async fn idle() {
    let stage = Stage::plain().await;
    let from = Wire::to(&stage.source.host()).await;
    let to = Wire::to(&stage.destination.host()).await;
    let (source, destination) = (stage.source, stage.destination);
    let road = Road::of(source, destination, quick());
    for tag in ["1", "2"] {
        let image = Image::of_blobs([noise(10_000, 1), tag.as_bytes().to_vec()]);
        image.push(&road.source, "app", Some(tag)).await;
    }
    let mut counts = Vec::new();
    let options = Options::default();
    for tag in ["1", "2"] {
        let name = |wire: &Wire| format!("{}/app:{tag}", wire.host());
        let names = (name(&from), name(&to));
        let reference = |name: &str| name.parse().expect("a reference");
        let (source, destination) = (reference(&names.0), reference(&names.1));
        road.source.clear_log();
        road.destination.clear_log();
        let copied = road.transfer(&source, &destination, &options);
        road.is_copied(copied.await);
        counts.push((from.accepted(), to.accepted()));
        // Nothing was asked twice.
        let writes = road.destination.writes();
        assert!(
            writes.iter().all(|write| write.status.is_some()),
            "{}",
            road.logs()
        );
        from.cut();
        to.cut();
    }
    assert!(
        counts[1].0 > counts[0].0 && counts[1].1 > counts[0].1,
        "{counts:?}"
    );
    let there = Contents::of(&road.destination, "app").await;
    assert_eq!(Contents::of(&road.source, "app").await, there);
}

/// Runs the program where `localhost` has these addresses, in this order.
async fn run_where(place: &Workplace, addresses: [&str; 2], arguments: &str) -> Ended {
    let hosts: String = addresses.map(|one| format!("{one} localhost\n")).concat();
    place.write("hosts", hosts);
    let own = place.command(arguments);
    let own = own.as_std();
    let mut command = process::Command::new("unshare");
    command
        .args(["-rm", "sh", "-c"])
        .arg("mount --bind hosts /etc/hosts && exec \"$@\"")
        .arg("sh")
        .arg(own.get_program())
        .args(own.get_args())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", place.path(""))
        .current_dir(place.path(""));
    place.run_command(command, arguments, "").await
}

/// `localhost` has two addresses. The system gives 127.0.0.1 first (RFC 6724, rule 9), and that is dead.
async fn dead_address() {
    let addresses = ["127.0.0.1", "127.0.0.2"];
    // Nobody is there.
    let stage = Stage::plain().await;
    Image::new(&["a"])
        .push(&stage.source, "app", Some("1"))
        .await;
    let from = elsewhere(&stage.source).await;
    let to = elsewhere(&stage.destination).await;
    let copy = format!("copy localhost:{}/app:1 localhost:{}/app:1", from.1, to.1);
    run_where(&stage.place, addresses, &copy).await.with(0);
    stage.same("app").await;
    // Somebody is there who does not even say no. TLS, so that one connection does.
    let source = TestRegistry::with(Settings {
        transport: Transport::Tls,
        ..Settings::default()
    });
    let source = source.await;
    let image = Image::new(&["a"]).push(&source, "app", Some("1")).await;
    let from = elsewhere(&source).await;
    let _silent = mute(&format!("127.0.0.1:{}", from.1)).await;
    stage.place.write("ca.pem", source.certificate());
    let inspect = format!("inspect localhost:{}/app:1 --raw --ca-file ca.pem", from.1);
    let ended = run_where(&stage.place, addresses, &inspect).await.with(0);
    assert_eq!(ended.stdout, image.bytes, "{ended}");
    assert_eq!(from.0.accepted(), 1);
}

/// A wire to a registry at 127.0.0.2, and its port.
async fn elsewhere(registry: &TestRegistry) -> (Wire, String) {
    let wire = Wire::with(("127.0.0.2", &registry.host()), Manner::Patient).await;
    let host = wire.host();
    let (_, port) = host.rsplit_once(':').expect("a port");
    (wire, port.to_owned())
}

/// Somebody who listens and has no time for anybody: connections to it do not come up.
async fn mute(address: &str) -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    let address: SocketAddr = address.parse().expect("an address");
    socket.bind(address).expect("the port is free");
    let listener = socket.listen(0).expect("it listens");
    let mut callers = Vec::new();
    // Its queue is full when one more does not come up.
    let patience = Duration::from_millis(200);
    while let Ok(caller) = tokio::time::timeout(patience, TcpStream::connect(address)).await {
        callers.push(caller.expect("a connection"));
    }
    (listener, callers)
}
