//! `serve`: a directory as a registry, or one in memory.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::event::End;
use crate::layout::Layout;
use crate::serve::{self, Access, Registry};

use super::args::ServeArgs;
use super::error::Error;
use super::signals::{self, Signals};

/// `consign serve`. The address is the first line on stdout, once the registry listens there.
pub(super) async fn serve(args: ServeArgs) -> Result<u8, Error> {
    let access = if args.writable || args.directory.is_none() {
        Access::Writable
    } else {
        Access::ReadOnly
    };
    let (opened, what) = match &args.directory {
        Some(directory) => (
            Registry::open(directory, access).await,
            format!("`{}`", directory.display()),
        ),
        None => (
            Registry::new(Layout::in_memory(), access).await,
            "memory".to_owned(),
        ),
    };
    let registry = opened.map_err(|error| Error::usage(&format!("cannot serve {what}"), &error))?;
    let (listener, address) = listen(args.listen)
        .await
        .map_err(|error| Error::usage(&format!("cannot listen on {}", args.listen), &error))?;
    let mut signals = Signals::listen()?;
    let how = match access {
        Access::ReadOnly => "read-only",
        Access::Writable => "writable",
    };
    super::print(&format!("http://{address}\n"))?;
    drop(writeln!(
        io::stderr(),
        "serving {what}, {how}, without TLS and without passwords; end with Ctrl-C"
    ));
    let mut heard = End::Completed;
    let shutdown = async { heard = signals.next().await };
    let served = serve::listen(listener, Arc::new(registry), shutdown).await;
    served.map_err(|error| Error::usage("the registry ended", &error).with_code(1))?;
    Ok(signals::code(heard))
}

async fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
