//! `rig limit`: what cannot be avoided when the blobs of a layout go from one registry to another.
//!
//! Four things, one after another, over the same bytes: each blob is read once from the source, and dropped;
//! each is written once to the destination, by POST and PUT; their SHA-256 is computed; and they go through
//! one thread that reads a socket and writes another. Nothing moves between the registries. Who measures the
//! CPU of the registries meanwhile has all parts of the limit: theirs, one SHA-256 and one pass through
//! sockets, over the cores.
//!
//! One line of JSON: `blobs`, `bytes`, `cores`, and for each of `get`, `put`, `sha256` and `sockets` the `wall` and own
//! `cpu` seconds, or null for a side that is `-`. CPU is of this process (10 ms exact) for `get` and `put`,
//! and of the one thread for the others.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use consign::oci::{Algorithm, Digester};
use reqwest::{Certificate, Client, Response, Url};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::registry::LayoutBlob as Blob;
use crate::{Failure, registry};

/// Pieces in which bytes are hashed, and read from a socket: what fits into a cache, and what a socket of
/// loopback has at a time.
const HASH_PIECE: usize = 64 * 1024;
const SOCKET_PIECE: usize = 256 * 1024;
/// Of the kernel's clock in /proc: the same on every Linux that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// What `rig limit` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The layout whose blobs are meant; the source must have its images.
    #[arg(long, value_name = "DIR")]
    layout: PathBuf,
    /// The registry to read from, or `-` for none.
    #[arg(long, value_name = "URL|-")]
    source: String,
    /// The registry to write to, or `-` for none.
    #[arg(long, value_name = "URL|-")]
    destination: String,
    /// How many requests at a time.
    #[arg(long, value_name = "N", default_value_t = 8)]
    parallel: usize,
    /// Trust the certificates of this file too, in PEM.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

/// Measures and prints.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let blobs: Arc<[Blob]> = registry::blobs(&options.layout)?.into();
    let bytes: usize = blobs.iter().map(|blob| blob.bytes.len()).sum();
    let client = client(&options)?;
    let get = match base(&options.source)? {
        None => None,
        Some(base) => Some(
            timed(
                &options,
                &blobs,
                Site {
                    client: client.clone(),
                    base,
                },
                get,
            )
            .await?,
        ),
    };
    let put = match base(&options.destination)? {
        None => None,
        Some(base) => Some(timed(&options, &blobs, Site { client, base }, put).await?),
    };
    let sha256 = by_thread(&blobs, hash)?;
    let sockets = by_thread(&blobs, relay)?;
    let result = json!({
        "blobs": blobs.len(),
        "bytes": bytes,
        "cores": thread::available_parallelism()?,
        "get": get,
        "put": put,
        "sha256": sha256,
        "sockets": sockets,
    });
    println!("{result}");
    Ok(())
}

fn base(text: &str) -> Result<Option<Url>, Failure> {
    if text == "-" {
        return Ok(None);
    }
    let url: Url = text.parse().map_err(|error| format!("`{text}`: {error}"))?;
    Ok(Some(url))
}

fn client(options: &Options) -> Result<Client, Failure> {
    let mut builder = Client::builder().http1_only().no_proxy();
    if let Some(file) = &options.ca {
        let trusted = Certificate::from_pem_bundle(&fs::read(file)?)?;
        builder = builder.tls_certs_merge(trusted);
    }
    Ok(builder.build()?)
}

/// A registry, and how to reach it.
#[derive(Debug, Clone)]
struct Site {
    client: Client,
    base: Url,
}

