//! Charts, tables and the words in them, made from the page's state. Nothing here touches the browser.

pub mod channels;
pub mod comparison;
pub mod csv;
pub mod spikes;
pub mod tables;
pub mod words;
