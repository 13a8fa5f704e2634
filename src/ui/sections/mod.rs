//! The sections of the page, from top to bottom, each named after its heading.

pub mod compare;
pub mod experiments;
pub mod find;
pub mod keep;
pub mod model;
pub mod prove;
pub mod pull;
pub mod shared_run;
pub mod story;
pub mod weigh;
