//! The limits of every dispatch.

/// Invocations in a workgroup.
pub(super) const WORKGROUP: usize = 256;
/// The most workgroups along one dimension of a grid.
pub(super) const MAX_GRID: usize = 65_535;
