//! The sections of the page, from the top to the bottom, each under the name that the visitor reads.

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
