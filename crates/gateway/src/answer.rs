//! The body of an answer: whole, as event functions and the doors themselves give it; or as it comes, from a web function
//! or from one that streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use engine::ReplyBody;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

use crate::pieces::{Broken, Pieces};

/// The body of a [`crate::Response`].
pub enum Answer {
    Whole(Full<Bytes>),
    Stream(Box<ReplyBody>),
    Pieces(Box<Pieces>),
}

impl From<Bytes> for Answer {
    fn from(bytes: Bytes) -> Self {
        Answer::Whole(Full::new(bytes))
    }
}

impl From<ReplyBody> for Answer {
    fn from(body: ReplyBody) -> Self {
        Answer::Stream(Box::new(body))
    }
}

impl From<Pieces> for Answer {
    fn from(body: Pieces) -> Self {
        Answer::Pieces(Box::new(body))
    }
}

impl Default for Answer {
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Answer::Whole(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Answer::Stream(body) => Pin::new(&mut **body).poll_frame(cx).map_err(Into::into),
            Answer::Pieces(body) => Pin::new(&mut **body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Answer::Whole(body) => body.is_end_stream(),
            Answer::Stream(body) => body.is_end_stream(),
            Answer::Pieces(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Answer::Whole(body) => body.size_hint(),
            Answer::Stream(body) => body.size_hint(),
            Answer::Pieces(body) => body.size_hint(),
        }
    }
}
