//! Texts about the page's state. Nothing here uses the browser; [`crate::draw`] draws the charts from the tables of
//! [`crate::tables`].

pub mod words;
