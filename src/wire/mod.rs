pub(crate) mod api;
pub(crate) mod batch;
pub(crate) mod frame;
pub(crate) mod primitives;
pub(crate) mod record;
