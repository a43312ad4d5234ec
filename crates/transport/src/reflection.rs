//! gRPC reflection: what a server serves, described to clients that do not have the `.proto` files.

use tonic_reflection::server::{Builder, Error, v1, v1alpha};

/// What health is served as.
const HEALTH: &str = "grpc.health.v1.Health";

/// Describes one service of a package, and health, as `grpc.reflection.v1`.
///
/// # Errors
/// When the descriptors are malformed.
pub fn v1(
    descriptors: &'static [u8],
    service: &'static str,
) -> Result<v1::ServerReflectionServer<impl v1::ServerReflection>, Error> {
    builder(descriptors, service).build_v1()
}

/// The same as `v1alpha`, which is all that many clients know.
///
/// # Errors
/// When the descriptors are malformed.
pub fn v1alpha(
    descriptors: &'static [u8],
    service: &'static str,
) -> Result<v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection>, Error> {
    builder(descriptors, service).build_v1alpha()
}

fn builder(descriptors: &'static [u8], service: &'static str) -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(descriptors)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .with_service_name(service)
        .with_service_name(HEALTH)
}
