//! What stands between a client and a registry and knows connections alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// When a wire closes a connection by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// Never.
    Patient,
    /// Of the first so many each as soon as the second request comes on it, without a word: as a peer does that
    /// had just closed it.
    OneAnswer(usize),
}

/// A wire on loopback; dropped, it ends with all its connections.
#[derive(Debug)]
pub(super) struct Wire {
    host: String,
    accepted: Arc<AtomicUsize>,
    cut: watch::Sender<usize>,
    _server: JoinSet<()>,
}

impl Wire {
    /// A wire to `host` (address and port).
    pub(super) async fn to(host: &str) -> Self {
        Self::with(("127.0.0.1", host), Manner::Patient).await
    }

    /// The same at this address of this machine, which closes connections so.
    pub(super) async fn with((at, host): (&str, &str), manner: Manner) -> Self {
        let listener = TcpListener::bind((at, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (cut, cuts) = watch::channel(0);
        let mut server = JoinSet::new();
        let (to, count) = (host.to_owned(), Arc::clone(&accepted));
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let before = count.fetch_add(1, Ordering::SeqCst);
                let is_short = matches!(manner, Manner::OneAnswer(first) if before < first);
                let (to, mut cuts) = (to.clone(), cuts.clone());
                connections.spawn(async move {
                    cuts.mark_unchanged();
                    let Ok(registry) = TcpStream::connect(to).await else {
                        return;
                    };
                    tokio::select! {
                        () = passed(client, registry, is_short) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        Self {
            host: address,
            accepted,
            cut,
            _server: server,
        }
    }

    /// Address and port.
    pub(super) fn host(&self) -> String {
        self.host.clone()
    }

    /// How many connections there were.
    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Closes all connections that there are.
    pub(super) fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

/// Passes on what comes from either end until one of them ends.
async fn passed(mut client: TcpStream, mut registry: TcpStream, is_short: bool) {
    let (mut asked, mut answered) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut has_answered = false;
    loop {
        tokio::select! {
            read = client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                if has_answered && is_short {
                    return;
                }
                if registry.write_all(&asked[..length]).await.is_err() {
                    return;
                }
            }
            read = registry.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                has_answered = true;
                if client.write_all(&answered[..length]).await.is_err() {
                    return;
                }
            }
        }
    }
}
