//! One binary for all integration tests, so that Burn is linked once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod arguments;
mod bad_input;
mod checkpoints;
mod cli;
mod config;
mod decode;
mod devices;
mod edges;
mod edits;
mod gradient;
mod helpers;
mod hub;
mod inside;
mod measure;
mod packed;
mod prefix;
mod prune;
mod quantise;
mod real;
mod recorded;
mod reference;
mod repeat;
mod runs;
mod safetensors;
mod save;
mod scores;
mod spikes;
mod support;
mod surround;
mod sweep;
mod tables;
mod tasks;
mod tensors;
mod vocabulary;
mod widths;
