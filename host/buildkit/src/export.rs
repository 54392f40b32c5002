//! Receives the tar that BuildKit exports.

use bollard_buildkit_proto::moby::filesync::v1::BytesMessage;
use bollard_buildkit_proto::moby::filesync::v1::file_send_server::FileSend;
use bytes::Bytes;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

/// Passes the tar on, chunk by chunk.
pub(crate) struct TarReceiver<E>(pub(crate) mpsc::Sender<Result<Bytes, E>>);

#[async_trait::async_trait]
impl<E: Send + 'static> FileSend for TarReceiver<E> {
    type DiffCopyStream = tokio_stream::Empty<Result<BytesMessage, Status>>;

    async fn diff_copy(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let mut messages = request.into_inner();
        while let Some(message) = messages.message().await? {
            let chunk = Ok(Bytes::from(message.data));
            self.0.send(chunk).await.map_err(|_| Status::cancelled("nobody reads the tar any more"))?;
        }
        Ok(Response::new(tokio_stream::empty()))
    }
}
