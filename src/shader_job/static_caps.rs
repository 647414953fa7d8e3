//! Bounds that a valid module must keep: memory of an invocation and of a workgroup, the values that it handles as a whole, workgroup sizes,
//! the size of the code with all calls expanded.
//!
//! Values count beside variables: naga's writer of SPIR-V puts a value that is indexed with a number known at run time only into a variable
//! of its own (`spill_to_internal_variable`), and drivers expand every load and store of an array into one of each element.

use super::error::{ShaderDiagnostic, Stage};
use super::fuel::children;
use super::program::Allowed;
use super::source_map::MappedText;
use crate::limits::*;
use naga::proc::Layouter;
use naga::proc::TypeResolution;
use naga::valid::{FunctionInfo, ModuleInfo};
use naga::{AddressSpace, ArraySize, Block, Expression, Function, Handle, Module, Span, Statement, Type, TypeInner};
use std::collections::HashSet;

/// Checks all bounds that depend on the module alone.
pub fn check(
    module: &Module,
    info: &ModuleInfo,
    mapped: &MappedText,
    allowed: &Allowed,
) -> Result<(), Vec<ShaderDiagnostic>> {
    let mut problems = Vec::new();
    let mut refuse = |what: String, span: Span| {
        problems.push(mapped.problem(Stage::Limit, what, span.to_range().map(|range| range.start)));
    };
    for (handle, ty) in module.types.iter() {
        if matches!(ty.inner, TypeInner::Array { size: ArraySize::Pending(_), .. }) {
            refuse(
                "The size of an array must not be an `override`; write `const`.".into(),
                module.types.get_span(handle),
            );
        }
    }
    let mut layouter = Layouter::default();
    if layouter.update(module.to_ctx()).is_err() {
        refuse("A type is larger than 4 GiB.".into(), Span::UNDEFINED);
        return Err(problems);
    }
    let bytes = |ty: Handle<Type>| u64::from(layouter[ty].size);
    let sizes = Sizes { module, layouter: &layouter };
    let trees = trees(module, info, &sizes);
    let functions = module.functions.iter().map(|(handle, function)| (function, &info[handle]));
    let entries = module.entry_points.iter().enumerate();
    let entries = entries.map(|(index, entry)| (&entry.function, info.get_entry_point(index)));
    for (function, info) in functions.chain(entries) {
        if let Some((what, span)) = sizes.value_too_large(function, info) {
            refuse(what, span);
        }
    }
    for (index, entry) in module.entry_points.iter().enumerate() {
        let name = &entry.name;
        let uses = info.get_entry_point(index);
        let span = first_span(&entry.function);
        let mut private_bytes = 0_u64;
        let mut workgroup_bytes = 0_u64;
        let mut largest = (0, span);
        for (handle, variable) in module.global_variables.iter().filter(|(handle, _)| !uses[*handle].is_empty()) {
            let bytes = bytes(variable.ty);
            match variable.space {
                AddressSpace::Private => private_bytes += bytes,
                AddressSpace::WorkGroup => workgroup_bytes += bytes.next_multiple_of(16),
                _ => continue,
            }
            if bytes > largest.0 {
                largest = (bytes, module.global_variables.get_span(handle));
            }
        }
        let tree = tree(&entry.function, uses, &trees, &sizes);
        private_bytes += tree.stack_bytes;
        if private_bytes > allowed.private_bytes {
            let what = format!(
                "{name:?} needs {private_bytes} bytes of private memory in every invocation; {} are allowed.",
                allowed.private_bytes
            );
            refuse(what, largest.1);
        }
        if workgroup_bytes > allowed.workgroup_bytes {
            let what = format!(
                "{name:?} needs {workgroup_bytes} bytes of workgroup memory; {} are allowed.",
                allowed.workgroup_bytes
            );
            refuse(what, largest.1);
        }
        if tree.nodes > SHADER_CALL_TREE_NODES_MAX || tree.calls > SHADER_CALL_TREE_CALLS_MAX {
            let what = format!(
                "{name:?} is too large for a compiler that expands calls: {} calls and {} operations, of which \
                 {SHADER_CALL_TREE_CALLS_MAX} and {SHADER_CALL_TREE_NODES_MAX} are allowed; call less often, or in a loop.",
                tree.calls, tree.nodes
            );
            refuse(what, span);
        }
        let size = entry.workgroup_size;
        if entry.workgroup_size_overrides.is_some_and(|sizes| sizes.iter().any(Option::is_some)) {
            refuse(format!("The workgroup size of {name:?} must not be an `override`; write `const`."), span);
        }
        let invocations = size.iter().map(|&side| u64::from(side)).product::<u64>();
        let axis = size.iter().zip(allowed.workgroup_size).any(|(&side, max)| side > max);
        if invocations > u64::from(allowed.workgroup_invocations) || axis {
            let what = format!(
                "{name:?} has workgroups of {} × {} × {}; at most {} invocations are allowed, and {:?} along the axes.",
                size[0], size[1], size[2], allowed.workgroup_invocations, allowed.workgroup_size
            );
            refuse(what, span);
        }
    }
    for (_, function) in module.functions.iter() {
        let nodes = function.expressions.len() as u64 + statements(&function.body);
        if nodes > SHADER_FUNCTION_NODES_MAX {
            let name = function.name.as_deref().unwrap_or_default();
            let what = format!("{name:?} has {nodes} operations; at most {SHADER_FUNCTION_NODES_MAX} are allowed.");
            refuse(what, first_span(function));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Bytes of the largest matrix: values up to here stay in registers.
const REGISTER_BYTES: u64 = 64;

/// A function with all its calls expanded.
#[derive(Debug, Clone, Copy, Default)]
struct Tree {
    /// Expressions and statements; a large value counts for as many as a driver makes of it.
    nodes: u64,
    /// Calls.
    calls: u64,
    /// Bytes of local variables, arguments and values that become variables, on the deepest path.
    stack_bytes: u64,
}

/// Of all functions, by index; callees stand before their callers.
fn trees(module: &Module, info: &ModuleInfo, sizes: &Sizes<'_>) -> Vec<Tree> {
    let mut trees = Vec::with_capacity(module.functions.len());
    for (handle, function) in module.functions.iter() {
        let tree = tree(function, &info[handle], &trees, sizes);
        trees.push(tree);
    }
    trees
}

fn tree(function: &Function, info: &FunctionInfo, callees: &[Tree], sizes: &Sizes<'_>) -> Tree {
    let mut tree =
        Tree { nodes: function.expressions.len() as u64 + statements(&function.body), calls: 0, stack_bytes: 0 };
    let mut deepest = 0;
    visit_calls(&function.body, &mut |callee| {
        let callee = callees.get(callee).copied().unwrap_or_default();
        tree.nodes = tree.nodes.saturating_add(callee.nodes);
        tree.calls = tree.calls.saturating_add(callee.calls).saturating_add(1);
        deepest = deepest.max(callee.stack_bytes);
    });
    let locals = function.local_variables.iter().map(|(_, local)| sizes.of_type(local.ty));
    let arguments = function.arguments.iter().map(|argument| sizes.of_type(argument.ty));
    let arguments = arguments.filter(|&bytes| bytes > REGISTER_BYTES);
    let own = locals.chain(arguments).fold(sizes.spilled_bytes(function, info), u64::saturating_add);
    tree.nodes = tree.nodes.saturating_add(sizes.copied_nodes(function, info));
    tree.stack_bytes = own.saturating_add(deepest);
    tree
}

/// Bytes of types and of values.
struct Sizes<'m> {
    module: &'m Module,
    layouter: &'m Layouter,
}

impl Sizes<'_> {
    fn of_type(&self, ty: Handle<Type>) -> u64 {
        u64::from(self.layouter[ty].size)
    }

    /// Of an expression's value; 0 for pointers and for what only names a resource.
    fn of_value(&self, info: &FunctionInfo, expression: Handle<Expression>) -> u64 {
        let ty = &info[expression].ty;
        if ty.inner_with(&self.module.types).pointer_space().is_some() {
            return 0;
        }
        match ty {
            TypeResolution::Handle(ty) => self.of_type(*ty),
            TypeResolution::Value(inner) => inner.try_size(self.module.to_ctx()).map_or(u64::MAX, u64::from),
        }
    }

    /// What is wrong with the first value that is too large to be handled as a whole.
    fn value_too_large(&self, function: &Function, info: &FunctionInfo) -> Option<(String, Span)> {
        function.expressions.iter().find_map(|(handle, expression)| {
            let bytes = self.of_value(info, handle);
            let (most, advice) = match is_constant(expression) {
                true => (SHADER_CONSTANT_BYTES_MAX, "keep it in a storage buffer"),
                false => (SHADER_VALUE_BYTES_MAX, "index the variable itself, or take a pointer to it"),
            };
            let what = format!("A value of {bytes} bytes is used as a whole; {most} are allowed: {advice}.");
            (bytes > most).then(|| (what, function.expressions.get_span(handle)))
        })
    }

    /// Bytes of the values that become variables because they are indexed dynamically: each once a function.
    fn spilled_bytes(&self, function: &Function, info: &FunctionInfo) -> u64 {
        let bases = function.expressions.iter().filter_map(|(_, expression)| match *expression {
            Expression::Access { base, .. } => Some(base),
            _ => None,
        });
        let bases: HashSet<Handle<Expression>> = bases.collect();
        bases.into_iter().fold(0, |sum, base| sum.saturating_add(self.of_value(info, base)))
    }

    /// What a driver makes of large values, beyond the one node that each is: about one for every four words.
    fn copied_nodes(&self, function: &Function, info: &FunctionInfo) -> u64 {
        let values = function.expressions.iter().map(|(handle, _)| self.of_value(info, handle));
        values.filter(|&bytes| bytes > REGISTER_BYTES).fold(0, |sum, bytes| sum.saturating_add(bytes / 16))
    }
}

/// A value that is written in the text, as opposed to one that is read or computed.
fn is_constant(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Literal(_) | Expression::Constant(_) | Expression::ZeroValue(_) | Expression::Compose { .. }
    )
}

fn visit_calls(block: &Block, visit: &mut dyn FnMut(usize)) {
    for statement in block.iter() {
        if let Statement::Call { function, .. } = statement {
            visit(function.index());
        }
        children(statement).into_iter().for_each(|child| visit_calls(child, visit));
    }
}

fn statements(block: &Block) -> u64 {
    block.iter().map(|statement| 1 + children(statement).into_iter().map(statements).sum::<u64>()).sum()
}

/// The span of the first statement that has one: a place inside the function.
fn first_span(function: &Function) -> Span {
    let body = function.body.span_iter().map(|(_, span)| *span).find(Span::is_defined);
    body.or_else(|| {
        function.expressions.iter().map(|(handle, _)| function.expressions.get_span(handle)).find(Span::is_defined)
    })
    .unwrap_or(Span::UNDEFINED)
}
