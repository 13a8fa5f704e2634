//! Pictures as plain data: a [`Chart`](marks::Chart) is a list of marks, which the page draws and SVG files are written from.
//! No page and no tensors here, so that the native command draws the same.
//!
//! | file | what |
//! |---|---|
//! | [`marks`] | a chart, and the SVG file of one |
//! | [`scale`] | from values to places on an axis |
//! | [`plot`] | the frame with two axes |
//! | [`points`] | rows of a table as points, and cells as text |
//! | [`data`] | any [`DataPlot`](crate::terms::DataPlot) of its table |
//! | [`palette`] | colours of pictures that stand in no page |

pub mod data;
mod heatmap;
pub mod marks;
pub mod palette;
pub mod plot;
pub mod points;
pub mod scale;
