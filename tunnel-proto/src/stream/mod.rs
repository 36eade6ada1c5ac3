//! What a stream is for, and how HTTP heads travel in it. Pure functions over `http` types.

pub(crate) mod header_list;
pub(crate) mod hop;
pub(crate) mod kind;
pub(crate) mod management;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod websocket;
pub(crate) mod weight;
