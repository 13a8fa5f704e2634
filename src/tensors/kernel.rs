//! A kernel in WGSL, launched on Burn's own queue between its operations.

use burn::backend::TensorMetadata;
use burn::backend::wgpu::CubeTensor;
use burn::tensor::{DType, Shape};
use burn_cubecl::cubecl::ir::{ElemType, UIntKind, metadata::Info, settings::Dim3};
use burn_cubecl::cubecl::prelude::{AddressType, ExecutionMode, KernelDefinition, KernelId, KernelMetadata, KernelSettings, Scope};
use burn_cubecl::cubecl::server::{KernelArguments, MetadataBindingInfo};
use burn_cubecl::cubecl::{CubeCount, CubeKernel, PrecompiledSource, client::Client};

use crate::platform::IN_BROWSER;

/// Rows across a grid; see `row.wgsl`.
const ROWS_ACROSS: usize = 32_768;
/// Invocations in a workgroup of a hand-written kernel.
const WORKGROUP: u32 = 256;
/// Access of the inputs. Outside a browser two tensors may share a buffer, and then both need the same access.
/// (`info` is in a read-only pool of CubeCL.)
const READ: &str = if IN_BROWSER { "read" } else { "read_write" };

/// WGSL of kernels that work on rows: the position of an invocation.
pub(super) const ROW: &str = include_str!("wgsl/row.wgsl");
/// WGSL of kernels that sum over a workgroup.
pub(super) const REDUCE: &str = include_str!("wgsl/reduce.wgsl");

/// The parts of a kernel: declarations and WGSL bodies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub name: &'static str,
    pub inputs: &'static [&'static str],
    pub outputs: &'static [&'static str],
    /// Fields of `struct Info`, 4 bytes each.
    pub info: &'static str,
    pub parts: &'static [&'static str],
}

/// A generated kernel, with any number of invocations.
pub(super) struct Specialised {
    pub kernel: Kernel,
    /// A key that distinguishes kernels with the same name, so that each is compiled once.
    pub key: u32,
    pub threads: u32,
    pub body: Box<dyn Fn() -> String + Send + Sync>,
}

impl Specialised {
    fn text(&self) -> String {
        let Kernel { inputs, outputs, info, parts, .. } = self.kernel;
        let mut text = format!("struct Info {{ {info} }}\n");
        let reads = inputs.iter().map(|declaration| (READ, *declaration));
        let writes = outputs.iter().map(|declaration| ("read_write", *declaration));
        for (binding, (access, declaration)) in reads.chain(writes).chain([("read", "info: Info")]).enumerate() {
            text += &format!("@group(0) @binding({binding}) var<storage, {access}> {declaration};\n");
        }
        text += &(self.body)();
        parts.iter().for_each(|part| text += part);
        text
    }
}

impl KernelMetadata for Specialised {
    fn id(&self) -> KernelId {
        let id = KernelId::new::<Self>().info((self.kernel.name, self.key));
        id.cube_dim(Dim3::new_1d(self.threads)).mode(ExecutionMode::Unchecked)
    }

    fn address_type(&self) -> ElemType {
        ElemType::UInt(UIntKind::U32)
    }
}

impl CubeKernel for Specialised {
    /// Only names the launch; the program is [`Self::text`].
    fn define(&self) -> KernelDefinition {
        let settings = KernelSettings::new(Dim3::new_1d(self.threads), ExecutionMode::Unchecked, AddressType::U32);
        KernelDefinition { body: Scope::root(settings.clone()), settings, info: Info::default() }
    }

    fn source(&self) -> Option<PrecompiledSource> {
        Some(PrecompiledSource { source: self.text(), entrypoint_name: "main".into(), lang: "wgsl" })
    }
}

/// `true` if a device takes WGSL. In a browser every GPU does. This is known at compile time, so Burn's own matrix
/// products are left out of the download.
pub(super) fn takes_wgsl(client: &Client) -> bool {
    IN_BROWSER || client.name() == "wgpu<wgsl>"
}

/// `true` if a tensor is on a device that runs our own kernels.
pub(super) fn runs_wgsl(tensor: &CubeTensor) -> bool {
    takes_wgsl(&tensor.client)
}

/// Rows, their width, and a grid with one workgroup for each row.
pub(super) fn rows(x: &CubeTensor) -> (usize, usize, CubeCount) {
    let shape = x.shape();
    let width = shape[shape.num_dims() - 1];
    let rows = x.meta.num_elements() / width.max(1);
    (rows, width, on_rows(rows))
}

/// A grid of one workgroup for each row.
pub(super) fn on_rows(n: usize) -> CubeCount {
    CubeCount::Static(n.min(ROWS_ACROSS) as u32, n.div_ceil(ROWS_ACROSS) as u32, 1)
}

/// Launches a hand-written kernel; see [`launch_specialised`].
pub(super) fn launch<const N: usize>(
    kernel: &Kernel,
    grid: CubeCount,
    inputs: &[&CubeTensor],
    outputs: [(Shape, DType); N],
    info: &[u32],
) -> [CubeTensor; N] {
    launch_specialised(
        Specialised { kernel: *kernel, key: 0, threads: WORKGROUP, body: Box::new(String::new) },
        grid,
        inputs,
        outputs,
        info,
    )
}

/// Launches a kernel on tensors of one device, and returns its outputs, contiguous. `info` has the fields of
/// `struct Info`, padded to a multiple of 16 bytes.
pub(super) fn launch_specialised<const N: usize>(
    kernel: Specialised,
    grid: CubeCount,
    inputs: &[&CubeTensor],
    outputs: [(Shape, DType); N],
    info: &[u32],
) -> [CubeTensor; N] {
    let CubeTensor { client, device, .. } = inputs[0];
    // All types here have 4 bytes.
    let outputs = outputs.map(|(shape, dtype)| {
        let handle = client.empty(4 * shape.num_elements());
        CubeTensor::new_contiguous(client.clone(), device.clone(), shape, handle, dtype)
    });
    let tensors = inputs.iter().copied().chain(&outputs);
    let bindings = tensors.map(|tensor| tensor.handle.clone().binding()).collect();
    let words = info.as_chunks().0.iter().map(|[low, high]| u64::from(*low) | u64::from(*high) << 32).collect();
    let mut arguments = KernelArguments::new().with_buffers(bindings);
    arguments.info = MetadataBindingInfo::custom(words);
    client.launch(Box::new(kernel), grid, arguments);
    outputs
}
