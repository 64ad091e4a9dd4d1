//! One blob: brought once per run and repository, read once, mounted from there.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::StatusCode;

use crate::event::{Note, Side, Stage};
use crate::flight::Role;
use crate::oci::{Descriptor, Repository};
use crate::registry::{self, Access, Begun, ErrorKind, Expected, RelayError, Weight};

use super::error::{Cause, Error, Subject};
use super::walk::Walk;
use super::{Before, Thing};

/// How a blob came to be in the destination repository.
enum Brought {
    Copied,
    Mounted,
    Present,
}

/// Where bringing a blob met trouble.
enum Trouble {
    /// Asking the destination for it, or for a session.
    Opening(Box<registry::Error>),
    /// Reading it at the source.
    Reading(Box<registry::Error>),
    /// Writing it into a session.
    Writing(Box<registry::Error>),
}

impl Walk<'_> {
    /// Brings a blob, once per run and repository.
    pub(super) async fn blob(&self, blob: &Descriptor) -> Result<(), Error> {
        let known = &self.engine.known;
        let key = known.thing(self.destination, Thing::Blob, blob.digest);
        let waiting = |begins| self.watch.pace.waiting(begins);
        self.engine.meter.expect(blob.size);
        let bring = async || self.bring_blob(blob).await;
        let brought = known.present.run(&key, waiting, bring).await;
        if !matches!(brought, Ok(((), Role::Led))) {
            self.engine.meter.spare(blob.size);
        }
        brought.map(drop)
    }

    /// Brings a blob to this repository: the first one of the run to the registry, the others by mount.
    async fn bring_blob(&self, blob: &Descriptor) -> Result<(), Error> {
        if blob.media_type.is_foreign_layer()
            && !blob.urls.is_empty()
            && !self.is_served(blob).await?
        {
            let digest = blob.digest;
            (self.watch.note)(Note::remark(&format!(
                "foreign layer {digest} is not at the source and stays where its urls point"
            )));
            self.engine.meter.spare(blob.size);
            return Ok(());
        }
        let known = &self.engine.known;
        let key = known.home(self.destination.registry(), blob.digest);
        let waiting = |begins| self.watch.pace.waiting(begins);
        let mut brought = None;
        let lead = async || {
            brought = Some(self.first(blob).await?);
            Ok(self.destination.clone())
        };
        let (home, role) = known.homes.run(&key, waiting, lead).await?;
        let brought = match (role, brought) {
            (Role::Led, Some(brought)) => brought,
            _ => self.bring(blob, Some(&home)).await?,
        };
        let count = match brought {
            Brought::Copied => {
                self.counts.bytes.fetch_add(blob.size, Ordering::Relaxed);
                &self.counts.copied
            }
            Brought::Mounted => {
                self.engine.meter.spare(blob.size);
                &self.counts.mounted
            }
            Brought::Present => {
                self.engine.meter.spare(blob.size);
                &self.counts.present
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Brings a blob to the registry; within one registry the source itself is the first place.
    async fn first(&self, blob: &Descriptor) -> Result<Brought, Error> {
        let is_inside = self.source.registry() == self.destination.registry();
        self.bring(blob, is_inside.then_some(self.source)).await
    }

    async fn is_served(&self, blob: &Descriptor) -> Result<bool, Error> {
        let _work = self.watch.pace.work();
        let found = self
            .engine
            .client
            .has_blob(self.source, blob, Access::Pull)
            .await;
        found.map_err(|error| self.blob_error(Side::Source, blob, error.into()))
    }

    /// Mounts from `home`, or asks and relays; begins anew, with a new session, where that may help.
    async fn bring(&self, blob: &Descriptor, home: Option<&Repository>) -> Result<Brought, Error> {
        let _work = self.watch.pace.work();
        let retry = self.engine.client.retry();
        let mut refreshed = false;
        let mut attempt = 1;
        loop {
            let error = match self.try_to_bring(blob, home).await {
                Ok(brought) => return Ok(brought),
                Err(Trouble::Reading(error)) => {
                    return Err(self.blob_error(Side::Source, blob, (*error).into()));
                }
                // The client has tried that again already.
                Err(Trouble::Opening(error)) => {
                    return Err(self.blob_error(Side::Destination, blob, (*error).into()));
                }
                Err(Trouble::Writing(error)) => error,
            };
            let again = match &error.kind {
                // A token may have ended on the way; the client has dropped it by now.
                ErrorKind::Unauthorized(words) => {
                    words.status == StatusCode::UNAUTHORIZED
                        && !std::mem::replace(&mut refreshed, true)
                }
                // The session is gone: the registry was restarted, or lost the upload.
                ErrorKind::NotFound(words) => !words.is_missing_project(),
                ErrorKind::Refused(words) => words.status == StatusCode::RANGE_NOT_SATISFIABLE,
                ErrorKind::CredentialRefused(_)
                | ErrorKind::RateLimited(_)
                | ErrorKind::Server(_)
                | ErrorKind::Conflict(_)
                | ErrorKind::Network(_)
                | ErrorKind::Stalled(_)
                | ErrorKind::Integrity(_)
                | ErrorKind::Document(_)
                | ErrorKind::Protocol(_)
                | ErrorKind::TooLong(_)
                | ErrorKind::Untrusted(_) => error.is_passing(),
            };
            if !again || attempt >= retry.attempts {
                let mut error = *error;
                error.attempts = error.attempts.max(attempt);
                return Err(self.blob_error(Side::Destination, blob, error.into()));
            }
            tracing::debug!(digest = %blob.digest, attempt, %error, "beginning an upload anew");
            let pause = retry.pause(attempt, error.wait);
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    const fn expected(&self) -> Expected {
        match self.before {
            Before::Nothing => Expected::Absent,
            Before::Something => Expected::Present,
        }
    }

    async fn try_to_bring(
        &self,
        blob: &Descriptor,
        home: Option<&Repository>,
    ) -> Result<Brought, Trouble> {
        let client = &self.engine.client;
        let opening = |error| Trouble::Opening(Box::new(error));
        let (from, to) = (self.source.registry(), self.destination.registry());
        let weight = Weight::of(blob.size);
        let known = self.known.as_ref();
        let known = known.filter(|(digest, _)| *digest == blob.digest);
        let opens_both = home.is_none()
            && known.is_none()
            && self.before == Before::Nothing
            && client.lacks_blobs(self.destination);
        let mut early = if weight.is_early(opens_both) {
            Some(client.lanes(from, to, weight).await)
        } else {
            None
        };
        let mut begun = None;
        if opens_both {
            begun = self.begin_both(blob).await?;
            if begun.is_none() {
                // As others ask, and wait.
                early = None;
            }
        }
        let begun = match (begun, home) {
            (Some(begun), _) => Ok(begun),
            (None, Some(home)) => client.mount(self.destination, blob, home).await,
            (None, None) => {
                let expected = self.expected();
                client.begin_upload(self.destination, blob, expected).await
            }
        };
        let upload = match begun.map_err(opening)? {
            Begun::There if home.is_some() => return Ok(Brought::Mounted),
            Begun::There => return Ok(Brought::Present),
            Begun::Upload(upload) => upload,
        };
        let _lanes = match early {
            Some(lanes) => lanes,
            None => client.lanes(from, to, weight).await,
        };
        let _moving = self.engine.meter.begin_blob();
        if let Some((_, bytes)) = known {
            let sent = client.send_bytes(upload, blob, bytes.clone()).await;
            sent.map_err(|error| Trouble::Writing(Box::new(error)))?;
            self.engine.meter.moved(blob.size);
            return Ok(Brought::Copied);
        }
        let meter = Arc::clone(&self.engine.meter);
        let relayed = client
            .relay(upload, self.source, blob, move |bytes| meter.moved(bytes))
            .await;
        match relayed {
            Ok(()) => Ok(Brought::Copied),
            Err(RelayError::Source(error)) => Err(Trouble::Reading(Box::new(error))),
            Err(RelayError::Destination(error)) => Err(Trouble::Writing(Box::new(error))),
        }
    }

    /// Asks both ends for the blob at once; `None` where the destination wants to be left alone.
    async fn begin_both(&self, blob: &Descriptor) -> Result<Option<Begun>, Trouble> {
        let client = &self.engine.client;
        let begun = client.begin_relay(self.source, self.destination, blob);
        match begun.await {
            Ok(begun) => Ok(Some(begun)),
            Err(RelayError::Source(error)) => Err(Trouble::Reading(Box::new(error))),
            Err(RelayError::Destination(error))
                if error.is_passing() && Weight::of(blob.size) == Weight::Small =>
            {
                tracing::debug!(digest = %blob.digest, %error, "asking one end after the other");
                client.leave_alone(self.destination);
                Ok(None)
            }
            Err(RelayError::Destination(error)) => Err(Trouble::Opening(Box::new(error))),
        }
    }

    fn blob_error(&self, side: Side, blob: &Descriptor, cause: Cause) -> Error {
        Error {
            side,
            stage: Stage::Transfer,
            subject: Subject::Blob(Box::new(self.pinned(side, blob))),
            cause,
        }
    }
}
