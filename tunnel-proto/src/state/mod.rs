//! Decisions of edge and connector as pure values: when to dial again, which tunnel serves a name.

pub(crate) mod backoff;
pub(crate) mod routes;
