//! Debian's `docker-registry` (distribution 2.8) as source and destination, with its access log and
//! its storage laid open.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use consign::oci::{Algorithm, Digest, Digester};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::Child;
use tokio::task::JoinSet;

use super::token_service::{ISSUER, TokenService};
use crate::certificates::Authority;
use crate::harness::{Tool, Tools};
use crate::program::{signal, until};
use crate::relay::Port;

/// A registry in a folder of the trial, on loopback; dropped, it ends.
#[derive(Debug)]
pub(crate) struct Distribution {
    host: String,
    url: String,
    storage: PathBuf,
    log: Arc<Mutex<Vec<Access>>>,
    client: reqwest::Client,
    /// Kept while it is down.
    _port: Port,
    tools: Tools,
    settings: PathBuf,
    child: Child,
    readers: JoinSet<()>,
}

/// One request that was answered, as the access log has it. A registry writes it when the answer is
/// out, so of two that depend on each other the first stands first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// The method.
    pub(crate) method: String,
    /// The path, without the query.
    pub(crate) path: String,
    /// The query, or nothing.
    pub(crate) query: String,
    /// The status of the answer.
    pub(crate) status: u16,
}

impl Access {
    /// Reads a line of Apache's combined format.
    fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once("] \"")?;
        let (request, rest) = rest.split_once("\" ")?;
        let mut words = request.split(' ');
        let method = words.next()?.to_owned();
        let url = words.next()?;
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let status = rest.split(' ').next()?.parse().ok()?;
        Some(Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            status,
        })
    }

    /// Repository, kind (`blobs`, `manifests`, `blobs/uploads`, …) and what stands behind it.
    pub(crate) fn parts(&self) -> (&str, &str, &str) {
        let path = self.path.strip_prefix("/v2/").unwrap_or(&self.path);
        for kind in [
            "/blobs/uploads/",
            "/blobs/",
            "/manifests/",
            "/tags/",
            "/referrers/",
        ] {
            if let Some((repository, rest)) = path.split_once(kind) {
                return (repository, kind.trim_matches('/'), rest);
            }
        }
        ("", "", path)
    }

    /// A parameter of the query, with its escapes undone.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(self.query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    }

    /// The digest of the blob that this request brought, and the repository that has it now.
    pub(crate) fn blob_brought(&self) -> Option<(String, String)> {
        let (repository, "blobs/uploads", _) = self.parts() else {
            return None;
        };
        let parameter = match self.method.as_str() {
            "PUT" => "digest",
            "POST" => "mount",
            _ => return None,
        };
        let digest = (self.status == 201).then(|| self.parameter(parameter))??;
        Some((repository.to_owned(), digest))
    }
}

impl Distribution {
    /// Starts one under a name that no other registry of the trial has, and waits until it listens.
    pub(crate) async fn start(tools: &Tools, name: &str) -> Self {
        Self::with(tools, name, Setup::default()).await
    }

    /// One that lets in only those whom a file in the format of `htpasswd` names.
    pub(crate) async fn guarded(tools: &Tools, name: &str, users: &str) -> Self {
        let auth = htpasswd(tools, name, users);
        Self::with(tools, name, Setup { auth, tls: None }).await
    }

    /// One that lets in those who have a token of `service`. Where there was one of the same name
    /// before, it has the content of that one.
    pub(crate) async fn with_tokens(tools: &Tools, name: &str, service: &TokenService) -> Self {
        let path = tools.folder().join(format!("{name}.tokens.pem"));
        fs::write(&path, service.certificate()).expect("the certificate is written");
        let (realm, path) = (service.realm(), path.display());
        let auth = format!(
            "auth: {{ token: {{ realm: \"{realm}\", service: \"{name}\", issuer: \"{ISSUER}\", \
             rootcertbundle: \"{path}\" }} }}\n"
        );
        Self::with(tools, name, Setup { auth, tls: None }).await
    }

