//! Where the trials of signatures take place: a registry of each kind, images in it, and the program
//! with keys at hand.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;

use consign::oci::Digest;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Tool, Tools, with_tools};
use crate::program::{Ended, Running, Workplace, until};
use crate::real::distribution::{Access, Distribution};
use crate::registry::TestRegistry;

/// The passphrase of all keys in `testdata/sigstore`, which are test keys.
pub(crate) const PASSPHRASE: &str = "test passphrase";

/// What an OCI index is called.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What an OCI manifest is called.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Which registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `docker-registry` of Debian, without the referrers API.
    Debian,
    /// The built program's `serve`, with it.
    Serve,
    /// The same `serve` in this process, whose log can be read.
    Logged,
}

/// The test `name` of an async function, once on `docker-registry` and once on the other `kind`.
pub(crate) fn on_both<F>(
    name: &str,
    (other, tools): (Kind, &[Tool]),
    body: fn(Tools, Kind) -> F,
) -> [Trial; 2]
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut all = tools.to_vec();
    all.push(Tool::Registry);
    let debian = move |tools| body(tools, Kind::Debian);
    let ours = move |tools| body(tools, other);
    [
        with_tools(
            &format!("signatures::{name}_on_docker_registry"),
            &all,
            debian,
        ),
        with_tools(&format!("signatures::{name}_on_serve"), tools, ours),
    ]
}

/// A registry on loopback that nobody has to log in to; dropped, it ends.
#[derive(Debug)]
pub(crate) enum Registry {
    /// See [`Kind::Debian`].
    Debian(Distribution),
    /// See [`Kind::Serve`].
    Serve(Served),
    /// See [`Kind::Logged`].
    Logged(TestRegistry),
}

/// The built program's `serve` at work, in memory.
#[derive(Debug)]
pub(crate) struct Served {
    host: String,
    _running: Running,
    _place: Workplace,
}

impl Served {
    async fn start() -> Self {
        let place = Workplace::new();
        let running = place.start("serve --listen 127.0.0.1:0");
        let host = until("an address", || {
            let line = running.stdout();
            let url = line.strip_suffix('\n')?;
            Some(url.strip_prefix("http://").expect("a URL").to_owned())
        })
        .await;
        Self {
            host,
            _running: running,
            _place: place,
        }
    }
}

impl Registry {
    /// An empty one, under a name that no other of the trial has.
    pub(crate) async fn start(tools: &Tools, kind: Kind, name: &str) -> Self {
        match kind {
            Kind::Debian => Self::Debian(Distribution::start(tools, name).await),
            Kind::Serve => Self::Serve(Served::start().await),
            Kind::Logged => Self::Logged(TestRegistry::start().await),
        }
    }

    /// Address and port.
    pub(crate) fn host(&self) -> String {
        match self {
            Self::Debian(registry) => registry.host().to_owned(),
            Self::Serve(served) => served.host.clone(),
            Self::Logged(registry) => registry.host(),
        }
    }

    /// All that was asked of it since the start or the last [`Registry::forget`].
    pub(crate) async fn log(&self) -> Vec<Access> {
        match self {
            Self::Debian(registry) => registry.log().await,
            Self::Serve(_) => panic!("it keeps no log"),
            Self::Logged(registry) => {
                let logged = registry.log().into_iter();
                let access = logged.map(|logged| Access {
                    method: logged.method.to_string(),
                    path: logged.path,
                    query: logged.query,
                    status: logged.status.unwrap_or(0),
                });
                access.collect()
            }
        }
    }

    /// Forgets all that was asked so far.
    pub(crate) async fn forget(&self) {
        match self {
            Self::Debian(registry) => registry.forget().await,
            Self::Serve(_) => panic!("it keeps no log"),
            Self::Logged(registry) => registry.clear_log(),
        }
    }

    /// The requests that would change something, whatever was answered.
    pub(crate) async fn writes(&self) -> Vec<Access> {
        let mut log = self.log().await;
        log.retain(|access| !matches!(access.method.as_str(), "GET" | "HEAD"));
        log
    }
}

/// An image in a registry.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    /// Address and port of its registry.
    pub(crate) host: String,
    /// Its path there.
    pub(crate) repository: String,
    /// Its tag.
    pub(crate) tag: String,
    /// The digest that the tag names: of the index, or of the image of the one platform.
    pub(crate) digest: Digest,
    /// Its platforms and their manifests; nothing for a single image.
    pub(crate) children: Vec<(String, Digest)>,
}

impl Made {
    /// The line of a list, without the registry.
    pub(crate) fn line(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }

