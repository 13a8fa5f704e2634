//! Pictures as plain data: a [`Chart`](marks::Chart) is a list of marks, from which the page draws and SVG files are
//! written. This module depends on neither the page nor tensors, so that the native command draws the same pictures.
//!
//! | file | content |
//! |---|---|
//! | [`marks`] | a chart, and its SVG file |
//! | [`scale`] | the map from values to positions on an axis |
//! | [`plot`] | the frame with two axes |
//! | [`data`] | the chart of any [`DataPlot`](crate::terms::DataPlot) from its table |
//! | [`spikes`], [`scores`], [`surroundings`], [`comparison`], [`training`] | special charts, each of a typed report |
//! | [`report`] | the facts, charts and tables of a typed report |
//! | [`palette`] | colours of pictures outside the page |

pub mod comparison;
pub mod data;
mod heatmap;
pub mod marks;
pub mod palette;
pub mod plot;
pub mod points;
pub mod report;
pub mod scale;
pub mod scores;
pub mod spikes;
pub mod surroundings;
pub mod training;
