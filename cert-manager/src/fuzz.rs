//! Bodies of the fuzz targets in `fuzz/`: what arbitrary bytes must not break.
//!
//! They are here because what they call is private. Each takes any bytes, never panics, and checks what must hold for whatever it
//! could read. The tests run every one over its seeds, so that they still work when nobody is fuzzing.

mod answers;
mod read;

pub use self::{
    answers::answers,
    read::{name, pem, stored, zone},
};

#[cfg(test)]
mod tests;
