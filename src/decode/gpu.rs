//! The shared parts of all decode plans on one GPU: the device, the queue, and the pipelines created so far.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use burn::tensor::wgpu::wgpu;

use super::kernels::{Access, Kernel};
use crate::platform::GpuHandles;

/// A GPU to decode on. Cloning shares it.
#[derive(Debug, Clone)]
pub struct DecodeGpu {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    /// Pipelines by source. Two models of one shape, intact and ablated, use the same ones.
    pipelines: Rc<RefCell<HashMap<String, Pipeline>>>,
}

#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pipeline: wgpu::ComputePipeline,
    layout: wgpu::BindGroupLayout,
}

/// One dispatch, recorded.
#[derive(Debug)]
pub(super) struct Step {
    pipeline: wgpu::ComputePipeline,
    bindings: wgpu::BindGroup,
    grid: [u32; 3],
}

impl Step {
    pub fn encode(&self, pass: &mut wgpu::ComputePass<'_>) {
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &self.bindings, &[]);
        let [x, y, z] = self.grid;
        pass.dispatch_workgroups(x, y, z);
    }
}

impl DecodeGpu {
    pub fn new(handles: GpuHandles) -> Self {
        Self { device: handles.device, queue: handles.queue, pipelines: Rc::default() }
    }

    /// The largest buffer that a shader can bind, in bytes.
    pub(super) fn max_binding_bytes(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_storage_buffer_binding_size.min(limits.max_buffer_size)
    }

    /// Records a dispatch. `resources` are in the order of the kernel's bindings.
    pub(super) fn step(&self, kernel: &Kernel, resources: &[wgpu::BindingResource<'_>], grid: [u32; 3]) -> Step {
        let Pipeline { pipeline, layout } = self.pipeline(kernel);
        let entries = (0..).zip(resources).map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource: resource.clone() });
        let bindings = self.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(kernel.label),
            layout: &layout,
            entries: &entries.collect::<Vec<_>>(),
        });
        Step { pipeline, bindings, grid }
    }

    fn pipeline(&self, kernel: &Kernel) -> Pipeline {
        if let Some(known) = self.pipelines.borrow().get(&kernel.source) {
            return known.clone();
        }
        let made = self.make_pipeline(kernel);
        self.pipelines.borrow_mut().insert(kernel.source.clone(), made.clone());
        made
    }

    fn make_pipeline(&self, kernel: &Kernel) -> Pipeline {
        let label = Some(kernel.label);
        // The layout is explicit, because an automatic one drops bindings that a specialised kernel does not read.
        let entries = (0..).zip(&kernel.bindings).map(|(binding, access)| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: match access {
                    Access::Uniform => wgpu::BufferBindingType::Uniform,
                    Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                    Access::ReadWrite => wgpu::BufferBindingType::Storage { read_only: false },
                },
                has_dynamic_offset: false,
                min_binding_size: None,
            },
            count: None,
        });
        let layout =
            self.device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label, entries: &entries.collect::<Vec<_>>() });
        let pipeline_layout = self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label,
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let source = wgpu::ShaderSource::Wgsl(kernel.source.as_str().into());
        let module = self.device.create_shader_module(wgpu::ShaderModuleDescriptor { label, source });
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label,
            layout: Some(&pipeline_layout),
            module: &module,
            entry_point: Some("main"),
            // Every kernel writes its workgroup memory before it reads it.
            compilation_options: wgpu::PipelineCompilationOptions { zero_initialize_workgroup_memory: false, ..Default::default() },
            cache: None,
        });
        Pipeline { pipeline, layout }
    }

    pub(super) fn buffer(&self, label: &'static str, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let size = bytes.next_multiple_of(16).max(16);
        self.device.create_buffer(&wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false })
    }

    /// A buffer that kernels read and write.
    pub(super) fn storage(&self, label: &'static str, floats: u64) -> wgpu::Buffer {
        use wgpu::BufferUsages as Usage;
        self.buffer(label, 4 * floats, Usage::STORAGE | Usage::COPY_SRC | Usage::COPY_DST)
    }

    /// A buffer that is filled with `bytes`.
    pub(super) fn filled(&self, label: &'static str, bytes: &[u8], usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let buffer = self.buffer(label, bytes.len() as u64, usage | wgpu::BufferUsages::COPY_DST);
        self.queue.write_buffer(&buffer, 0, bytes);
        buffer
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("decode") })
    }
}
