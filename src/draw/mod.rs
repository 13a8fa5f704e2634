//! Pictures as plain data: a [`Chart`](marks::Chart) is a list of marks, which the page draws and SVG files are written
//! from. This module depends on neither the page nor tensors, so that the native command draws the same.
//!
//! | file | what |
//! |---|---|
//! | [`marks`] | a chart, and its SVG file |
//! | [`scale`] | the map from values to positions on an axis |
//! | [`plot`] | the frame with two axes |
//! | [`data`] | the chart of any [`DataPlot`](crate::terms::DataPlot) from its table |
//! | [`spikes`], [`scores`], [`surroundings`], [`comparison`], [`training`] | charts of special kinds, each of a typed report |
//! | [`report`] | everything that can be drawn of a typed report: facts, charts and tables |
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