    /// One that speaks TLS, and only with those who show a certificate of `authority`; with `users`
    /// it asks for a password too.
    pub(crate) async fn behind_tls(
        tools: &Tools,
        name: &str,
        authority: &Authority,
        users: &str,
    ) -> Self {
        let setup = Setup {
            auth: htpasswd(tools, name, users),
            tls: Some(authority),
        };
        Self::with(tools, name, setup).await
    }

    async fn with(tools: &Tools, name: &str, setup: Setup<'_>) -> Self {
        let storage = tools.folder().join(name);
        let settings = tools.folder().join(format!("{name}.yml"));
        let (scheme, tls, client) = match setup.tls {
            None => ("http", String::new(), reqwest::Client::builder()),
            Some(authority) => {
                let (tls, client) = tls(tools, name, authority);
                ("https", tls, client)
            }
        };
        let port = Port::reserve();
        let host = port.host();
        let text = format!(
            "version: 0.1\n\
             log: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: \"{}\" }}, delete: {{ enabled: true }} }}\n\
             http: {{ addr: \"{host}\"{tls} }}\n\
             {}",
            storage.display(),
            setup.auth
        );
        fs::write(&settings, text).expect("the settings are written");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (child, readers) = launch(tools, &settings, &log).await;
        let client = client.no_proxy().build();
        Self {
            url: format!("{scheme}://{host}"),
            host,
            storage: storage.join("docker/registry/v2"),
            log,
            client: client.expect("a client"),
            _port: port,
            tools: tools.clone(),
            settings,
            child,
            readers,
        }
    }

    /// Stops it where it stands: it takes connections, and answers nothing (`SIGSTOP`).
    pub(crate) async fn freeze(&self) {
        signal(&self.child, "STOP").await;
    }

    /// Lets it go on where it was stopped.
    pub(crate) async fn thaw(&self) {
        signal(&self.child, "CONT").await;
    }

    /// Ends it at once; its port refuses connections, its storage stays.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("it runs");
        // What it wrote to the log is read to its end.
        while self.readers.join_next().await.is_some() {}
    }

    /// Starts it again on its port and its storage, after [`Distribution::kill`].
    pub(crate) async fn restart(&mut self) {
        let (child, readers) = launch(&self.tools, &self.settings, &self.log).await;
        (self.child, self.readers) = (child, readers);
    }

    /// Address and port.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// All that was asked of it since the start or the last [`Distribution::forget`].
    pub(crate) async fn log(&self) -> Vec<Access> {
        self.settle().await;
        self.entries().clone()
    }

    /// How many requests its log has, without waiting for those that are about to be written.
    pub(crate) fn log_length(&self) -> usize {
        self.entries().len()
    }

    /// Forgets all that was asked so far.
    pub(crate) async fn forget(&self) {
        self.settle().await;
        self.entries().clear();
    }

    fn entries(&self) -> std::sync::MutexGuard<'_, Vec<Access>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the log has all that was asked: an answer can arrive before its line is written. A
    /// request of our own marks the end of the log, until nothing more comes between two of them.
    async fn settle(&self) {
        const ENOUGH: u32 = 3;
        let mut length = self.log_length();
        let mut quiet = 0;
        while quiet < ENOUGH {
            let url = format!("{}/v2/?mark", self.url);
            self.client.get(url).send().await.expect("it answers");
            until("a mark in the log", || {
                let mut entries = self.entries();
                let mark = entries.iter().position(|entry| entry.query == "mark")?;
                entries.remove(mark);
                Some(())
            })
            .await;
            let now = self.log_length();
            quiet = if now == length { quiet + 1 } else { 0 };
            length = now;
        }
    }

    /// The digests of all blobs and manifests in its storage, each hashed anew.
    pub(crate) fn stored(&self) -> BTreeSet<String> {
        let mut digests = BTreeSet::new();
        for file in files(&self.storage.join("blobs")) {
            let digest = digest_of(&file);
            let folder = file.parent().and_then(Path::file_name);
            assert_eq!(
                folder.expect("a folder").to_string_lossy(),
                digest.hex(),
                "the bytes are others than the name says"
            );
            digests.insert(digest.to_string());
        }
        digests
    }

    /// What its repositories have, file by file: blobs, manifests, and what each tag names. Uploads
    /// that were broken off are the registry's own to clean up.
    pub(crate) fn links(&self) -> BTreeMap<String, String> {
        let root = self.storage.join("repositories");
        let mut links = BTreeMap::new();
        for file in files(&root) {
            let name = file.strip_prefix(&root).expect("it is below");
            let name = name.to_string_lossy().into_owned();
            if !name.contains("/_uploads/") {
                let content = fs::read_to_string(&file).expect("it reads");
                links.insert(name, content);
            }
        }
        links
    }
}

