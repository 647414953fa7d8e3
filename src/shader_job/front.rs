//! From WGSL text to a valid module: parse and validate on a big stack, with every error in the user's own text.

use super::error::{ShaderDiagnostic, ShaderErrors, Stage};
use super::lexer::{Language, Lexer, Token};
use super::program::{Allowed, Requires};
use super::source_map::MappedText;
use crate::limits::{SHADER_PROBLEMS_MAX, SHADER_STACK_BYTES};
use crate::memory_guard::Bounded;
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use naga::{Block, Expression, Handle, Span, Statement};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` on a thread with a big stack, within the caller's bound of memory if it has one; a panic in it becomes a problem, never
/// more.
pub fn on_big_stack<T: Send>(work: impl FnOnce() -> Result<T, ShaderErrors> + Send) -> Result<T, ShaderErrors> {
    let failed = |what: String| ShaderErrors::from(ShaderDiagnostic::new(Stage::Validate, what));
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("shader front end".into()).stack_size(SHADER_STACK_BYTES);
        // The text is only read, and everything that was being built is dropped with the unwinding.
        let budget = Bounded::current();
        let thread = builder.spawn_scoped(scope, || {
            let _bound = budget.map(Bounded::enter);
            catch_unwind(AssertUnwindSafe(work))
        });
        let thread =
            thread.map_err(|error| failed(format!("No thread could be started to compile the shader: {error}.")))?;
        match thread.join() {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) | Err(panic) => Err(failed(format!(
                "The shader compiler stopped at a fault of its own ({}); please report this shader, and try to write it differently.",
                panic_text(panic.as_ref())
            ))),
        }
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.map_or("no message", super::error::quoted)
}

/// Parses WGSL. Where that fails, constructs of older versions of the language are named one by one.
pub fn parse(mapped: &MappedText) -> Result<naga::Module, ShaderErrors> {
    let module = naga::front::wgsl::parse_str(&mapped.text);
    module.map(close_endless_loops).map_err(|error| {
        let mut problems = obsolete(mapped);
        problems.truncate(SHADER_PROBLEMS_MAX - 1);
        let mut message = error.message().to_owned();
        for (_, label) in error.labels().filter(|(_, label)| !label.is_empty()).take(2) {
            if !message.contains(label) {
                message = format!("{message}: {label}");
            }
        }
        for note in error.notes().take(2) {
            message = format!("{message}; {note}");
        }
        let spans: Vec<Span> = error.labels().map(|(span, _)| span).collect();
        let problem = at_first_place(mapped, Stage::Parse, message, &spans);
        if problem.line.is_none() || problems.iter().all(|known| known.line != problem.line) {
            problems.push(problem);
        }
        ShaderErrors::new(problems)
    })
}

/// The problem at the first of several spans that lies in the user's text.
pub fn at_first_place(mapped: &MappedText, stage: Stage, message: String, spans: &[Span]) -> ShaderDiagnostic {
    let place = spans.iter().filter_map(|span| span.to_range()).find_map(|range| mapped.place(range.start));
    let message = if message.ends_with(['.', '!', '?']) { message } else { format!("{message}.") };
    mapped.problem_at(stage, message, place)
}

/// Validates a module with what the adapter has.
pub fn validate(module: &naga::Module, mapped: &MappedText, allowed: &Allowed) -> Result<ModuleInfo, ShaderErrors> {
    let mut capabilities = Capabilities::empty();
    capabilities.set(Capabilities::SUBGROUP, allowed.subgroups);
    capabilities.set(Capabilities::SUBGROUP_BARRIER, allowed.subgroups);
    capabilities.set(Capabilities::SHADER_FLOAT16, allowed.shader_f16);
    capabilities.set(Capabilities::SHADER_FLOAT16_IN_FLOAT32, true);
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if allowed.subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    validator.validate(module).map_err(|error| {
        let mut message = error.as_inner().to_string();
        let mut source = std::error::Error::source(error.as_inner());
        // Naga nests the reasons; the innermost is the one that helps.
        for _ in 0..8 {
            let Some(cause) = source else { break };
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        let mut spans: Vec<Span> = error.spans().map(|(span, _)| *span).collect();
        // Naga names the function as well as the expression in it; the shortest span says most.
        spans.sort_by_key(|span| span.to_range().map_or(usize::MAX, |range| range.len()));
        // Types of 2 GiB and more are refused by naga itself.
        let stage = if message.contains("exceeds limit") { Stage::Limit } else { Stage::Validate };
        at_first_place(mapped, stage, message, &spans).into()
    })
}

/// Constructs of older versions of WGSL, each with what to write today.
fn obsolete(mapped: &MappedText) -> Vec<ShaderDiagnostic> {
    let tokens: Vec<Token<'_>> = Lexer::new(&mapped.text, Language::Wgsl).collect();
    let text = |index: usize| tokens.get(index).map_or("", |token| token.text);
    let mut problems = Vec::new();
    let (mut depth, mut struct_depth) = (0_usize, None);
    for (index, token) in tokens.iter().enumerate() {
        let word = match token.text {
            "{" => {
                depth += 1;
                continue;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                if struct_depth == Some(depth) {
                    struct_depth = None;
                }
                continue;
            }
            word => word,
        };
        let before = index.checked_sub(1).map_or("", text);
        let adjacent = |a: usize, b: usize| tokens.get(b).is_some_and(|b| tokens[a].end() == b.start);
        let hint = match word {
            "struct" if depth == 0 => {
                struct_depth = Some(0);
                continue;
            }
            "stage" if before == "@" => "`@stage(compute)` is obsolete; write `@compute`.",
            "[" if text(index + 1) == "[" && adjacent(index, index + 1) && !matches!(before, ")" | "]") => {
                "`[[…]]` attributes are obsolete; write `@attribute`."
            }
            "let" if depth == 0 => "`let` outside of a function is obsolete; write `const`.",
            "type" if depth == 0 && text(index + 2) == "=" => "`type NAME = …` is obsolete; write `alias NAME = …`.",
            ";" if depth == 1 && struct_depth.is_some() => "`;` between struct members is obsolete; write `,`.",
            "elseif" => "`elseif` is obsolete; write `else if`.",
            "smoothStep" if text(index + 1) == "(" => "`smoothStep` is obsolete; write `smoothstep`.",
            _ => continue,
        };
        if problems.len() >= SHADER_PROBLEMS_MAX {
            break;
        }
        problems.push(mapped.problem(Stage::Parse, hint, Some(token.start)));
    }
    problems.retain(|problem| problem.line.is_some());
    problems.dedup_by(|a, b| a.line == b.line && a.message == b.message);
    problems
}

/// Takes the `enable` directives that naga does not know out of a text: the rest stays where it is, to the column.
///
/// `subgroups` is what the adapter has or has not; naga needs no directive for it. All other names are left to naga.
pub fn take_enables(
    mapped: MappedText,
    requires: &mut Requires,
    allowed: &Allowed,
) -> Result<MappedText, ShaderErrors> {
    let mut text = mapped.text.clone();
    let mut tokens = Lexer::new(&mapped.text, Language::Wgsl).peekable();
    // Directives stand before everything else.
    while let Some(first) = tokens.next_if(|token| matches!(token.text, "enable" | "requires" | "diagnostic" | ";")) {
        let directive: Vec<Token<'_>> = tokens.by_ref().take_while(|token| token.text != ";").collect();
        if first.text != "enable" {
            continue;
        }
        let end = directive.last().map_or(first.end(), Token::end);
        let mut kept = Vec::new();
        for name in directive.iter().filter(|token| token.text != ",") {
            let (flag, have) = match name.text {
                "subgroups" | "subgroups_f16" => (&mut requires.subgroups, allowed.subgroups),
                "f16" => (&mut requires.shader_f16, allowed.shader_f16),
                _ => {
                    kept.push(name.text);
                    continue;
                }
            };
            if !have {
                let what = format!("The shader says `enable {};`, which this GPU does not have.", name.text);
                return Err(mapped.problem(Stage::Validate, what, Some(name.start)).into());
            }
            *flag = true;
            if name.text == "f16" {
                kept.push(name.text);
            }
        }
        if kept.is_empty() {
            let semicolon = mapped.text[end..].find(';').map_or(end, |at| end + at + 1);
            let blank: String = mapped.text[first.start..semicolon].chars().flat_map(blank_of).collect();
            text.replace_range(first.start..semicolon, &blank);
        } else if kept.len() < directive.iter().filter(|token| token.text != ",").count() {
            let shorter = format!("enable {}", kept.join(", "));
            let padding = (end - first.start).saturating_sub(shorter.len());
            text.replace_range(first.start..end, &format!("{shorter}{}", " ".repeat(padding)));
        }
    }
    Ok(mapped.with_text(text))
}

/// Blanks for every byte of a character; line ends stay.
fn blank_of(c: char) -> impl Iterator<Item = char> {
    std::iter::repeat_n(if c == '\n' { '\n' } else { ' ' }, c.len_utf8())
}

/// Gives functions that end in a loop without a `break` a last `return`, which is never reached but which naga asks for.
fn close_endless_loops(mut module: naga::Module) -> naga::Module {
    let functions = module.functions.iter_mut().map(|(_, function)| function);
    for function in functions {
        let Some(ty) = function.result.as_ref().map(|result| result.ty) else { continue };
        let mut body = std::mem::take(&mut function.body);
        close_block(&mut body, &mut || function.expressions.append(Expression::ZeroValue(ty), Span::UNDEFINED));
        function.body = body;
    }
    module
}

/// Where naga has put an empty `return` behind an endless loop at the end of a block, it gets a value.
fn close_block(block: &mut Block, zero: &mut dyn FnMut() -> Handle<Expression>) {
    let endless = match block.iter().rev().nth(1) {
        Some(Statement::Loop { body, break_if: None, .. }) => !breaks(body),
        _ => false,
    };
    match block.last_mut() {
        Some(Statement::Return { value: value @ None }) if endless => *value = Some(zero()),
        Some(Statement::Block(inner)) => close_block(inner, zero),
        Some(Statement::If { accept, reject, .. }) => {
            close_block(accept, zero);
            close_block(reject, zero);
        }
        Some(Statement::Switch { cases, .. }) => cases.iter_mut().for_each(|case| close_block(&mut case.body, zero)),
        _ => {}
    }
}

/// True if the block of a loop has a `break` of that loop.
fn breaks(block: &Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Break => true,
        Statement::Block(inner) => breaks(inner),
        Statement::If { accept, reject, .. } => breaks(accept) || breaks(reject),
        _ => false,
    })
}
