//! The same without the feature `metrics`: nothing is measured, and nothing costs.

#![allow(clippy::unused_self, reason = "the shape of what measures")]

use super::{Direction, Side};
use crate::{error::Error, id::TunnelId, stream::kind::StreamKind};

#[derive(Debug, Clone)]
pub(crate) struct Meter;

impl Meter {
    pub(crate) fn new(_: Side, _: TunnelId) -> Self {
        Self
    }

    pub(crate) fn begin(&self, _: StreamKind) -> Measured {
        Measured
    }

    pub(crate) fn bytes(&self, _: Direction) -> ByteCount {
        ByteCount(())
    }

    pub(crate) fn failed(&self, _: &Error) {}

    pub(crate) fn error(&self, _: &'static str) {}

    pub(crate) fn registered(&self) -> Connected {
        Connected
    }
}

pub(crate) fn refused(_: Side) {}

pub(crate) struct Measured;

impl Measured {
    pub(crate) fn answered(&self) {}
}

#[derive(Clone, Default)]
pub(crate) struct ByteCount(());

impl ByteCount {
    pub(crate) fn add(&self, _: usize) {}
}

pub(crate) struct Connected;
