//! What all dialects share once a module is valid: bounds, fuel, dispatches and the memory that a program needs.

use super::error::{ShaderDiagnostic, ShaderErrors, Stage, cut};
use super::program::*;
use super::source_map::MappedText;
use super::{front, fuel, static_caps};
use crate::limits::*;
use naga::valid::ModuleInfo;
use naga::{Handle, Module, ResourceBinding, ShaderStage};

/// A parsed module with its first validation.
pub(super) struct Valid {
    pub module: Module,
    pub info: ModuleInfo,
}

/// Parses (unless it was), validates and checks the bounds that depend on the module alone.
pub(super) fn check(module: Module, mapped: &MappedText, allowed: &Allowed) -> Result<Valid, ShaderErrors> {
    let info = front::validate(&module, mapped, allowed)?;
    let other = module.entry_points.iter().find(|entry| entry.stage != ShaderStage::Compute);
    if let Some(entry) = other {
        let span = entry.function.body.span_iter().map(|(_, span)| *span).find(naga::Span::is_defined);
        let what = format!("{:?} is a {:?} entry point; only compute shaders can be run.", entry.name, entry.stage);
        let offset = span.and_then(naga::Span::to_range).map(|range| range.start);
        return Err(mapped.problem(Stage::Validate, what, offset).into());
    }
    static_caps::check(&module, &info, mapped, allowed).map_err(ShaderErrors::new)?;
    Ok(Valid { module, info })
}

/// True if one of the entry points uses the variable.
pub(super) fn is_used(valid: &Valid, variable: Handle<naga::GlobalVariable>, entries: &[usize]) -> bool {
    entries.iter().any(|&entry| !valid.info.get_entry_point(entry)[variable].is_empty())
}

/// Adds fuel and the report's binding, and validates again. `bindings` are all bindings of the unit.
pub(super) fn finish_unit(
    name: &str,
    valid: Valid,
    mut bindings: Vec<Binding>,
    mapped: &MappedText,
    allowed: &Allowed,
) -> Result<Unit, ShaderErrors> {
    let Valid { mut module, .. } = valid;
    let taken = module.global_variables.iter().filter_map(|(_, variable)| variable.binding);
    let binding = taken.filter(|taken| taken.group == 0).map(|taken| taken.binding + 1).max().unwrap_or(0);
    let report = ResourceBinding { group: 0, binding };
    let kinds = fuel::kinds(&module);
    let driver_share = allowed.driver_iterations / kinds.max(1);
    let iterations = allowed.fuel_iterations.min(driver_share).clamp(1, SHADER_FUEL_ITERATIONS_MAX);
    let fuel = fuel::add(&mut module, mapped, iterations, report);
    if !fuel.loops.is_empty() {
        let name = "kiln_fuel_report".to_owned();
        bindings.push(Binding { group: report.group, binding: report.binding, name, kind: BindingKind::FuelReport });
    }
    let info = front::validate(&module, mapped, allowed)?;
    bindings.sort_by_key(|binding| (binding.group, binding.binding));
    let iterations_max = u64::from(kinds) * u64::from(iterations);
    Ok(Unit { name: name.to_owned(), module, info, bindings, fuel, iterations_max })
}

/// Workgroups that cover the picture.
pub(super) fn covering(size: [u32; 2], workgroup_size: [u32; 3]) -> [u32; 3] {
    [size[0].div_ceil(workgroup_size[0].max(1)), size[1].div_ceil(workgroup_size[1].max(1)), 1]
}

/// Checks the dispatches of a frame against the bounds. `line` gives a problem its place: the index is the dispatch's.
pub(super) fn check_dispatches(
    dispatches: &[Dispatch],
    allowed: &Allowed,
    problem: &dyn Fn(usize, String) -> ShaderDiagnostic,
) -> Result<(), ShaderErrors> {
    let mut problems = Vec::new();
    if dispatches.len() > allowed.dispatch_entries {
        let what = format!("{} entry points; at most {} are allowed.", dispatches.len(), allowed.dispatch_entries);
        problems.push(problem(allowed.dispatch_entries, what));
    }
    let mut total = 0_u64;
    for (index, dispatch) in dispatches.iter().enumerate() {
        let name = &dispatch.entry_point;
        let [x, y, z] = dispatch.workgroups;
        total += u64::from(dispatch.count);
        if dispatch.workgroups.iter().any(|&count| count > SHADER_WORKGROUPS_PER_AXIS_MAX) {
            let what = format!(
                "{name:?} is dispatched with {x} × {y} × {z} workgroups; at most {SHADER_WORKGROUPS_PER_AXIS_MAX} along an axis are allowed."
            );
            problems.push(problem(index, what));
            continue;
        }
        let invocations = dispatch.workgroups.iter().chain(&dispatch.workgroup_size);
        let invocations = invocations.fold(1_u64, |product, &side| product.saturating_mul(u64::from(side)));
        if invocations > allowed.dispatch_invocations {
            let what = format!(
                "{name:?} is dispatched with {x} × {y} × {z} workgroups, which is {invocations} invocations; at most {} are allowed.",
                allowed.dispatch_invocations
            );
            problems.push(problem(index, what));
        }
    }
    if total > u64::from(allowed.dispatches_per_frame) {
        let what = format!("{total} dispatches a frame; at most {} are allowed.", allowed.dispatches_per_frame);
        let most = (0..dispatches.len()).max_by_key(|&index| dispatches[index].count).unwrap_or(0);
        problems.push(problem(most, what));
    }
    if problems.is_empty() { Ok(()) } else { Err(ShaderErrors::new(problems)) }
}