/// Does something for each blob, so many at a time.
async fn timed<F, R>(
    options: &Options,
    blobs: &Arc<[Blob]>,
    site: Site,
    each: F,
) -> Result<Value, Failure>
where
    F: Fn(Site, Arc<[Blob]>, usize) -> R + Copy + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let (cpu, wall) = (process_cpu()?, Instant::now());
    let mut workers = JoinSet::new();
    for _ in 0..options.parallel.max(1) {
        let (site, blobs, next) = (site.clone(), Arc::clone(blobs), Arc::clone(&next));
        workers.spawn(async move {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= blobs.len() {
                    return Ok::<(), Failure>(());
                }
                each(site.clone(), Arc::clone(&blobs), index).await?;
            }
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    Ok(seconds(wall, process_cpu()? - cpu))
}

async fn get(site: Site, blobs: Arc<[Blob]>, index: usize) -> Result<(), Failure> {
    let Some(blob) = blobs.get(index) else {
        return Ok(());
    };
    let url = site
        .base
        .join(&format!("/v2/{}/blobs/{}", blob.repository, blob.digest))?;
    let mut response = check(site.client.get(url).send().await?, blob)?;
    let mut left = blob.bytes.len();
    while let Some(piece) = response.chunk().await? {
        left = left.saturating_sub(piece.len());
    }
    if left > 0 {
        return Err(format!("{}: {left} bytes are missing", blob.digest).into());
    }
    Ok(())
}

async fn put(site: Site, blobs: Arc<[Blob]>, index: usize) -> Result<(), Failure> {
    let Some(blob) = blobs.get(index) else {
        return Ok(());
    };
    let url = site
        .base
        .join(&format!("/v2/{}/blobs/uploads/", blob.repository))?;
    let response = check(site.client.post(url.clone()).send().await?, blob)?;
    let location = response.headers().get(reqwest::header::LOCATION);
    let location = location.ok_or("an upload without a location")?.to_str()?;
    let mut upload = url.join(location)?;
    upload.query_pairs_mut().append_pair("digest", &blob.digest);
    let request = site.client.put(upload).body(blob.bytes.clone());
    drop(check(request.send().await?, blob)?);
    Ok(())
}

fn check(response: Response, blob: &Blob) -> Result<Response, Failure> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let (path, digest) = (response.url().path(), &blob.digest);
    Err(format!("{status} for {digest} at {path}").into())
}

/// Runs a function on a thread of its own.
fn by_thread(
    blobs: &Arc<[Blob]>,
    work: fn(&[Blob]) -> Result<Value, Failure>,
) -> Result<Value, Failure> {
    let blobs = Arc::clone(blobs);
    let worker = thread::spawn(move || work(&blobs));
    worker.join().map_err(|_| "a thread panicked")?
}

fn hash(blobs: &[Blob]) -> Result<Value, Failure> {
    let (cpu, wall) = (thread_cpu()?, Instant::now());
    for blob in blobs {
        let mut hasher = Digester::new(Algorithm::Sha256);
        for piece in blob.bytes.chunks(HASH_PIECE) {
            hasher.update(piece);
        }
        if hasher.finish().to_string() != blob.digest {
            return Err(format!("{} has other bytes", blob.digest).into());
        }
    }
    Ok(seconds(wall, thread_cpu()? - cpu))
}

/// Reads all bytes from one socket and writes them to another, as a client does that does nothing else.
fn relay(blobs: &[Blob]) -> Result<Value, Failure> {
    let (mut source, mut from) = pair()?;
    let (mut to, mut sink) = pair()?;
    let all: Vec<Bytes> = blobs.iter().map(|blob| blob.bytes.clone()).collect();
    let feeder = thread::spawn(move || all.iter().try_for_each(|bytes| source.write_all(bytes)));
    let drain = thread::spawn(move || {
        let mut buffer = vec![0; SOCKET_PIECE];
        while sink.read(&mut buffer)? > 0 {}
        Ok::<(), std::io::Error>(())
    });
    let (cpu, wall) = (thread_cpu()?, Instant::now());
    let mut buffer = vec![0; SOCKET_PIECE];
    loop {
        let length = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        to.write_all(bytes)?;
    }
    drop(to);
    let result = seconds(wall, thread_cpu()? - cpu);
    for thread in [feeder, drain] {
        thread.join().map_err(|_| "a thread panicked")??;
    }
    Ok(result)
}

/// Two ends of a connection.
fn pair() -> Result<(TcpStream, TcpStream), Failure> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// What something took, in seconds, to a millisecond.
fn seconds(begin: Instant, cpu: f64) -> Value {
    let rounded = |seconds: f64| (seconds * 1e3).round() / 1e3;
    json!({ "wall": rounded(begin.elapsed().as_secs_f64()), "cpu": rounded(cpu) })
}

/// CPU seconds of this process, its threads that ended included.
fn process_cpu() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name of the program is in parentheses and may hold blanks.
    let (_, fields) = stat
        .rsplit_once(')')
        .ok_or("/proc/self/stat is not understood")?;
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<f64>().ok())
        .sum();
    Ok(ticks / TICKS_PER_SECOND)
}

/// CPU seconds of this thread.
fn thread_cpu() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = stat
        .split_whitespace()
        .next()
        .ok_or("/proc/thread-self/schedstat is empty")?
        .parse()?;
    Ok(nanos / 1e9)
}
