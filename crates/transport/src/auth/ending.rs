//! The end of calls whose token is taken away.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body as _, Frame, SizeHint};
use tandem_shape::Reason;
use tandem_status::failure;
use tonic::body::Body;
use tonic::codegen::http::header::CONTENT_TYPE;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Bytes, StdError};
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::standing::Standing;

/// Ends responses when the token is taken away that their request was let through by. Stands behind
/// [`super::Authenticate`], which says by which.
#[derive(Debug, Clone, Copy, Default)]
pub struct EndWithToken;

/// A service whose responses end so.
#[derive(Debug, Clone)]
pub struct EndsWithToken<S>(S);

impl<S> Layer<S> for EndWithToken {
    type Service = EndsWithToken<S>;

    fn layer(&self, service: S) -> EndsWithToken<S> {
        EndsWithToken(service)
    }
}

impl<S, R, B> Service<Request<R>> for EndsWithToken<S>
where
    S: Service<Request<R>, Response = Response<B>>,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let standing = request.extensions().get::<Standing>().cloned();
        let answering = self.0.call(request);
        Box::pin(async move {
            let (head, body) = answering.await?.into_parts();
            let body = Body::new(body);
            let body = match standing {
                Some(standing) if !body.is_end_stream() => Body::new(Ending {
                    body: Some(body),
                    lost: Box::pin(standing.until_lost()),
                    is_grpc: is_grpc(&head.headers),
                }),
                _ => body,
            };
            Ok(Response::from_parts(head, body))
        })
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(|kind| kind.as_bytes());
    kind.is_some_and(|kind| kind.starts_with(b"application/grpc"))
}

/// A response's body until its token is lost. Dropping the rest ends what makes it.
struct Ending {
    body: Option<Body>,
    lost: Pin<Box<dyn Future<Output = ()> + Send>>,
    is_grpc: bool,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else {
            return Poll::Ready(None);
        };
        if this.lost.as_mut().poll(cx).is_ready() {
            this.body = None;
            return Poll::Ready(Some(taken_away(this.is_grpc)));
        }
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if frame.is_none() {
            this.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // Its end may come earlier.
        SizeHint::default()
    }
}

/// A gRPC call ends with a status, another breaks off.
fn taken_away(is_grpc: bool) -> Result<Frame<Bytes>, Status> {
    let message = "the token is none of this server's any more";
    let status = failure(Code::Unauthenticated, Reason::Token, message);
    if !is_grpc {
        return Err(status);
    }
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers)?;
    Ok(Frame::trailers(trailers))
}