/// Bytes of all buffers and textures that a program creates, without channels and readback.
pub(super) fn memory_bytes(program: &Program) -> u64 {
    let pixels = u64::from(program.size[0]) * u64::from(program.size[1]);
    let storage = program.storage.iter().map(|buffer| buffer.bytes).sum::<u64>();
    let output = program.output.format.bytes() * pixels * if program.previous { 2 } else { 1 };
    let passes = program.passes.map_or(0, |passes| passes.format.bytes() * pixels * 4 * 2);
    let buffers = program.buffers.iter().map(|buffer| buffer.format.bytes() * pixels * 2).sum::<u64>();
    let uniforms = program.units.iter().flat_map(|unit| &unit.bindings).map(|binding| match &binding.kind {
        BindingKind::Uniform(block) => block.bytes.len() as u64,
        BindingKind::DispatchId => 256 * u64::from(SHADER_DISPATCHES_PER_FRAME_MAX),
        BindingKind::FuelReport => FuelReport::BYTES,
        _ => 0,
    });
    storage + output + passes + buffers + uniforms.sum::<u64>()
}

/// Fills in what follows from the rest, and checks the memory.
pub(super) fn finish(mut program: Program, allowed: &Allowed) -> Result<Program, ShaderErrors> {
    program.memory_bytes = memory_bytes(&program);
    bound_warnings(&mut program.warnings);
    program.iterations_max = program.units.iter().map(|unit| unit.iterations_max).max().unwrap_or(0);
    if program.memory_bytes > allowed.memory_bytes {
        let what = format!(
            "The shader needs {} bytes of GPU memory; {} are allowed. Make the picture or the storage buffers smaller.",
            program.memory_bytes, allowed.memory_bytes
        );
        return Err(ShaderDiagnostic::new(Stage::Limit, what).into());
    }
    Ok(program)
}

/// Keeps what a text can make of warnings within what is shown to people.
fn bound_warnings(warnings: &mut Vec<String>) {
    let count = warnings.len();
    warnings.truncate(SHADER_WARNINGS_MAX);
    for warning in warnings.iter_mut() {
        warning.truncate(cut(warning, SHADER_MESSAGE_BYTES_MAX).len());
    }
    if count > SHADER_WARNINGS_MAX {
        warnings.push(format!("There are {} more warnings.", count - SHADER_WARNINGS_MAX));
    }
}

/// The size of a storage buffer's type, or `None` if it ends in an array without a length; then the bytes before the array, and the
/// array's stride.
pub(super) enum StorageSize {
    /// Bytes.
    Fixed(u64),
    /// An array without a length at the end.
    Open {
        /// Bytes before it.
        head_bytes: u64,
        /// Bytes of an element.
        stride_bytes: u64,
    },
}

/// See [`StorageSize`].
pub(super) fn storage_size(module: &Module, ty: Handle<naga::Type>) -> StorageSize {
    let array = |ty: Handle<naga::Type>| match module.types[ty].inner {
        naga::TypeInner::Array { size: naga::ArraySize::Dynamic, stride, .. } => Some(u64::from(stride)),
        _ => None,
    };
    if let Some(stride_bytes) = array(ty) {
        return StorageSize::Open { head_bytes: 0, stride_bytes };
    }
    if let naga::TypeInner::Struct { members, .. } = &module.types[ty].inner
        && let Some(last) = members.last()
        && let Some(stride_bytes) = array(last.ty)
    {
        return StorageSize::Open { head_bytes: u64::from(last.offset), stride_bytes };
    }
    StorageSize::Fixed(u64::from(module.types[ty].inner.size(module.to_ctx())))
}
