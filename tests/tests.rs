//! One binary for all integration tests, so that Burn is linked once.

mod bad_input;
mod edits;
mod gradient;
mod reference;
mod runs;
mod safetensors;
mod spikes;
mod support;