/// What is special about a registry.
#[derive(Default)]
struct Setup<'a> {
    /// Who may come in, as it stands in the settings.
    auth: String,
    /// Who vouches for the registry and for its clients.
    tls: Option<&'a Authority>,
}

fn htpasswd(tools: &Tools, name: &str, users: &str) -> String {
    let path = tools.folder().join(format!("{name}.htpasswd"));
    fs::write(&path, users).expect("the users are written");
    let path = path.display();
    format!("auth: {{ htpasswd: {{ realm: \"{name}\", path: \"{path}\" }} }}\n")
}

/// The settings of TLS, and a client that is let in.
fn tls(tools: &Tools, name: &str, authority: &Authority) -> (String, reqwest::ClientBuilder) {
    let server = authority.server(&["localhost", "127.0.0.1"]);
    let [certificate, key, clients] = [
        ("crt", server.certificate),
        ("key", server.key),
        ("clients", authority.pem()),
    ]
    .map(|(kind, text)| {
        let path = tools.folder().join(format!("{name}.{kind}.pem"));
        fs::write(&path, text).expect("it is written");
        path.display().to_string()
    });
    let settings = format!(
        ", tls: {{ certificate: \"{certificate}\", key: \"{key}\", clientcas: [\"{clients}\"] }}"
    );
    let client = authority.client();
    let identity = format!("{}{}", client.certificate, client.key);
    let identity = reqwest::Identity::from_pem(identity.as_bytes()).expect("an identity");
    let known = reqwest::Certificate::from_der(&authority.der()).expect("a certificate");
    let builder = reqwest::Client::builder().tls_certs_only([known]);
    (settings, builder.identity(identity))
}

/// Starts one with these settings, and waits until it listens.
async fn launch(
    tools: &Tools,
    settings: &Path,
    log: &Arc<Mutex<Vec<Access>>>,
) -> (Child, JoinSet<()>) {
    let mut child = tools
        .command(Tool::Registry)
        .arg("serve")
        .arg(settings)
        .env("OTEL_TRACES_EXPORTER", "none")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let accesses = BufReader::new(child.stdout.take().expect("it has a log")).lines();
    let mut messages = BufReader::new(child.stderr.take().expect("it has messages")).lines();
    listens(&mut messages).await;
    // A log that nobody reads would hold it up, and one that is closed would end it.
    let mut readers = JoinSet::new();
    readers.spawn(async move { while let Ok(Some(_)) = messages.next_line().await {} });
    readers.spawn(keep(accesses, Arc::clone(log)));
    (child, readers)
}

async fn listens(messages: &mut Lines<impl AsyncBufRead + Unpin>) {
    let mut seen = Vec::new();
    while let Some(line) = messages.next_line().await.expect("it reads") {
        if line.contains("listening on ") {
            return;
        }
        seen.push(line);
    }
    panic!("it ended: {seen:#?}");
}

async fn keep(mut lines: Lines<impl AsyncBufRead + Unpin>, log: Arc<Mutex<Vec<Access>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(access) = Access::parse(&line) {
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(access);
        }
    }
}

fn digest_of(file: &Path) -> Digest {
    let mut file = File::open(file).expect("it opens");
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        match file.read(&mut chunk).expect("it reads") {
            0 => return digester.finish(),
            length => digester.update(&chunk[..length]),
        }
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.expect("it reads").path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}
