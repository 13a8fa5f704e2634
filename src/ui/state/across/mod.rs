//! Rules that need several parts of the state.
//!
//! A part cannot see the others, so that it can be read and changed alone. What holds only between parts is therefore
//! here, in one place:
//!
//! | file | rules |
//! |---|---|
//! | [`validity`] | results of one part that hold only for what another part has: the edits in place, the scores, the model |
//! | [`requests`] | what the visitor asks for, as requests made of the values of several parts |
//! | [`turns`] | the turn of a request: what goes before it, what it drops, and what follows its end |
//! | [`life`] | the life of the engine and of its model: ready, loaded, lost, restarted |
//! | [`experiments`] | an experiment's super weights and texts, and the figures of a link beside an outcome |
//! | [`restore`] | a link, which fills in the controls of several parts |

mod experiments;
mod life;
mod requests;
mod restore;
mod turns;
mod validity;
