//! Bodies of the fuzz targets in `fuzz/`: what arbitrary bytes must not break.
//!
//! They are here because what they call is private. Each takes any bytes, never panics, and checks
//! what must hold for whatever it could read. The tests run every one over its seeds, so that they
//! still work when nobody is fuzzing.

#[cfg(feature = "ingress")]
mod ingress;
mod rpc;
mod text;

#[cfg(feature = "ingress")]
pub use self::ingress::ingress;
pub use self::{
    rpc::{connector_machine, edge_machine},
    text::{credentials_file, header_list, stream_head, token},
};

#[cfg(test)]
mod tests;
