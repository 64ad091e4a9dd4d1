//! Opening both ends of a relay at once, where the blob is almost certainly to be sent.
//!
//! A blob that nobody has costs two round trips before its first byte moves: one to ask the destination, one
//! to ask the source. Far away (20 ms and more) they are most of what a small blob takes. Asked side by side
//! they cost one; but where the destination has the blob after all, the source was asked for nothing. So it
//! is done only at registries that lacked many blobs in a row.

use std::pin::pin;

use futures::future::{Either, select};

use crate::oci::{Descriptor, Repository};

use super::call::Lane;
use super::client::Client;
use super::relay::RelayError;
use super::upload::{Begun, Expected, Weight};

impl Client {
    /// Forgets that [`Client::lacks_blobs`]: both ends are not asked at once for a while.
    pub fn leave_alone(&self, repository: &Repository) {
        let host = self.transport.host(repository.registry());
        host.note_blob(true);
    }

    /// Whether [`Client::begin_relay`] is worth trying: `repository`'s registry lacked the last blobs that it
    /// was asked for.
    pub fn lacks_blobs(&self, repository: &Repository) -> bool {
        let host = self.transport.host(repository.registry());
        host.lacks_blobs()
    }

    /// Asks `to` for a blob as [`Client::begin_upload`] does for one that is not expected there, and `from`
    /// for its bytes at the same time. The upload session that this gives has the source's answer with it,
    /// which [`Client::relay`] then reads.
    ///
    /// The caller holds [`Lanes`](super::Lanes) for both sides, whatever the blob's size.
    ///
    /// # Errors
    ///
    /// With the side that failed. Where the source fails the session is given up; where the destination fails
    /// or has the blob, the source's answer is left. For a small blob the destination is asked once: where that
    /// passes, the caller is to give its places back and to ask as others do, one end after the other, for many
    /// that wait here would hold up all else at both registries.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves a session that expires by itself.
    pub async fn begin_relay(
        &self,
        from: &Repository,
        to: &Repository,
        blob: &Descriptor,
    ) -> Result<Begun, RelayError> {
        let mut reader = self.blob(from, blob, Lane::Held);
        let lane = match Weight::of(blob.size) {
            Weight::Small => Lane::HeldOnce,
            Weight::Large => Lane::Held,
        };
        let (begun, opened) = {
            let begins = pin!(self.begin_upload_in(to, blob, Expected::Absent, lane));
            let opens = pin!(reader.begin());
            match select(begins, opens).await {
                // What is there, or is refused, does not wait for the source.
                Either::Left((Ok(Begun::Upload(upload)), opens)) => {
                    (Ok(Begun::Upload(upload)), opens.await)
                }
                Either::Left((begun, _)) => (begun, Ok(())),
                Either::Right((opened, begins)) => (begins.await, opened),
            }
        };
        let mut upload = match begun.map_err(RelayError::Destination)? {
            Begun::There => return Ok(Begun::There),
            Begun::Upload(upload) => upload,
        };
        if let Err(error) = opened {
            self.give_up(&upload).await;
            return Err(RelayError::Source(error));
        }
        upload.source = Some(Box::new(reader));
        Ok(Begun::Upload(upload))
    }
}

impl Weight {
    /// Whether the lanes of a relay are taken before the destination is asked: for bytes that wait for
    /// their turn no session stands open, and where both ends are opened at once both have to be there.
    pub const fn is_early(self, opens_both: bool) -> bool {
        matches!(self, Self::Large) || opens_both
    }
}
