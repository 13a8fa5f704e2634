//! Shared parts of the page: the browser, the engine's client, the context, shared widgets.

pub mod chart;
pub mod client;
pub mod context;
pub mod dom;
pub mod drop;
pub mod failure;
pub mod frame;
pub mod life;
pub mod number;
pub mod sampling;
pub mod theme;
