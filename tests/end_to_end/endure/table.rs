//! The harness of these trials: scripts that read like tables, and the relay.

use std::time::Duration;

use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::whole::written_whole;
use crate::harness::trial;
use crate::program::until;
use crate::registry::{Active, Image, Pushed, Settings, Sparse, TestRegistry, index};
use crate::relay::{End, Relay, Way};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("harness::a_script_of_faults_reads_like_a_table", script),
        trial(
            "harness::a_line_that_is_no_fault_is_named",
            lines_that_are_none,
        ),
        trial("harness::what_was_asked_is_compared_with_a_table", asked),
        trial("harness::what_is_written_too_early_is_noticed", too_early),
        trial("harness::a_relay_cuts_refuses_and_leads_elsewhere", relay),
    ]
}

async fn get(registry: &TestRegistry, path: &str, range: &str) -> Option<(u16, Vec<u8>)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.get(format!("{}{path}", registry.url()));
    let request = if range.is_empty() {
        request
    } else {
        request.header("range", range)
    };
    let answer = request.send().await.ok()?;
    let status = answer.status().as_u16();
    Some((status, answer.bytes().await.ok()?.to_vec()))
}

async fn script() {
    let registry = TestRegistry::start().await;
    let image = Image::of_blobs([vec![7; 1000]]).push(&registry, "app", None);
    let path = format!("/v2/app/blobs/{}", image.await.blobs[1]);
    let rules = registry.script(
        r#"
        # method  path           which  fault
        GET       */blobs/*      1      503 retry-after 1 error BUSY
        GET       */blobs/*      2-3    cut after 10
        GET       */blobs/*      4      answer 429
        GET       */blobs/*      5      hang up
        GET       */blobs/*      6      ignore range
        GET       */blobs/*      7-     200 body "two words"
        HEAD      *              *      lose answer
        "#,
    );
    let status = |answer: Option<(u16, Vec<u8>)>| answer.map(|(status, _)| status);
    assert_eq!(status(get(&registry, &path, "").await), Some(503));
    assert_eq!(get(&registry, &path, "").await, None);
    assert_eq!(get(&registry, &path, "").await, None);
    assert_eq!(status(get(&registry, &path, "").await), Some(429));
    assert_eq!(get(&registry, &path, "").await, None);
    let whole = Some((200, vec![7; 1000]));
    assert_eq!(get(&registry, &path, "bytes=10-").await, whole);
    for _ in 0..2 {
        let words = Some((200, b"two words".to_vec()));
        assert_eq!(get(&registry, &path, "").await, words);
    }
    let hits: Vec<usize> = rules.iter().map(Active::hits).collect();
    assert_eq!(hits, [1, 2, 1, 1, 1, 2, 0]);
}

async fn lines_that_are_none() {
    let registry = TestRegistry::start().await;
    for bad in [
        "GET",
        "GET *",
        "GET * 1",
        "GET * 0x 503",
        "GET * 2-1 503",
        "GET * * burst into tears",
        "GET * * 503 retry-after",
        "GET * * cut after ten",
        "GET * * trickle 5 every 3",
    ] {
        let said = registry.try_script(&format!("HEAD * * stall\n{bad}"));
        let said = said.expect_err(bad);
        assert!(said.contains(bad), "{bad}: {said}");
    }
    get(&registry, "/v2/", "").await;
    for bad in ["GET", "GET *", "GET * some", "GET * 1 of many"] {
        let said = registry.compare(bad).expect_err(bad);
        assert!(said.contains(bad), "{bad}: {said}");
    }
}

async fn asked() {
    let registry = TestRegistry::start().await;
    get(&registry, "/v2/", "").await;
    get(&registry, "/v2/app/blobs/x", "").await;
    get(&registry, "/v2/app/blobs/x", "bytes=70-").await;
    registry.asked(
        "
        GET  /v2/         1    200
        GET  */blobs/*    1    from 0 as nobody received 0
        GET  */blobs/*    1-   from 70 later
        HEAD *            0-3
        ",
    );
    registry.asked("* * *");
    registry.asked("* * 3");
    for (table, why) in [
        ("GET /v2/ 1", "not to be asked"),
        ("* * 2", "not to be asked"),
        ("* * 4-", "asked 3 times"),
        ("* * *\nHEAD * 1", "asked 0 times"),
        ("GET /v2/ 1\nGET */x 2 from 0", "not to be asked"),
        (
            "GET /v2/ 1\nGET */x 1 from 70\nGET */x 1 from 0",
            "came before",
        ),
        ("GET /v2/ 1 as Basic\n* * 2", "not to be asked"),
        ("GET /v2/ 1 201\n* * 2", "not to be asked"),
    ] {
        let said = registry.compare(table).expect_err(table);
        assert!(said.contains(why), "{table}: {said}");
    }
}

