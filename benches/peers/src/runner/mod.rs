//! The comparison: what is run (`drivers`, `plan`), how (`rounds`), and what is made of it (`results`, `goals`,
//! `markdown`, `plot`).

pub(crate) mod drivers;
pub(crate) mod goals;
pub(crate) mod machine;
pub(crate) mod markdown;
pub(crate) mod plan;
pub(crate) mod plot;
pub(crate) mod results;
pub(crate) mod rounds;
