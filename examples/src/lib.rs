//! Shared parts of the programs `quickstart`, `edge` and `connector`.

#![forbid(unsafe_code)]

pub mod cancellations;
pub mod connector;
pub mod demo;
pub mod edge;
pub mod gate;
pub mod listener;
pub mod locale;
pub mod output;
pub mod pages;
pub mod patience;
pub mod rules;
pub mod runtime;
pub mod shutdown;