    /// `REGISTRY/REPOSITORY`.
    pub(crate) fn place(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// The whole name by the tag.
    pub(crate) fn by_tag(&self) -> String {
        format!("{}:{}", self.place(), self.tag)
    }

    /// The whole name by the digest.
    pub(crate) fn by_digest(&self) -> String {
        format!("{}@{}", self.place(), self.digest)
    }

    /// The names of the manifests of its platforms.
    pub(crate) fn children(&self) -> Vec<String> {
        let child = |(_, digest): &(String, Digest)| format!("{}@{digest}", self.place());
        self.children.iter().map(child).collect()
    }

    /// All names: by tag, by digest, and of each platform by digest.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = vec![self.by_tag(), self.by_digest()];
        names.extend(self.children());
        names
    }

    /// The digests of everything that can be signed of it.
    pub(crate) fn digests(&self) -> Vec<Digest> {
        let mut digests = vec![self.digest];
        digests.extend(self.children.iter().map(|(_, digest)| *digest));
        digests
    }

    /// The same image in another registry.
    pub(crate) fn at(&self, host: &str) -> Self {
        Self {
            host: host.to_owned(),
            ..self.clone()
        }
    }
}

/// A stand: tools, a workplace, and a client to put things into registries with.
#[derive(Debug)]
pub(crate) struct Stand {
    /// The tools of the trial.
    pub(crate) tools: Tools,
    /// Where the program runs.
    pub(crate) place: Workplace,
    client: reqwest::Client,
    /// Blobs that were put somewhere already: where, and their digest.
    blobs: Mutex<HashSet<(String, Digest)>>,
}

impl Stand {
    /// A stand with an empty workplace.
    pub(crate) fn new(tools: Tools) -> Self {
        let client = reqwest::Client::builder().no_proxy().build();
        Self {
            tools,
            place: Workplace::new(),
            client: client.expect("a client"),
            blobs: Mutex::default(),
        }
    }

    /// Runs the program, which finds the passphrase of the test keys in its environment.
    pub(crate) async fn run(&self, arguments: &str) -> Ended {
        let passphrase = [("COSIGN_PASSWORD", PathBuf::from(PASSPHRASE))];
        self.place.run_with(arguments, &passphrase).await
    }

    /// Runs the program and gives the results that it prints, one for each line.
    pub(crate) async fn results(&self, arguments: &str, code: i32) -> Vec<Value> {
        let ended = self.run(&format!("{arguments} --output json")).await;
        ended.with(code).json_lines()
    }

