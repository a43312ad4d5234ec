//! The split API over gRPC.

use crate::back_profile;
use crate::cloud::Cloud;
use crate::metrics::{KV_BUDGET_BYTES, KV_BYTES, KV_PAGES};
use crate::session_metrics::SessionMetrics;
use crate::stream;
use std::sync::Arc;
use tandem_proto::v1;
use tandem_proto::v1::split_service_server::SplitService;
use tandem_transport::auth::Peer;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Messages that may wait to be sent on a stream; its session waits when the edge does not read.
const OUTBOUND_MESSAGES: usize = 64;

/// Serves a [`Cloud`].
#[derive(Debug, Clone)]
pub struct Split(pub Arc<Cloud>);

#[tonic::async_trait]
impl SplitService for Split {
    type InferStream = ReceiverStream<Result<v1::InferResponse, Status>>;

    async fn describe_back(
        &self,
        request: Request<v1::DescribeBackRequest>,
    ) -> Result<Response<v1::DescribeBackResponse>, Status> {
        // So that edges look for another one.
        if self.0.drain.work().is_err() {
            return Err(stream::draining());
        }
        let peer = Peer::of(request.extensions());
        Ok(Response::new(self.0.describe(&peer)))
    }

    async fn profile_back(
        &self,
        _: Request<v1::ProfileBackRequest>,
    ) -> Result<Response<v1::ProfileBackResponse>, Status> {
        let Ok(_work) = self.0.drain.work() else {
            return Err(stream::draining());
        };
        let profile = back_profile::profile(&self.0).await;
        profile
            .map(Response::new)
            .inspect_err(SessionMetrics::failure)
    }

    /// Returns the stream before it reads: a client waits for the response's headers before it
    /// sends, or after, as it likes.
    async fn infer(
        &self,
        request: Request<Streaming<v1::InferRequest>>,
    ) -> Result<Response<Self::InferStream>, Status> {
        let cloud = Arc::clone(&self.0);
        let Ok(work) = cloud.drain.work() else {
            let status = stream::draining();
            SessionMetrics::failure(&status);
            return Err(status);
        };
        let (out, outbound) = mpsc::channel(OUTBOUND_MESSAGES);
        let peer = Peer::of(request.extensions());
        let inbound = request.into_inner();
        let closing = cloud.drain.closing();
        // The task ends with its stream: it watches both directions and the drain's deadline.
        let cut_off = out.clone();
        tokio::spawn(async move {
            let _work = work;
            let of_gauges = Arc::clone(&cloud);
            tokio::select! {
                () = stream::serve(cloud, peer, inbound, out) => {}
                () = closing => {
                    let status = stream::draining();
                    SessionMetrics::failure(&status);
                    let _ = cut_off.try_send(Err(status));
                }
            }
            drop(cut_off);
            publish_kv(&of_gauges);
        });
        Ok(Response::new(ReceiverStream::new(outbound)))
    }
}

/// Publishes how much memory is reserved, and which pages of it are in use.
pub fn publish_kv(cloud: &Cloud) {
    let (budget, memory) = (&cloud.budget, &cloud.loaded.kv_memory);
    KV_BYTES.gauge(&[]).set(cloud.session_bytes() as f64);
    KV_BUDGET_BYTES.gauge(&[]).set(budget.budget() as f64);
    let pages = |bytes: u64| bytes / memory.page_bytes().max(1);
    let in_use = memory.pages_in_use() as u64;
    let reserved = pages(budget.used()).saturating_sub(in_use);
    let free = pages(budget.budget()).saturating_sub(in_use + reserved);
    for (state, pages) in [("in_use", in_use), ("reserved", reserved), ("free", free)] {
        KV_PAGES.gauge(&[state]).set(pages as f64);
    }
}
