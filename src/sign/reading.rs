//! Reading back what was written: no signature is said to stand that was not read and verified.

use bytes::Bytes;

use crate::event::Format;
use crate::limits::signature::{BUNDLE_BYTES_MAX, PAYLOAD_BYTES_MAX};
use crate::oci::Descriptor;
use crate::registry::{Client, ErrorKind, Retry};
use crate::sigstore::{COSIGN_SIGN_PREDICATE, Refusal, StatementSubject};

use super::Job;
use super::error::Cause;

/// Patience with a registry that does not show at once what it took: as often as a request is tried.
pub(super) struct Again {
    retry: Retry,
    attempt: u32,
}

impl Again {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            retry: client.retry(),
            attempt: 1,
        }
    }

    /// Waits before the next attempt; where there is none left, `cause`.
    pub(super) async fn or(&mut self, cause: impl FnOnce() -> Cause) -> Result<(), Cause> {
        if self.attempt >= self.retry.attempts {
            return Err(cause());
        }
        tokio::time::sleep(self.retry.pause_after(self.attempt)).await;
        self.attempt += 1;
        Ok(())
    }
}

impl Job<'_> {
    /// Reads the payload that `layer` names, and verifies the signature in its annotation over it.
    pub(super) async fn read_back_payload(
        &self,
        layer: &Descriptor,
        format: Format,
    ) -> Result<(), Cause> {
        let bytes = self.blob(layer, PAYLOAD_BYTES_MAX, format).await?;
        let read = self
            .own
            .payload(&bytes, layer)
            .map_err(|refusal| Cause::spoiled(format, refusal))?;
        if read.digest == self.subject.digest
            && read.reference == self.claim.identity
            && read.optional == self.claim.annotations
        {
            Ok(())
        } else {
            Err(Cause::spoiled(format, says_else()))
        }
    }

    /// Reads the bundle that `layer` names, and verifies that it says `statement`.
    pub(super) async fn read_back_bundle(
        &self,
        layer: &Descriptor,
        statement: &StatementSubject,
    ) -> Result<(), Cause> {
        let format = Format::Bundle;
        let bytes = self.blob(layer, BUNDLE_BYTES_MAX, format).await?;
        let read = self
            .own
            .bundle(&bytes)
            .map_err(|refusal| Cause::spoiled(format, refusal))?;
        if read.predicate_type == COSIGN_SIGN_PREDICATE
            && read.subjects.as_slice() == std::slice::from_ref(statement)
        {
            Ok(())
        } else {
            Err(Cause::spoiled(format, says_else()))
        }
    }

    async fn blob(&self, layer: &Descriptor, limit: u64, format: Format) -> Result<Bytes, Cause> {
        let client = self.attached.client();
        let mut again = Again::new(client);
        loop {
            let pulled = client
                .pull_small_blob(&self.subject.repository, layer, limit)
                .await;
            match pulled {
                Ok(bytes) => return Ok(bytes),
                Err(error) if matches!(error.kind, ErrorKind::NotFound(_)) => {
                    again.or(|| Cause::lost(format)).await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn says_else() -> Refusal {
    Refusal::Form("it says something else than was signed".to_owned())
}
