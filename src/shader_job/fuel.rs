//! Loop fuel: a pass over naga's IR after which no invocation runs forever.
//!
//! Two private counters start full in every invocation. The body of every loop begins by spending one unit; if none is left, the
//! loop's id is noted in the report buffer and the loop is left. Loops that hold a barrier, directly or through calls, spend from the
//! second counter: WGSL has them run in uniform control flow, so that all invocations of a workgroup agree on it and leave together,
//! whatever they spent in other loops. There is no recursion in WGSL, so with the cap on the call tree this bounds every invocation.

use super::error::Stage;
use super::program::{FuelReport, LoopPlace};
use super::source_map::MappedText;
use naga::{
    AddressSpace, AtomicFunction, BinaryOperator, Block, Expression, Function, GlobalVariable, Handle, Literal, Module,
    ResourceBinding, Scalar, Span, Statement, StorageAccess, Type, TypeInner,
};

/// The variables that the pass adds.
struct Counters {
    /// `var<private>: u32` for loops without a barrier.
    free: Handle<GlobalVariable>,
    /// The same for loops with one.
    uniform: Handle<GlobalVariable>,
    /// `var<storage, read_write>: atomic<u32>`.
    report: Handle<GlobalVariable>,
}

/// Adds fuel to every loop of `module`, which must be valid, and which must be validated again. `report` is a free binding.
pub fn add(module: &mut Module, mapped: &MappedText, iterations_max: u32, report: ResourceBinding) -> FuelReport {
    let barriers = functions_with_barrier(module);
    let mut fuel = FuelReport { iterations_max, loops: Vec::new() };
    let any =
        module.functions.iter().map(|(_, function)| function).chain(module.entry_points.iter().map(|e| &e.function));
    if !any.into_iter().any(|function| has_loop(&function.body)) {
        return fuel;
    }
    let counters = declare(module, iterations_max, report);
    let name = |function: &Function| function.name.clone().unwrap_or_default();
    for (_, function) in module.functions.iter_mut() {
        let name = name(function);
        Pass { function, name, counters: &counters, barriers: &barriers, mapped, fuel: &mut fuel, common: None }.run();
    }
    for entry in &mut module.entry_points {
        let (function, name) = (&mut entry.function, entry.name.clone());
        Pass { function, name, counters: &counters, barriers: &barriers, mapped, fuel: &mut fuel, common: None }.run();
    }
    fuel
}

fn declare(module: &mut Module, iterations_max: u32, report: ResourceBinding) -> Counters {
    let ty = |module: &mut Module, inner| module.types.insert(Type { name: None, inner }, Span::UNDEFINED);
    let u32_type = ty(module, TypeInner::Scalar(Scalar::U32));
    let atomic_type = ty(module, TypeInner::Atomic(Scalar::U32));
    let full = module.global_expressions.append(Expression::Literal(Literal::U32(iterations_max)), Span::UNDEFINED);
    let mut variable = |name: &str, space, binding, ty: Handle<Type>, init| {
        let variable = GlobalVariable {
            name: Some(name.to_owned()),
            space,
            binding,
            ty,
            init,
            memory_decorations: naga::MemoryDecorations::empty(),
        };
        module.global_variables.append(variable, Span::UNDEFINED)
    };
    let access = StorageAccess::LOAD | StorageAccess::STORE;
    Counters {
        free: variable("kiln_fuel", AddressSpace::Private, None, u32_type, Some(full)),
        uniform: variable("kiln_fuel_uniform", AddressSpace::Private, None, u32_type, Some(full)),
        report: variable("kiln_fuel_report", AddressSpace::Storage { access }, Some(report), atomic_type, None),
    }
}

/// By index of the function: true if it, or one that it calls, holds a barrier. Functions stand before their callers.
fn functions_with_barrier(module: &Module) -> Vec<bool> {
    let mut barriers = Vec::with_capacity(module.functions.len());
    for (_, function) in module.functions.iter() {
        let found = has_barrier(&function.body, &barriers);
        barriers.push(found);
    }
    barriers
}

/// How many of the two kinds of loop a module has, with and without a barrier: 0 to 2.
pub fn kinds(module: &Module) -> u32 {
    fn visit(block: &Block, callees: &[bool], found: &mut [bool; 2]) {
        for statement in block.iter() {
            if let Statement::Loop { body, continuing, .. } = statement {
                let barrier = has_barrier(body, callees) || has_barrier(continuing, callees);
                found[usize::from(barrier)] = true;
            }
            children(statement).into_iter().for_each(|child| visit(child, callees, found));
        }
    }
    let barriers = functions_with_barrier(module);
    let mut found = [false; 2];
    module.functions.iter().for_each(|(_, function)| visit(&function.body, &barriers, &mut found));
    module.entry_points.iter().for_each(|entry| visit(&entry.function.body, &barriers, &mut found));
    found.into_iter().map(u32::from).sum()
}

