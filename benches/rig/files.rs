//! `rig files`: the files of a folder over HTTP, as object storage serves the blobs of a registry.
//!
//! Distribution's storage middleware `redirect` sends clients here, with the path that the file has in its own
//! storage: the folder is its `rootdirectory`.

use std::fs::File;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;

use crate::Failure;
use crate::body::Content;
use crate::web::{self, Answer, Handler, Place};

/// What `rig files` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder whose files are served.
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Serves until a signal comes.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let root = options.root.canonicalize()?;
    web::run(&options.place, Arc::new(Files { root })).await
}

#[derive(Debug)]
struct Files {
    root: PathBuf,
}

impl Handler for Files {
    async fn handle(&self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(web::empty(StatusCode::METHOD_NOT_ALLOWED));
        }
        let Some((file, length)) = self.open(request.uri().path()) else {
            return Ok(web::empty(StatusCode::NOT_FOUND));
        };
        let range = request.headers().get(header::RANGE);
        let part = |first, end| Content::part_of_file(file, first, end);
        Ok(web::content(range, length, part))
    }
}

impl Files {
    /// A file below the folder, and its length.
    fn open(&self, path: &str) -> Option<(File, u64)> {
        let path = Path::new(path.trim_start_matches('/'));
        let is_below = path
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        if !is_below {
            return None;
        }
        let file = File::open(self.root.join(path)).ok()?;
        let facts = file.metadata().ok()?;
        facts.is_file().then_some((file, facts.len()))
    }
}
