//! Debian's `docker-registry` (distribution 2.8), a registry of others: no referrers API, tags in no
//! order and in one page, deletion by digest only.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;
use tokio::task::JoinSet;

use crate::harness::{Tool, Tools};

/// A registry in a folder of the test, on loopback; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Distribution {
    host: String,
    _child: Child,
    _reader: JoinSet<()>,
}

impl Distribution {
    /// Starts one and waits until it listens.
    pub(crate) async fn start(tools: &Tools) -> Self {
        let root = tools.folder().join("distribution");
        let settings = tools.folder().join("distribution.yml");
        let text = format!(
            "version: 0.1\n\
             log: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }}, delete: {{ enabled: true }} }}\n\
             http: {{ addr: \"127.0.0.1:0\" }}\n",
            root.display()
        );
        std::fs::write(&settings, text).expect("the settings are written");
        let mut child = tools
            .command(Tool::Registry)
            .arg("serve")
            .arg(settings)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = child.stderr.take().expect("it has a log");
        let mut lines = BufReader::new(log).lines();
        let mut seen = Vec::new();
        let host = loop {
            let Some(line) = lines.next_line().await.expect("the log reads") else {
                panic!("it ended: {seen:#?}");
            };
            if let Some((_, rest)) = line.split_once("listening on ") {
                break rest.split('"').next().unwrap_or_default().to_owned();
            }
            seen.push(line);
        };
        // A log that nobody reads would hold it up, and one that is closed would end it.
        let mut reader = JoinSet::new();
        reader.spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Self {
            host,
            _child: child,
            _reader: reader,
        }
    }

    /// Address and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }
}
