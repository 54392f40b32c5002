//! Shared caches of built stages that real servers keep.

use crate::engine::shared::goes_round;
use crate::peers::{self, BUCKET};

#[test]
fn a_bucket_serves_an_empty_engine() {
    let Some(peer) = peers::s3_server() else { return };
    goes_round("sharedbucket", &format!("s3://{BUCKET}/stages"), &peer.s3_variables().into());
}

#[test]
fn an_oci_registry_serves_an_empty_engine() {
    let Some(peer) = peers::oci_registry(false) else { return };
    goes_round("sharedregistry", &format!("oci://127.0.0.1:{}/team/stages", peer.port), &Vec::new());
}