/// An index of two images, the second of which comes after it.
async fn too_early() {
    let settings = Settings {
        sparse: Sparse::Taken,
        ..Settings::default()
    };
    let registry = TestRegistry::with(settings).await;
    let mut children = Vec::new();
    for layer in ["one", "two"] {
        let image = Image::new(&[layer]).push(&registry, "app", None);
        children.push(image.await);
    }
    let all = index(&registry, "app", None, &[&children[0], &children[1]]).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let put = async |name: &str, manifest: &Pushed| {
        let put = client.put(format!("{}/v2/app/manifests/{name}", registry.url()));
        let put = put.header("content-type", manifest.media_type.to_string());
        let answer = put.body(manifest.bytes.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 201);
    };
    // All of it is there already, without a request that says so.
    for blob in children.iter().flat_map(|child| &child.blobs) {
        let head = format!("{}/v2/app/blobs/{blob}", registry.url());
        client.head(head).send().await.unwrap();
    }
    put(&children[0].digest.to_string(), &children[0]).await;
    assert_eq!(written_whole(&registry, "app").await, Ok(1));
    put("1", &all).await;
    put(&children[1].digest.to_string(), &children[1]).await;
    let early = written_whole(&registry, "app").await.unwrap_err();
    assert!(
        early.contains("manifests/1") && early.contains(&children[1].digest.to_string()),
        "{early}"
    );
}

/// Somebody who sends back what he gets, for as long as the tasks live, and his address.
async fn echo(tasks: &mut JoinSet<()>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    host
}

/// What comes back of `bytes` bytes, and how it ended.
async fn sent(host: &str, bytes: usize) -> (usize, Option<std::io::ErrorKind>) {
    let mut stream = TcpStream::connect(host).await.unwrap();
    let mut back = vec![0; bytes];
    let mut count = 0;
    stream.write_all(&vec![1; bytes]).await.unwrap();
    while count < bytes {
        match stream.read(&mut back[count..]).await {
            Ok(0) => return (count, None),
            Ok(length) => count += length,
            Err(error) => return (count, Some(error.kind())),
        }
    }
    (count, None)
}

async fn relay() {
    let reset = Some(std::io::ErrorKind::ConnectionReset);
    let mut tasks = JoinSet::new();
    let backend = echo(&mut tasks).await;
    let relay = Relay::start(&backend).cut(Way::Out, 3000, (2, End::Reset));
    assert_eq!(sent(&relay.host(), 2000).await, (2000, None));
    for _ in 0..2 {
        assert_eq!(sent(&relay.host(), 5000).await, (3000, reset));
    }
    assert_eq!(sent(&relay.host(), 5000).await, (5000, None));
    // The last bytes are counted when they are on the wire, and may be here before.
    until("all to be counted", || {
        (relay.passed(Way::Out) >= 13_000).then_some(())
    })
    .await;
    assert_eq!(relay.passed(Way::Out), 13_000);
    assert_eq!(relay.passed(Way::In), 17_000);

    let relay = Relay::start(&backend).cut(Way::Out, 3000, (1, End::Close));
    assert_eq!(sent(&relay.host(), 5000).await, (3000, None));

    // Gone, back, and another one.
    relay.refuse().await;
    let refused = TcpStream::connect(relay.host()).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    relay.accept();
    assert_eq!(sent(&relay.host(), 10).await, (10, None));
    let held = Relay::start(&backend).hold(Way::In, 5);
    relay.lead_to(&held.host());
    let host = relay.host();
    let (count, ()) = tokio::join!(sent(&host, 10), async {
        held.held(Way::In).await;
        assert_eq!(held.passed(Way::In), 0);
        held.open();
    });
    assert_eq!(count, (10, None));

    // Slow in one of the two ways.
    for slow in [
        Relay::start(&backend).narrow(Way::In, 100_000),
        Relay::start(&backend).delay(Way::Out, Duration::from_millis(50)),
    ] {
        let began = std::time::Instant::now();
        for _ in 0..2 {
            sent(&slow.host(), 5000).await;
        }
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
