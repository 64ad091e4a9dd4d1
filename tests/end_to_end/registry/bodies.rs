//! What a fault does to the bytes of a body.

use std::time::Duration;

use bytes::Bytes;
use consign::serve::{Body, BodyError, body};
use futures::stream::{self, StreamExt as _};
use http::Response;
use http_body_util::{BodyDataStream, BodyExt as _, StreamBody};
use hyper::body::Frame;

use super::rules::{Active, Before};

/// How long a body waits before it ends early. Nothing says when bytes are on the wire; on loopback
/// they are at once.
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

type Piece = Result<Bytes, BodyError>;
type Pieces = stream::BoxStream<'static, Piece>;

/// Replaces the body by one of unknown length, so that the headers alone say how long it is.
pub(super) fn rewrite(response: &mut Response<Body>, change: impl FnOnce(Pieces) -> Pieces) {
    let old = std::mem::replace(response.body_mut(), body(""));
    let pieces = change(BodyDataStream::new(old).boxed());
    *response.body_mut() = joined(pieces);
}

fn joined(pieces: Pieces) -> Body {
    StreamBody::new(pieces.map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// What a fault does to the body of a request on its way to the registry.
pub(super) fn spoil_request(request: Body, fault: &Before, active: &Active) -> Body {
    let pieces = |request| BodyDataStream::new(request).boxed();
    match fault {
        Before::CutRequest(bytes) => joined(cut(pieces(request), *bytes)),
        Before::StallRequest(bytes) => joined(stall(pieces(request), *bytes, active.clone())),
        Before::Respond(_)
        | Before::Delay(_)
        | Before::Stall
        | Before::HangUp
        | Before::IgnoreHeader(_) => request,
    }
}

/// The first `bytes` of a stream, and the rest of it.
fn head(pieces: Pieces, bytes: usize) -> Pieces {
    pieces
        .scan(bytes, |left, piece| {
            let piece = piece.map(|mut piece| {
                let piece = piece.split_to(piece.len().min(*left));
                *left -= piece.len();
                piece
            });
            let is_over = *left == 0 && piece.as_ref().is_ok_and(Bytes::is_empty);
            futures::future::ready((!is_over).then_some(piece))
        })
        .boxed()
}

pub(super) fn cut(pieces: Pieces, bytes: usize) -> Pieces {
    let end = stream::once(async { Err(BodyError::from("cut by a rule")) });
    sent(head(pieces, bytes)).chain(end).boxed()
}

/// The same pieces, and an end that leaves the server time to send them: where a body ends too
/// early, it drops what it did not send yet.
pub(super) fn sent(pieces: Pieces) -> Pieces {
    let pause = stream::once(tokio::time::sleep(FLUSH_PAUSE)).filter_map(|()| async { None });
    pieces.chain(pause).boxed()
}

pub(super) fn stall(pieces: Pieces, bytes: usize, active: Active) -> Pieces {
    let state = (pieces, bytes, active);
    stream::unfold(state, |(mut pieces, mut left, active)| async move {
        if left == 0 {
            active.released().await;
            left = usize::MAX;
        }
        let piece = pieces.next().await?;
        match piece {
            Ok(mut piece) if piece.len() > left => {
                let first = piece.split_to(left);
                let rest = stream::iter([Ok(piece)]).chain(pieces).boxed();
                Some((Ok(first), (rest, 0, active)))
            }
            Ok(piece) => {
                left -= piece.len();
                Some((Ok(piece), (pieces, left, active)))
            }
            Err(error) => Some((Err(error), (pieces, left, active))),
        }
    })
    .boxed()
}

pub(super) fn trickle(pieces: Pieces, bytes: usize, pause: Duration) -> Pieces {
    pieces
        .flat_map(move |piece| match piece {
            Ok(piece) => {
                let parts: Vec<Piece> = piece
                    .chunks(bytes)
                    .map(|part| Ok(piece.slice_ref(part)))
                    .collect();
                stream::iter(parts)
            }
            Err(error) => stream::iter(vec![Err(error)]),
        })
        .then(move |piece| async move {
            tokio::time::sleep(pause).await;
            piece
        })
        .boxed()
}

pub(super) fn corrupt(pieces: Pieces, offset: usize) -> Pieces {
    pieces
        .scan(offset, |left, piece| {
            let piece = piece.map(|piece| {
                let mut bytes = piece.to_vec();
                if let Some(byte) = bytes.get_mut(*left) {
                    *byte ^= 1;
                    *left = usize::MAX;
                } else {
                    *left = left.saturating_sub(bytes.len());
                }
                Bytes::from(bytes)
            });
            futures::future::ready(Some(piece))
        })
        .boxed()
}
