//! The limits of answers, each with what is just within and what is just beyond it. What answers here is no
//! HTTP server, for none sends such things.

use std::io;
use std::sync::Arc;

use consign::limits::answer::{CHUNK_EXTRAS_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, REDIRECTS_MAX};
use consign::oci::{Reference, Repository};
use consign::registry::Settings;
use libtest_mimic::Trial;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{impatient, new_client, quick, reference};
use crate::harness::trial;
use crate::registry::{Image, TestRegistry, when};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("limits::heads_and_chunks_beyond_a_limit_name_it", parts),
        trial("limits::an_answer_without_end_is_given_up", endless),
        trial(
            "limits::redirects_are_followed_so_often_and_no_more",
            redirects,
        ),
        trial("limits::thousands_of_challenges_do_no_harm", challenges),
    ]
}

/// What is sent for every request but the first one of the API.
#[derive(Clone)]
struct Script {
    /// Once.
    begin: Arc<[u8]>,
    /// Again and again, until the other end has enough.
    rest: Option<Arc<[u8]>>,
}

impl Script {
    fn of(begin: impl Into<Vec<u8>>) -> Self {
        Self {
            begin: begin.into().into(),
            rest: None,
        }
    }

    fn for_ever(begin: &str, rest: &str) -> Self {
        Self {
            begin: begin.as_bytes().into(),
            rest: Some(rest.as_bytes().into()),
        }
    }

    /// An answer with these headers and a list of no tags.
    fn with(headers: &str) -> Self {
        let body = r#"{"name":"app","tags":[]}"#;
        let length = body.len();
        Self::of(format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    }
}

/// Answers as the script says on loopback, without TLS; dropped, it ends.
struct Server {
    repository: Repository,
    _tasks: JoinSet<()>,
}

impl Server {
    async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let host = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer(stream, script.clone()));
            }
        });
        let reference: Reference = format!("{host}/app").parse().expect("a reference");
        Self {
            repository: reference.repository,
            _tasks: tasks,
        }
    }

    /// What a client makes of it.
    async fn tags(&self, settings: Settings) -> Result<usize, String> {
        let tags = new_client(settings).tags(&self.repository).await;
        tags.map(|tags| tags.len()).map_err(|error| {
            let error: &dyn std::error::Error = &error;
            let chain = std::iter::successors(Some(error), |error| error.source());
            let words: Vec<String> = chain.map(ToString::to_string).collect();
            words.join(": ")
        })
    }
}

async fn answer(mut stream: TcpStream, script: Script) -> io::Result<()> {
    let mut head = Vec::new();
    loop {
        head.push(stream.read_u8().await?);
        // A client hello: there is no TLS here.
        if head.first() == Some(&0x16) {
            return Ok(());
        }
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let is_first = head.starts_with(b"GET /v2/ ");
        head.clear();
        if is_first {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await?;
            continue;
        }
        stream.write_all(&script.begin).await?;
        while let Some(rest) = &script.rest {
            stream.write_all(rest).await?;
        }
    }
}

async fn parts() {
    let headers = |count: usize| {
        let all: Vec<String> = (0..count).map(|n| format!("X-{n}: y\r\n")).collect();
        all.concat()
    };
    let long = |length: usize| format!("X: {}\r\n", "y".repeat(length));
    let chunked = |size: &str, after: &str| {
        let body = r#"{"name":"app","tags":[]}"#;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        Script::of(format!(
            "{head}{:x}{size}\r\n{body}\r\n0\r\n{after}\r\n",
            body.len()
        ))
    };
    let extension = |length: usize| chunked(&format!(";x={}", "y".repeat(length)), "");
    let trailer = |length: usize| chunked("", &format!("X: {}\r\n", "y".repeat(length)));
    let cases = [
        // One more is the length of the body.
        (Script::with(&headers(HEADERS_MAX - 1)), None),
        (Script::with(&headers(HEADERS_MAX)), Some("100 headers")),
        (Script::with(&long(60 * 1024)), None),
        (Script::with(&long(HEAD_BYTES_MAX - 1024)), None),
        (extension(CHUNK_EXTRAS_BYTES_MAX - 100), None),
        (extension(CHUNK_EXTRAS_BYTES_MAX + 1), Some("16 KiB")),
        (trailer(CHUNK_EXTRAS_BYTES_MAX - 100), None),
        (trailer(CHUNK_EXTRAS_BYTES_MAX + 1), Some("16 KiB")),
    ];
    for (number, (script, beyond)) in cases.into_iter().enumerate() {
        let server = Server::start(script).await;
        let tags = server.tags(quick()).await;
        match (beyond, tags) {
            (None, tags) => assert_eq!(tags, Ok(0), "{number}"),
            (Some(beyond), Err(error)) => assert!(error.contains(beyond), "{number}: {error}"),
            (Some(_), Ok(_)) => panic!("{number} is not refused"),
        }
    }
}

async fn endless() {
    let cases = [
        ("HTTP/1.1 200 OK\r\n", "X: y\r\n", "408 KiB"),
        ("HTTP/1.1 200 OK\r\nX: ", "yyyyyyyyyyyyyyyy", "408 KiB"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            "X: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n",
            "16 KiB",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=",
            "yyyyyyyyyyyyyyyyyyyy",
            "16 KiB",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "10\r\n                \r\n",
            "4194304 bytes",
        ),
    ];
    for (begin, rest, beyond) in cases {
        let server = Server::start(Script::for_ever(begin, &rest.repeat(1000))).await;
        let error = server.tags(quick()).await.unwrap_err();
        assert!(error.contains(beyond), "{begin}: {error}");
    }
    // Announced for ever, it never comes.
    for informational in [
        "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        let server = Server::start(Script::for_ever("", &informational.repeat(100))).await;
        let second = std::time::Duration::from_secs(1);
        let error = server.tags(impatient(second)).await.unwrap_err();
        assert!(error.contains("no progress"), "{informational}: {error}");
    }
}

async fn redirects() {
    for (count, is_followed) in [(REDIRECTS_MAX, true), (REDIRECTS_MAX + 1, false)] {
        let registry = TestRegistry::start().await;
        Image::new(&["a"]).push(&registry, "app", Some("1")).await;
        for hop in 1..=count {
            let to = format!("/v2/app/tags/list?hop={hop}");
            registry.rule(when("GET", "*/tags/list").nth(hop).redirect(&to));
        }
        let client = new_client(quick());
        let tags = client.tags(&reference(&registry, "app").repository).await;
        match tags {
            Ok(tags) => assert!(is_followed && tags.len() == 1, "{count}"),
            Err(error) => {
                assert!(!is_followed, "{count}: {error}");
                assert!(error.to_string().contains("more than 5 times"), "{error}");
            }
        }
    }
}

/// In as many headers as may be, or in one as long as may be.
async fn challenges() {
    let many = "WWW-Authenticate: Digest realm=\"x\", nonce=\"y\"\r\n".repeat(HEADERS_MAX - 1);
    let one = vec!["Digest realm=\"x\", nonce=\"y\""; 10_000].join(", ");
    let open = format!(
        "WWW-Authenticate: Bearer realm=\"{}\r\n",
        "x".repeat(300_000)
    );
    for headers in [many, format!("WWW-Authenticate: {one}\r\n"), open] {
        let script = Script::of(format!(
            "HTTP/1.1 401 Unauthorized\r\n{headers}Content-Length: 0\r\n\r\n"
        ));
        let server = Server::start(script).await;
        let error = server.tags(quick()).await.unwrap_err();
        assert!(error.contains("was not allowed"), "{error}");
        assert!(error.len() < 1000, "{} bytes", error.len());
    }
}