    /// Writes the images into `list.txt`, without their registry.
    pub(crate) fn list(&self, images: &[Made]) {
        let lines: Vec<String> = images.iter().map(Made::line).collect();
        self.place.write("list.txt", lines.join("\n") + "\n");
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Response {
        let answer = request.send().await.expect("it answers");
        let status = answer.status();
        assert!(status.is_success(), "{status} for {}", answer.url());
        answer
    }

    /// Puts a blob into a repository.
    pub(crate) async fn blob(&self, place: (&str, &str), bytes: &[u8]) -> Digest {
        let (host, repository) = place;
        let digest = Digest::sha256(bytes);
        let known = (format!("{host}/{repository}"), digest);
        let mut blobs = self.blobs.lock().await;
        if blobs.contains(&known) {
            return digest;
        }
        let url = format!("http://{host}/v2/{repository}/blobs/uploads/");
        let opened = self.send(self.client.post(&url).body("")).await;
        let location = opened.headers().get("location").expect("a location");
        let location = location.to_str().expect("text");
        let url = opened.url().join(location).expect("a URL");
        let parameter = if url.query().is_some() { '&' } else { '?' };
        let url = format!("{url}{parameter}digest={digest}");
        let put = self.client.put(url).body(bytes.to_vec());
        self.send(put).await;
        blobs.insert(known);
        digest
    }

    /// Puts a manifest into a repository, by tag, or without one by its digest; and describes it.
    pub(crate) async fn manifest(
        &self,
        (host, repository): (&str, &str),
        tag: Option<&str>,
        document: &Value,
    ) -> Value {
        let bytes = document.to_string();
        let digest = Digest::sha256(bytes.as_bytes());
        let media_type = document["mediaType"].as_str().expect("a type");
        let name = tag.map_or_else(|| digest.to_string(), str::to_owned);
        let url = format!("http://{host}/v2/{repository}/manifests/{name}");
        let size = bytes.len();
        let put = self.client.put(url).header("content-type", media_type);
        self.send(put.body(bytes)).await;
        json!({ "mediaType": media_type, "digest": digest, "size": size })
    }

    /// The manifest under a tag or digest, where there is one.
    pub(crate) async fn get(
        &self,
        (host, repository): (&str, &str),
        name: &str,
    ) -> Option<Vec<u8>> {
        let url = format!("http://{host}/v2/{repository}/manifests/{name}");
        let get = self
            .client
            .get(url)
            .header("accept", format!("{MANIFEST}, {INDEX}"));
        let answer = get.send().await.expect("it answers");
        if answer.status() == 404 {
            return None;
        }
        assert!(answer.status().is_success(), "{}", answer.status());
        Some(answer.bytes().await.expect("it arrives").to_vec())
    }

    /// Makes an image of these platforms (`OS/ARCHITECTURE[/VARIANT]`), each of one layer. Images of
    /// the same name are the same everywhere, those of other names are others.
    pub(crate) async fn image(&self, registry: &Registry, name: &str, platforms: &[&str]) -> Made {
        let host = registry.host();
        let (repository, tag) = name.rsplit_once(':').expect("a tag");
        let at = (host.as_str(), repository);
        let mut entries = Vec::new();
        for platform in platforms {
            let mut entry = self.platform(at, platform, name).await;
            entry["platform"] = parts(platform);
            entries.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = self.manifest(at, Some(tag), &index).await;
        let child = |(platform, entry): (&&str, &Value)| ((*platform).to_owned(), digest(entry));
        Made {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest(&index),
            children: platforms.iter().zip(&entries).map(child).collect(),
            host,
        }
    }

    /// Makes an image of one platform, without an index.
    pub(crate) async fn single(&self, registry: &Registry, name: &str) -> Made {
        let host = registry.host();
        let (repository, tag) = name.rsplit_once(':').expect("a tag");
        let document = self
            .document((&host, repository), "linux/amd64", name)
            .await;
        let manifest = self
            .manifest((&host, repository), Some(tag), &document)
            .await;
        Made {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest(&manifest),
            children: Vec::new(),
            host,
        }
    }

    /// Makes images of these names, and of these platforms; one after the other, as `docker-registry`
    /// takes a blob for missing while another push of it is written down.
    pub(crate) async fn images(
        &self,
        registry: &Registry,
        names: impl IntoIterator<Item = String>,
        platforms: &[&str],
    ) -> Vec<Made> {
        let mut images = Vec::new();
        for name in names {
            images.push(self.image(registry, &name, platforms).await);
        }
        images
    }

    /// Makes an image of two platforms, each with an attestation manifest beside it as `BuildKit` writes
    /// it; the children are the platforms, then the attestations.
    pub(crate) async fn attested(&self, registry: &Registry, name: &str) -> Made {
        let host = registry.host();
        let (repository, tag) = name.rsplit_once(':').expect("a tag");
        let at = (host.as_str(), repository);
        let mut entries = Vec::new();
        let mut children = Vec::new();
        for platform in TWO {
            let mut entry = self.platform(at, platform, name).await;
            entry["platform"] = parts(platform);
            children.push(((*platform).to_owned(), digest(&entry)));
            entries.push(entry);
        }
        for (_, subject) in children.clone() {
            let unknown = "unknown/unknown";
            let mut entry = self
                .platform(at, unknown, &format!("{name} {subject}"))
                .await;
            entry["platform"] = parts(unknown);
            entry["annotations"] = json!({
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": subject,
            });
            children.push((unknown.to_owned(), digest(&entry)));
            entries.push(entry);
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let index = self.manifest(at, Some(tag), &index).await;
        Made {
            repository: repository.to_owned(),
            tag: tag.to_owned(),
            digest: digest(&index),
            children,
            host,
        }
    }

    async fn platform(&self, at: (&str, &str), platform: &str, name: &str) -> Value {
        let document = self.document(at, platform, name).await;
        self.manifest(at, None, &document).await
    }

    async fn document(&self, at: (&str, &str), platform: &str, name: &str) -> Value {
        let layer = format!("a layer for {platform}");
        let diff_id = self.blob(at, layer.as_bytes()).await;
        let mut config = parts(platform);
        config["config"] = json!({ "Cmd": ["/run"] });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [diff_id] });
        let config = config.to_string();
        let config_digest = self.blob(at, config.as_bytes()).await;
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config_digest, "size": config.len() },
            "layers": [{ "mediaType": LAYER, "digest": diff_id, "size": layer.len() }],
            "annotations": { "org.example.name": name },
        })
    }
}

fn digest(descriptor: &Value) -> Digest {
    let text = descriptor["digest"].as_str().expect("a digest");
    text.parse().expect("a digest")
}

fn parts(platform: &str) -> Value {
    let mut words = platform.split('/');
    let mut next = || words.next().map(str::to_owned);
    let mut parts = json!({ "os": next(), "architecture": next() });
    if let Some(variant) = next() {
        parts["variant"] = variant.into();
    }
    parts
}

/// A test key of `testdata/sigstore`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(pub(crate) &'static str);

/// The key that most trials sign with.
pub(crate) const OURS: Key = Key("p256");
/// One that has nothing to do with it.
pub(crate) const OTHER: Key = Key("cosign2");

impl Key {
    /// The file of the private key.
    pub(crate) fn private(self) -> String {
        format!("{self}.key")
    }

    /// The file of the public key.
    pub(crate) fn public(self) -> String {
        format!("{self}.pub")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/sigstore");
        write!(f, "{folder}/{}", self.0)
    }
}

/// Two platforms that are validated unless others are asked for.
pub(crate) const TWO: &[&str] = &["linux/amd64", "linux/arm64"];