fn has_barrier(block: &Block, callees: &[bool]) -> bool {
    block.iter().any(|statement| match statement {
        Statement::ControlBarrier(_) | Statement::MemoryBarrier(_) | Statement::WorkGroupUniformLoad { .. } => true,
        Statement::Call { function, .. } => callees.get(function.index()).copied().unwrap_or(false),
        _ => children(statement).into_iter().any(|child| has_barrier(child, callees)),
    })
}

fn has_loop(block: &Block) -> bool {
    block
        .iter()
        .any(|statement| matches!(statement, Statement::Loop { .. }) || children(statement).into_iter().any(has_loop))
}

/// The blocks inside a statement.
pub(super) fn children(statement: &Statement) -> Vec<&Block> {
    match statement {
        Statement::Block(block) => vec![block],
        Statement::If { accept, reject, .. } => vec![accept, reject],
        Statement::Switch { cases, .. } => cases.iter().map(|case| &case.body).collect(),
        Statement::Loop { body, continuing, .. } => vec![body, continuing],
        _ => Vec::new(),
    }
}

/// Expressions that all loops of a function share; none of them is emitted.
#[derive(Clone, Copy)]
struct Common {
    free: Handle<Expression>,
    uniform: Handle<Expression>,
    report: Handle<Expression>,
    zero: Handle<Expression>,
    one: Handle<Expression>,
}

/// The pass over one function.
struct Pass<'p> {
    function: &'p mut Function,
    name: String,
    counters: &'p Counters,
    barriers: &'p [bool],
    mapped: &'p MappedText,
    fuel: &'p mut FuelReport,
    common: Option<Common>,
}

impl Pass<'_> {
    fn run(mut self) {
        let mut body = std::mem::take(&mut self.function.body);
        self.block(&mut body);
        self.function.body = body;
    }

    fn block(&mut self, block: &mut Block) {
        for (statement, span) in block.span_iter_mut() {
            match statement {
                Statement::Block(inner) => self.block(inner),
                Statement::If { accept, reject, .. } => {
                    self.block(accept);
                    self.block(reject);
                }
                Statement::Switch { cases, .. } => cases.iter_mut().for_each(|case| self.block(&mut case.body)),
                Statement::Loop { body, continuing, .. } => {
                    let barrier = has_barrier(body, self.barriers) || has_barrier(continuing, self.barriers);
                    let prologue = self.prologue(barrier, span.map_or(Span::UNDEFINED, |span| *span));
                    self.block(body);
                    self.block(continuing);
                    body.splice(0..0, prologue);
                }
                _ => {}
            }
        }
    }

    fn common(&mut self) -> Common {
        let counters = self.counters;
        let expressions = &mut self.function.expressions;
        let mut append = |expression| expressions.append(expression, Span::UNDEFINED);
        *self.common.get_or_insert_with(|| Common {
            free: append(Expression::GlobalVariable(counters.free)),
            uniform: append(Expression::GlobalVariable(counters.uniform)),
            report: append(Expression::GlobalVariable(counters.report)),
            zero: append(Expression::Literal(Literal::U32(0))),
            one: append(Expression::Literal(Literal::U32(1))),
        })
    }

    /// `if fuel == 0 { report = max(report, id); break; } fuel -= 1;`
    fn prologue(&mut self, barrier: bool, span: Span) -> Block {
        let common = self.common();
        let id = self.new_loop(span);
        let pointer = if barrier { common.uniform } else { common.free };
        let expressions = &mut self.function.expressions;
        let id = expressions.append(Expression::Literal(Literal::U32(id)), Span::UNDEFINED);
        let before = expressions.len();
        let left = expressions.append(Expression::Load { pointer }, Span::UNDEFINED);
        let binary = |op, left, right| Expression::Binary { op, left, right };
        let empty = expressions.append(binary(BinaryOperator::Equal, left, common.zero), Span::UNDEFINED);
        let less = expressions.append(binary(BinaryOperator::Subtract, left, common.one), Span::UNDEFINED);
        let computed = expressions.range_from(before);
        let note = Statement::Atomic { pointer: common.report, fun: AtomicFunction::Max, value: id, result: None };
        Block::from_vec(vec![
            Statement::Emit(computed),
            Statement::If {
                condition: empty,
                accept: Block::from_vec(vec![note, Statement::Break]),
                reject: Block::new(),
            },
            Statement::Store { pointer, value: less },
        ])
    }

    /// Notes a loop; its id counts from 1.
    fn new_loop(&mut self, span: Span) -> u32 {
        let message = format!(
            "A loop in {:?} was still running when its invocation had spent {} loop iterations.",
            self.name, self.fuel.iterations_max
        );
        let problem = self.mapped.problem(Stage::Run, message, span.to_range().map(|range| range.start));
        self.fuel.loops.push(LoopPlace { function: self.name.clone(), problem });
        self.fuel.loops.len() as u32
    }
}
