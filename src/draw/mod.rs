//! Pictures as plain data: a [`Chart`](marks::Chart) is a list of marks, which the page draws and SVG files are written
//! from. This module depends on neither the page nor tensors, so that the native command draws the same.
//!
//! | file | what |
//! |---|---|
//! | [`marks`] | a chart, and its SVG file |
//! | [`scale`] | the map from values to positions on an axis |
//! | [`plot`] | the frame with two axes |
//! | [`data`] | the chart of any [`DataPlot`](crate::terms::DataPlot) from its table |
//! | [`palette`] | colours of pictures outside the page |
//! | [`words`] | numbers and token texts as people read them |

pub mod data;
mod heatmap;
pub mod marks;
pub mod palette;
pub mod plot;
pub mod points;
pub mod scale;
