//! Rules that need several parts of the state.
//!
//! A part cannot see the others, so that it can be read and changed alone. Rules that involve several parts are
//! therefore all in this folder:
//!
//! | file | rules |
//! |---|---|
//! | [`validity`] | results of one part that depend on another: the applied edits, the scores, the model |
//! | [`requests`] | the visitor's requests, built from the values of several parts |
//! | [`turns`] | the turn of a request: preparations, dropped results, and next steps |
//! | [`life`] | the life of the engine and of its model: ready, loaded, lost, restarted |
//! | [`experiments`] | an experiment's super weights and texts, and the figures of a link compared with an outcome |
//! | [`restore`] | a link, which fills in the controls of several parts |

mod experiments;
mod life;
mod requests;
mod restore;
mod turns;
mod validity;
