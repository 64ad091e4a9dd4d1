//! The distribution API over HTTP/1.1 (OCI distribution specification 1.1).
//!
//! [`Client`] is shared by all jobs of a run: connections, challenges, tokens and limits are kept per
//! registry. Bodies are streamed, bounded, and hashed as they pass; nothing is ever decompressed. A
//! blob whose bytes do not fit its digest can never complete at a destination, because its last
//! bytes are withheld until they fit.
//!
//! HTTP/2 is not spoken: for blobs it cost a third more time and 40 % more CPU (measured against
//! distribution 2.8 with TLS), and buildkit and regclient met the same.

mod ahead;
mod auth;
mod authorize;
mod blob;
mod call;
mod client;
mod connect;
mod credential;
mod documents;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod harbor;
mod host;
mod limit;
mod link;
mod listing;
mod network;
mod opening;
mod place;
mod proxy;
mod rate;
mod recall;
mod relay;
mod resume;
mod rights;
mod roots;
mod service;
mod settings;
mod tag_page;
mod tls;
mod trail;
mod transport;
mod upload;
mod words;

pub use auth::{Access, Side};
pub use blob::BlobReader;
pub use client::{Client, Deleted, Pushed, Resolved};
pub use credential::{Credential, Credentials, Renew};
pub use error::{Distrust, Error, ErrorKind, Mismatch, NetworkError, Words};
pub use harbor::{Made, Project, project_of};
pub use listing::{Listed, Listing};
pub use proxy::Proxies;
pub use rate::Rate;
pub use relay::RelayError;
pub use service::{Body, Question, Reply, Services};
pub use settings::{Party, Retry, Settings};
pub use tls::{Certificates, HostCertificates, Identity, Tls};
pub use upload::{Begun, Expected, Lanes, Upload, Weight};
