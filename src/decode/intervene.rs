//! Interventions on activations: separate dispatches, only in layers with an intervention.

use burn::tensor::wgpu::wgpu;

use super::gpu::{DecodeGpu, Step};
use super::grid::WORKGROUP;
use super::kernels::{Access, Kernel};
use super::read::to_bytes;
use crate::terms::{Action, Intervention, Site};

/// Interventions by place (layer and site), in the given order at each place.
pub(super) struct Interventions {
    gpu: DecodeGpu,
    places: Vec<(usize, Site, wgpu::Buffer)>,
}

impl Interventions {
    pub fn new(gpu: &DecodeGpu, interventions: &[Intervention]) -> Self {
        let mut places = interventions.iter().map(|at| (at.layer, at.site)).collect::<Vec<_>>();
        places.sort_unstable();
        places.dedup();
        let places = places.into_iter().map(|(layer, site)| {
            let here = interventions.iter().filter(|at| (at.layer, at.site) == (layer, site));
            // The words are in the order of `struct Change`.
            let words = here.flat_map(|at| {
                let (sets, value) = match at.action {
                    Action::Set(value) => (1, value),
                    Action::Scale(factor) => (0, factor),
                };
                [word(at.token), word(at.channel), sets, value.to_bits()]
            });
            (layer, site, gpu.filled("interventions", &to_bytes(words), wgpu::BufferUsages::STORAGE))
        });
        Self { gpu: gpu.clone(), places: places.collect() }
    }

    /// The dispatch for a place with interventions. `x` has `width` floats.
    pub fn step(&self, layer: usize, site: Site, state: &wgpu::Buffer, x: &wgpu::Buffer, width: usize) -> Option<Step> {
        let (_, _, changes) = self.places.iter().find(|place| (place.0, place.1) == (layer, site))?;
        let kernel = Kernel::new("intervene")
            .state(Access::Read)
            .read("changes", "array<Change>")
            .write("x", "array<f32>")
            .constant("WIDTH", width)
            .text(include_str!("wgsl/intervene.wgsl"));
        let resources = [state, changes, x].map(|buffer| buffer.as_entire_binding());
        Some(self.gpu.step(&kernel, &resources, [1, 1, 1]))
    }
}

/// `x += y`.
pub(super) fn add(gpu: &DecodeGpu, y: &wgpu::Buffer, x: &wgpu::Buffer, width: usize) -> Step {
    let kernel =
        Kernel::new("add").read("y", "array<f32>").write("x", "array<f32>").constant("WIDTH", width).text(include_str!("wgsl/add.wgsl"));
    let resources = [y, x].map(|buffer| buffer.as_entire_binding());
    gpu.step(&kernel, &resources, [width.div_ceil(WORKGROUP) as u32, 1, 1])
}

/// An index as a word. An index that does not fit becomes a word beyond every position and channel.
fn word(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
