//! What the page says of its state in words. Nothing here touches the browser; charts are drawn by [`crate::draw`], from
//! the tables of [`crate::tables`].

pub mod words;
